"""`distes sweep`: every combination, going on with what is there, failures, and messages."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

import distes
from distes.api.configuration.combinations import Combination, values_of
from distes.api.running import sweep as of_sweep
from distes.cli import main
from distes.errors import ConfigurationError
from distes.training.signals import INTERRUPTED

FLAGS = [
    *("--task=Function", "--policy=Linear", "--workers=0", "--generations=2", "--noise.size=1000", "--monitors=[]"),
    *("--final_episodes=0", "--strategy.population_size=4", "--eval_episodes=1", "--keep_checkpoints_every=1"),
]
SWEPT = ["--strategy.learning_rate", "0.1,0.2", "--strategy", "OpenAIES,ARS", "--seeds", "0..1"]
NAMES = [
    f"strategy={name}/learning_rate={rate}/seed={seed}"
    for name in ("OpenAIES", "ARS")
    for rate in (0.1, 0.2)
    for seed in (0, 1)
]


def sweep(root: Path, *flags: str) -> int:
    return main(["sweep", *FLAGS, "--run_dir", str(root), *flags])


def rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def digests(run: Path) -> list[tuple[int, str]]:
    return [(row["generation"], row["params/sha256"]) for row in rows(run)]


def run_names(root: Path) -> list[str]:
    return sorted(str(path.parent.relative_to(root)) for path in root.rglob("config.yaml"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sweep") / "root"
    assert sweep(root, *SWEPT) == 0
    return root


@pytest.fixture
def root(finished: Path, tmp_path: Path) -> Path:
    """A copy of a finished sweep."""
    return Path(shutil.copytree(finished, tmp_path / "root"))


def half_done(run: Path) -> None:
    """Leaves what a process leaves that is killed after its first generation was saved."""
    (run / "result.json").unlink()
    for checkpoint in (run / "checkpoints").glob("generation-00000002*"):
        shutil.rmtree(checkpoint)
    assert (run / "checkpoints" / "generation-00000001").is_dir()


def test_every_combination_is_trained_in_a_directory_of_its_name(finished: Path) -> None:
    assert run_names(finished) == sorted(NAMES)
    assert all(len(rows(finished / name)) == 2 for name in NAMES)
    assert len({digests(finished / name)[-1] for name in NAMES}) == len(NAMES)


def test_a_run_of_a_sweep_is_the_run_of_the_train_command(finished: Path, tmp_path: Path) -> None:
    alone = ["--strategy=ARS", "--strategy.learning_rate=0.2", "--seed=1", "--run_dir", str(tmp_path / "run")]
    assert main(["train", *FLAGS, *alone]) == 0
    assert digests(tmp_path / "run") == digests(finished / NAMES[-1])


def test_a_repeated_sweep_trains_nothing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in root.rglob("*.*") if path.is_file()}
    assert sweep(root, *SWEPT) == 0
    out = capsys.readouterr().out
    assert out.count(": already finished") == len(NAMES) and "Final evaluation of each run" in out
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in before} == before


def test_a_half_done_run_goes_on_as_if_undisturbed(
    root: Path, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    half_done(root / NAMES[2])
    shutil.rmtree(root / NAMES[5])
    assert sweep(root, *SWEPT) == 0
    out = capsys.readouterr().out
    assert f"[3/8] {NAMES[2]}: goes on" in out and f"[6/8] {NAMES[5]}\n" in out
    assert out.count(": already finished") == len(NAMES) - 2
    for name in NAMES:
        assert digests(root / name) == digests(finished / name)


def test_a_longer_budget_goes_on_with_all(root: Path, tmp_path: Path) -> None:
    assert sweep(root, *SWEPT, "--generations=3") == 0
    assert sweep(tmp_path / "straight", *SWEPT, "--generations=3") == 0
    for name in NAMES:
        assert [generation for generation, _ in digests(root / name)] == [1, 2, 3]
        assert digests(root / name) == digests(tmp_path / "straight" / name)


def test_other_settings_are_refused_before_anything_begins(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(root / NAMES[0])
    assert sweep(root, *SWEPT, "--strategy.l2_coeff=0.5") == 2
    assert "l2_coeff" in capsys.readouterr().err
    assert not (root / NAMES[0]).exists()


def test_a_failing_combination_does_not_end_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep(tmp_path, "--strategy.sigma", "1e200,0.1") == 2  # whose square overflows
    out, err = capsys.readouterr()
    assert "1 run of 2 failed:\n  sigma=1e200: " in err and "Traceback" not in err
    assert len(rows(tmp_path / "sigma=0.1")) == 2 and (tmp_path / "sigma=0.1" / "result.json").exists()
    assert "sigma=0.1" in out.partition("Final evaluation")[2]


def test_the_code_of_a_user_that_fails_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train = of_sweep._train

    def faulty(combination: Combination, *, resumed: bool) -> int:
        if combination.name == "seed=0":
            raise SystemExit("a slip")
        return train(combination, resumed=resumed)

    monkeypatch.setattr(of_sweep, "_train", faulty)
    assert sweep(tmp_path, "--seeds", "0..1") == 2
    err = capsys.readouterr().err
    assert re.search(r"1 run of 2 failed:\n  seed=0: .*faulty.*SystemExit: a slip", err)
    assert run_names(tmp_path) == ["seed=1"]


def test_a_bug_gives_1_and_its_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(of_sweep, "_train", lambda: 0)  # the call in distes is wrong
    assert sweep(tmp_path, "--seeds", "0..1") == 1
    err = capsys.readouterr().err
    assert err.count("Traceback") == 2 and "2 runs of 2 failed" in err


def test_an_interrupted_sweep_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train = of_sweep._train

    def interrupted(combination: Combination, *, resumed: bool) -> int:
        return INTERRUPTED if combination.name == "seed=1" else train(combination, resumed=resumed)

    monkeypatch.setattr(of_sweep, "_train", interrupted)
    assert sweep(tmp_path, "--seeds", "0..2") == INTERRUPTED == 130
    assert f"--run_dir {tmp_path} --seeds 0..2\n" in capsys.readouterr().err
    assert run_names(tmp_path) == ["seed=0"]


def test_dry_run_lists_and_trains_nothing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    half_done(root / NAMES[0])
    shutil.rmtree(root / NAMES[1])
    assert sweep(root, *SWEPT, "--dry_run") == 0
    head, *listed = capsys.readouterr().out.splitlines()
    assert head == f"8 runs in {root}, one after another:"
    states = ["to be resumed", "new", *["finished"] * 6]
    assert [line.split(maxsplit=1) for line in listed] == [list(one) for one in zip(NAMES, states, strict=True)]
    assert not (root / NAMES[1]).exists() and not (root / NAMES[0] / "result.json").exists()


def test_train_takes_seeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *FLAGS, "--run_dir", str(tmp_path), "--seeds=3,5"]) == 0
    assert run_names(tmp_path) == ["seed=3", "seed=5"]
    assert " 2 " in capsys.readouterr().out.partition("Final evaluation")[2]


def test_python_trains_the_same(finished: Path, tmp_path: Path) -> None:
    settings = {"task": "Function", "policy": "Linear", "strategy": "ARS", "workers": 0, "generations": 2}
    settings |= {"noise.size": 1000, "final_episodes": 0, "strategy.population_size": 4, "eval_episodes": 1}
    settings |= {"keep_checkpoints_every": 1, "monitors": []}
    said: list[str] = []
    done = distes.sweep(
        {"strategy.learning_rate": [0.1, 0.2]}, seeds=[1], settings=settings, run_dir=tmp_path, say=said.append
    )
    assert [one.name for one in done.combinations] == ["learning_rate=0.1/seed=1", "learning_rate=0.2/seed=1"]
    assert said[0] == "[1/2] learning_rate=0.1/seed=1" and not done.failed and not done.interrupted
    assert digests(tmp_path / "learning_rate=0.2" / "seed=1") == digests(finished / NAMES[-1])
    compared = done.compare()
    assert compared is not None
    assert [row.group for row in compared.rows] == ["learning_rate=0.1", "learning_rate=0.2"]


def test_python_takes_short_names_of_configurations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[Combination] = []
    monkeypatch.setattr(of_sweep, "_train", lambda one, *, resumed: trained.append(one) or 0)
    distes.sweep({"seed": [1, 2]}, configs=["pendulum"], run_dir=tmp_path)
    assert [one.configuration["task"]["init_args"]["env"] for one in trained] == ["Pendulum-v1"] * 2
    with pytest.raises(ConfigurationError, match=r"pendulun cannot be read.*Did you mean .*pendulum"):
        distes.sweep({"seed": [1, 2]}, configs=["pendulun"], run_dir=tmp_path)


def test_the_command_takes_short_names_of_configurations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "--config", "cartpole", "--seeds=0,1", "--run_dir", str(tmp_path), "--dry_run"]) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()[1:]] == [["seed=0", "new"], ["seed=1", "new"]]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0.1", ["0.1"]),
        ("0.02,0.1", ["0.02", "0.1"]),
        ("0..3", ["0", "1", "2", "3"]),
        ("-1..1,7", ["-1", "0", "1", "7"]),
        ("[32, 32]", ["[32, 32]"]),
        ("[32],[64, 64]", ["[32]", "[64, 64]"]),
        ("{a: 1, b: 2},{}", ["{a: 1, b: 2}", "{}"]),
        ("'a,b',c", ["'a,b'", "c"]),
        ("[1,2", ["[1,2"]),
        ("../a", ["../a"]),
        ("", [""]),
    ],
)
def test_values_of_a_flag(text: str, values: list[str]) -> None:
    assert values_of(text) == values


@pytest.mark.parametrize(
    ("flags", "match"),
    [
        (["--seeds", "5..2"], r"range 5\.\.2 must go upwards"),
        (["--seeds", "0..10000"], "at most 10,000 values"),
        (["--seeds", "0,0"], "0 stands twice in '0,0'"),
        (["--seeds", "0..3,2"], "2 stands twice"),
        (["--seeds"], "seeds needs a value: --seeds 0..4"),
        (["--seeds="], "seeds needs a value: --seeds 0..4"),
        (["--seeds", "a,b"], "seed=a: seed must be"),
        (["--strategy.sigma", "0.1,,2"], "has an empty value"),
        (["--strategy.sigma", "0.1,x"], "sigma=x: strategy.sigma must be float"),
        (["--strategy", "OpenAIES,Foo"], "strategy=Foo: strategy 'Foo' is unknown"),
        (["--strategy.sigmo", "0.1,0.2"], "sigmo=0.1: .*Did you mean .*sigma"),
        (["--seed=1,2", "--seeds=3"], "seed and seeds are both given"),
        ([], "A sweep needs several values"),
        (["--resume", "runs/x", "--seeds=0,1"], "leave out --resume"),
    ],
)
def test_a_mistake_is_said_before_anything_begins(
    flags: list[str], match: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep(tmp_path / "root", *flags) == 2
    assert re.search(match, capsys.readouterr().err)
    assert not (tmp_path / "root").exists()


def test_a_run_s_own_directory_is_no_place_for_a_sweep(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep(finished / NAMES[0], "--seeds", "0..1") == 2
    assert "holds a run, and a sweep makes directories of runs" in capsys.readouterr().err


def test_values_that_file_names_cannot_hold_get_names_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--policy=MLP", "--policy.hidden_sizes", "[32],[64, 64],[64 ,64]", "--dry_run"]
    assert sweep(tmp_path, *flags) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]]
    assert names == ["hidden_sizes=32", "hidden_sizes=64-64", "hidden_sizes=64-64-2"]
