"""The order of layers: a module imports only what stands above it, and heavy packages are imported in one place."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.small import ROOT

# From the bottom up. A package stands for those of its modules that are not listed themselves; these do not import
# each other.
LAYERS = [
    "errors",
    "installation",
    "trust",
    "terminal",
    "stopping",
    "device",
    "cuda_errors",
    "gpu_memory",
    "captured",
    "files",
    "yaml_text",
    "encoding",
    "state_check",
    "signature",
    "randomness",
    "global_randomness",
    "counter_random",
    "spread",
    "population",
    "search_distribution",
    "evaluation",
    "best",
    "one_thread",
    "noise",
    "noise_sum.numba_kernel",
    "noise_sum.triton_kernel",
    "noise_sum.cpu",
    "noise_sum.gpu",
    "noise_sum",
    "layout",
    "clipup",
    "optimizer",
    "perturbations.base",
    "perturbations",
    "policies.base",
    "policies",
    "sensitivity",
    "initialization",
    "mutations",
    "genomes",
    "rows",
    "schedules",
    "shaping",
    "novelty",
    "running_stat",
    "layers.base",
    "layers.linear",
    "layers",
    "forward",
    "trial",
    "batched",
    "envs.base",
    "envs.mujoco.library",
    "envs.mujoco.sums",
    "envs.mujoco.physics",
    "envs.mujoco.base",
    "envs.classic",
    "envs.single",
    "envs",
    "tasks.base",
    "tasks.spaces",
    "tasks.faults",
    "tasks.opened",
    "tasks.arguments",
    "tasks.behaviour",
    "tasks.episodes",
    "tasks.simulation",
    "tasks.vectorized",
    "tasks.first_look",
    "tasks.single",
    "tasks.environments",
    "tasks",
    "strategies.base",
    "strategies.one_centre",
    "strategies.gradient",
    "strategies.elite",
    "strategies.deep_ga",
    "strategies.novelty_es",
    "strategies.adaptive",
    "strategies.openai_es",
    "strategies.elite",
    "strategies",
    "replica",
    "worker",
    "pools.base",
    "pools.pace",
    "pools.blame",
    "pools.trial",
    "pools.schedule",
    "pools.placement",
    "pools.ray_environment",
    "pools.ray_thread",
    "pools.ray_local",
    "pools.ray_cluster",
    "pools.ray_connection",
    "pools.ray_own_node",
    "pools.ray_deaths",
    "pools.ray_calls",
    "pools.ray_relay",
    "pools.ray_sync",
    "pools.ray_sendable",
    "pools.ray_workers",
    "pools",
    "checkpoint",
    "background_writer",
    "saved_policy",
    "run_directory",
    "archive",
    "monitor.base",
    "monitor.console",
    "monitor.jsonl",
    "monitor.tensorboard",
    "monitor",
    "metrics",
    "result",
    "trainer",
    "configuration",
    "build",
    "launch",
    "play",
    "cli",
    "__main__",
]
RAY = (
    "thread",
    "local",
    "cluster",
    "connection",
    "own_node",
    "deaths",
    "calls",
    "relay",
    "sendable",
    "workers",
    "pool",
)
HOMES = {
    "ray": [f"pools.ray_{name}" for name in RAY],
    "gymnasium": ["tasks.gym", "tasks.environments", "tasks.spaces", "envs"],
    "tensorboard": ["monitor.tensorboard"],
    "rich": ["monitor.console"],
    "safetensors": ["encoding"],
    "numba": ["noise_sum.numba_kernel"],
    "triton": ["noise_sum.triton_kernel"],
}
PACKAGE = ROOT / "distes"
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path != PACKAGE / "__init__.py"  # the front door: it names everything, and imports on demand
}


def imported(path: Path) -> Iterator[str]:
    """The full names of all that a module imports, wherever in it: at its top, in functions, for type checkers."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own(name: str) -> str | None:
    """The module of ours that an imported name belongs to."""
    if name.partition(".")[0] != "distes":
        return None
    parts = name.split(".")[1:]
    found = next((".".join(parts[:n]) for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in MODULES), None)
    assert found, f"{name} is imported through the front door"
    return found


def layer(module: str) -> int:
    entry = module if module in LAYERS else module.partition(".")[0]
    assert entry in LAYERS, f"{module} has no place in the list of layers"
    return LAYERS.index(entry)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_stands_above_it(module: str) -> None:
    for name in imported(MODULES[module]):
        needed = own(name) if name != "distes.HOMES" else None
        if needed is not None and needed != module:
            assert layer(needed) < layer(module), f"distes.{module} imports distes.{needed}"


def test_every_layer_is_there() -> None:
    assert [entry for entry in LAYERS if entry not in MODULES] == []


@pytest.mark.parametrize("package", HOMES)
def test_a_package_is_imported_in_its_home_alone(package: str) -> None:
    users = [
        module for module, path in MODULES.items() if any(name.partition(".")[0] == package for name in imported(path))
    ]
    homes = HOMES[package]
    assert users and all(user in homes or user.partition(".")[0] in homes for user in users)


@pytest.mark.parametrize("package", ["distes", *(f"distes.{name}" for name in MODULES if name not in ("cli", "play"))])
def test_nobody_imports_what_is_not_declared(package: str) -> None:
    """The standard library, ourselves, and the dependencies that pyproject.toml lists."""
    path = PACKAGE / "__init__.py" if package == "distes" else MODULES[package.removeprefix("distes.")]
    allowed = {
        "distes",
        "torch",
        "numpy",
        "ray",
        "gymnasium",
        "tensorboard",
        "jsonargparse",
        "rich",
        "safetensors",
        "yaml",
        "numba",
        "triton",  # comes with torch's CUDA builds
    }
    roots = {name.partition(".")[0] for name in imported(path)}
    assert roots <= allowed | set(sys.stdlib_module_names)


def run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


def test_importing_distes_imports_nothing_heavy() -> None:
    heavy = ["ray", "gymnasium", "tensorboard", "torch", "numpy", "rich", "safetensors"]
    assert run(f"import distes, sys; print([name for name in {heavy} if name in sys.modules])") == "[]"


def test_a_run_in_this_process_imports_neither_ray_nor_tensorboard() -> None:
    code = """
import sys
from distes import Experiment, Function, Linear, NoiseTable, Dense, Layout, OpenAIES, SerialPool, Trainer
task, policy, noise = Function(dimension=3), Linear(1, 3, bias=False), NoiseTable(size=1000)
layout = Layout(policy)
dense = Dense(noise, layout)
strategy = OpenAIES(layout.flatten(policy), dense)
pool = SerialPool(Experiment.of(task, policy, dense, noise))
result = Trainer(task=task, strategy=strategy, noise=noise, pool=pool, generations=3).run()
print(result.generation, [name for name in ("ray", "gymnasium", "tensorboard") if name in sys.modules])
"""
    assert run(code) == "3 []"


def test_the_front_door_opens_to_everything_it_names() -> None:
    """And names what it opens to, for type checkers and for `dir`."""
    import distes

    for name in distes.__all__:
        assert getattr(distes, name).__name__ == name
        assert getattr(distes, name).__module__ == distes.HOMES[name]
    source = (PACKAGE / "__init__.py").read_text()
    for_checkers = {name.rpartition(".")[2] for name in imported(PACKAGE / "__init__.py") if name.startswith("distes.")}
    assert for_checkers == set(distes.__all__), source
    with pytest.raises(AttributeError, match="module 'distes' has no attribute 'Nope'"):
        _ = distes.Nope
