"""The floors of the house: a module imports from its own folder and from floors below, heavy packages in one place."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.support.small import ROOT

# From the bottom up; what stands in one line knows nothing of each other.
FLOORS = [
    "errors",
    "population",
    "noise policies",
    "perturbations runs envs",
    "members",
    "tasks strategies",
    "pools",
    "training",
    "api",
    "cli",
    "__main__",
]
FLOOR = {name: number for number, line in enumerate(FLOORS) for name in line.split()}
# The rooms of a package, in the same way; a dot stands for the files beside them.
ROOMS = {
    "api": ["configuration", "building", "saved translation", "replay", "running"],
    "tasks": ["spaces", ".", "gym supervised language"],
    "tasks.gym": ["environments", "episodes", "lockstep batched playing", "."],
}

# Packages that are heavy, or not everybody's, and where alone they are imported.
HOMES = {
    "ray": ["pools.on_ray"],
    "gymnasium": ["tasks", "envs"],
    "tensorboard": [f"runs.monitors.{name}" for name in ("tensorboard", "event_file", "summaries", "histogram")],
    "rich": ["runs.monitors.console"],
    "wandb": ["runs.monitors.wandb"],
    "mlflow": ["runs.monitors.mlflow"],
    "IPython": ["runs.monitors.notebook"],
    "pandas": ["api.saved.history"],
    "onnxruntime": ["api.saved.export"],
    "safetensors": ["runs.state_encoding"],
    "numba": ["noise.numba_kernel", "noise.numba_operations"],
    "triton": ["noise.triton_kernel"],
    "warp": [f"envs.warp.{name}" for name in ("generator", "starts", "frames", "faults")],  # the kernels
    "matplotlib": ["runs.plots"],
    "sklearn": ["tasks.supervised.datasets"],
    "PIL": ["tasks.gym.playing.film"],
    "cloudpickle": ["tasks.language.rewards.rewards"],
    "transformers": ["policies.language", "tasks.language"],
    "tokenizers": ["policies.language", "tasks.language"],
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


def needs(module: str) -> set[str]:
    """The modules of ours that one imports."""
    names = (name for name in imported(MODULES[module]) if name not in ("distes.HOMES", "distes.__version__"))
    return {needed for needed in map(own, names) if needed not in (None, module)}  # type: ignore[misc]


def door(module: str) -> str:
    return module.partition(".")[0]


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_its_own_folder_and_floors_below(module: str) -> None:
    for needed in needs(module):
        below = FLOOR[door(needed)] < FLOOR[door(module)]
        assert below or door(needed) == door(module), f"distes.{module} imports distes.{needed}"


def room(module: str, package: str) -> str:
    """The name of a module's room in a package: a folder, or a dot for the files beside them."""
    first, _, rest = module.removeprefix(f"{package}.").partition(".")
    return first if rest or MODULES[module].name == "__init__.py" else "."


@pytest.mark.parametrize("package", ROOMS)
def test_a_room_imports_only_from_itself_and_from_rooms_below(package: str) -> None:
    floor = {name: number for number, line in enumerate(ROOMS[package]) for name in line.split()}
    inside = [module for module in MODULES if module.startswith(f"{package}.")]
    assert {room(module, package) for module in inside} | {"."} == set(floor) | {"."}
    for module in inside:
        for needed in needs(module) & set(inside):
            here, there = room(module, package), room(needed, package)
            assert here == there or floor[there] < floor[here], f"distes.{module} imports distes.{needed}"


def test_there_is_no_circle() -> None:
    TopologicalSorter({module: needs(module) for module in MODULES}).prepare()


def test_every_door_has_a_floor() -> None:
    assert {door(module) for module in MODULES} == set(FLOOR)


@pytest.mark.parametrize("package", HOMES)
def test_a_package_is_imported_in_its_home_alone(package: str) -> None:
    users = [
        module for module, path in MODULES.items() if any(name.partition(".")[0] == package for name in imported(path))
    ]
    assert users and all(any(f"{user}.".startswith(f"{home}.") for home in HOMES[package]) for user in users)


@pytest.mark.parametrize(
    "package", ["distes", *(f"distes.{name}" for name in MODULES if not name.startswith(("api", "cli")))]
)
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
        "cloudpickle",
        "numba",
        "wandb",
        "mlflow",
        "IPython",
        "triton",  # comes with torch's CUDA builds
        "warp",  # an extra: envs/warp/library says so where it is missing
        "matplotlib",  # an extra: runs/plots says so where it is missing
        "PIL",  # an extra: tasks/gym/playing/film says so where it is missing
        "sklearn",  # an extra: tasks/supervised/datasets says so where it is missing
        "transformers",  # an extra: tasks/language/countdown/model says so where it is missing
        "tokenizers",  # comes with transformers
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
