"""The examples of docs/ask_and_tell.md: in a package elsewhere, run by their command, and put to the suites."""

import importlib
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distes.cli import main
from tests.contracts import registry, test_strategies
from tests.support.small import ROOT
from tests.test_extend import digests, suite

PAGE = (ROOT / "docs" / "ask_and_tell.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.DOTALL | re.M)
*FILES, LOOP = [text for language, text in BLOCKS if language == "python"]
(COMMAND,) = re.findall(r"^distes train .*", PAGE, re.M)
FEW = "--workers 0 --eval_episodes 2 --final_episodes 0 --noise.size 100000 --checkpoint_seconds 0 --generations 4"
LIBRARIES = {"my_package.pycma.PyCMA": "cma", "my_package.nevergrads.Nevergrad": "nevergrad"}

pytest.importorskip("cma")


@pytest.fixture(autouse=True)
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The package that the page describes, found in the folder where a command is started."""
    folder = tmp_path_factory.mktemp("elsewhere")
    for text in FILES:
        path = folder / text.partition("\n")[0].removeprefix("# ")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_package"]:
        del sys.modules[name]


@pytest.fixture(params=LIBRARIES)
def path(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(LIBRARIES[request.param])
    return str(request.param)


def the(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def trained(path: str, run: Path, *flags: str) -> list[str]:
    """The digests of a run's centres."""
    assert main(["train", "--strategy", path, *shlex.split(FEW), "--run_dir", str(run), *flags]) == 0
    return digests(run)


def test_pycma_takes_twenty_lines() -> None:
    assert len([line for line in FILES[0].splitlines() if line.strip()]) <= 21  # the first names the file


def test_resumes_bit_for_bit_if_it_is_trusted(path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = trained(path, tmp_path / "whole")
    parted = tmp_path / "parted"
    trained(path, parted, "--generations", "2")
    assert len(set(whole)) > 1 or "nevergrad" in path  # whose recommendation waits for a better member
    capsys.readouterr()
    assert main(["resume", str(parted), "--generations", "4"]) == 2
    assert "--trust" in capsys.readouterr().err
    assert main(["resume", str(parted), "--generations", "4", "--trust"]) == 0
    assert digests(parted) == whole


def test_its_members_are_made_again(path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From the record alone: without the checkpoints of later generations, and in the plane of parameters."""
    run = tmp_path / "run"
    trained(path, run, "--record_population", "true", "--checkpoint_seconds", "1e9", "--strategy.population_size", "9")
    member = ["play", str(run), "--trust", "--generation", "3", "--pair", "8", "--sign"]
    assert main([*member, "+"]) == 0
    assert "equal to the recorded fitness, bit for bit" in capsys.readouterr().out
    assert main(["play", str(run), "--trust", "--generation", "3", "--pair", "9", "--sign", "+"]) == 2
    assert "Generation 3 has the pairs 0 to 8; got 9." in capsys.readouterr().err
    assert main([*member[:-1], "--sign=-"]) == 2
    assert "has the pairs 0 to 8, of sign 1; got pair 8, sign -1" in capsys.readouterr().err
    assert main(["vine", str(run), "--trust"]) == 0


def test_a_sweep_that_goes_on_reads_no_pickle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = "--task Function --policy Linear --policy.bias false --strategy my_package.pycma.PyCMA"
    sweep = shlex.split(f"sweep {task} {FEW} --seeds 0 --run_dir {tmp_path / 'sweep'}")
    assert main(sweep) == 0
    (result,) = (tmp_path / "sweep").rglob("result.json")
    result.unlink()
    assert main(sweep) != 0
    told = capsys.readouterr()
    assert "stores the optimiser of PyCMA as a pickle" in told.out + told.err
    assert main(["resume", str(result.parent), "--trust"]) == 0
    assert main(sweep) == 0


@pytest.mark.slow
@pytest.mark.parametrize("sync", ["broadcast", "replay"])
def test_the_command_trains_on_ray_as_in_this_process(sync: str, tmp_path: Path) -> None:
    flags = [*shlex.split(COMMAND)[2:], *shlex.split("--generations 4 --chunk_size 4 --target_fitness .inf")]
    alone = trained("my_package.pycma.PyCMA", tmp_path / "alone", *flags, "--workers", "0")
    assert trained("my_package.pycma.PyCMA", tmp_path / "ray", *flags, "--sync", sync) == alone
    last = json.loads((tmp_path / "ray" / "metrics.jsonl").read_text().splitlines()[-1])
    rows = 16 * 10 * 4  # bytes of all members
    assert (last["bytes/down"] > rows) == (sync == "broadcast")


def test_a_dry_run_says_what_rows_weigh(capsys: pytest.CaptureFixture[str]) -> None:
    task = "--task Function --policy Linear --policy.bias false"
    assert main([*shlex.split(f"train {task} --strategy my_package.pycma.PyCMA --workers 2 --dry_run")]) == 0
    (shown,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("bytes down"))
    assert shown in PAGE


def test_a_loop_of_one_s_own_finds_the_top_of_a_sphere() -> None:
    done = subprocess.run([sys.executable, "-c", LOOP], capture_output=True, text=True, timeout=100, check=True)
    assert float(done.stdout) < 1e-4


STRATEGY_TESTS = [
    one
    for one in suite(test_strategies)
    if one.__code__.co_varnames[: one.__code__.co_argcount] == ("name", "parts")
    and one is not test_strategies.test_its_arguments_are_keywords_with_types  # the examples leave types out
]


@pytest.mark.parametrize("test", STRATEGY_TESTS, ids=lambda test: test.__name__)
def test_keeps_the_contract_of_strategies(
    test: Callable[..., None], path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "nevergrad" in path and test is test_strategies.test_climbs_a_sphere:
        pytest.skip("differential evolution takes longer")
    made = the(path)
    monkeypatch.setitem(registry.STRATEGIES, "mine", lambda centre_P, noise, seed: made(centre_P, seed))
    test("mine", test_strategies.sphere(dimension=10, behaviour=True))


@pytest.mark.parametrize("after", [0, 1, 7])
def test_its_state_goes_on_bit_for_bit(after: int, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = the(path)
    monkeypatch.setitem(registry.STRATEGIES, "mine", lambda centre_P, noise, seed: made(centre_P, seed))
    test_strategies.test_resumes_bit_for_bit("mine", test_strategies.sphere(), after)


def test_global_generators_are_left_as_they_were() -> None:
    np.random.seed(4)
    state = np.random.get_state()[1].tobytes()  # type: ignore[union-attr]
    strategy = the("my_package.pycma.PyCMA")(np.ones(5, np.float32))
    rows = [strategy.ask().rows_NP.tobytes()]
    strategy.tell(np.arange(16))
    assert np.random.get_state()[1].tobytes() == state  # type: ignore[union-attr]
    np.random.seed(5)
    again = the("my_package.pycma.PyCMA")(np.ones(5, np.float32))
    assert again.ask().rows_NP.tobytes() == rows[0]
