"""The examples of docs/extend.md: written into a package elsewhere, run by their commands, and put to the suites."""

import importlib
import inspect
import json
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from distes import StatefulPolicy
from distes.cli import main as launch
from distes.noise.table import NoiseTable
from distes.tasks.base import Request, Stopped
from distes.tasks.gym.gym import Gym
from tests.contracts import registry, test_envs, test_perturbations, test_policies, test_strategies, test_tasks
from tests.support.small import ROOT, parts

PAGE = (ROOT / "docs" / "extend.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.DOTALL | re.M)
FILES = {text.partition("\n")[0].removeprefix("# "): text for language, text in BLOCKS if language == "python"}
COMMANDS = [
    line.partition("distes train ")[2]
    for language, text in BLOCKS
    if language == "bash"
    for line in text.splitlines()
    if line.startswith("distes train")
]
FEW = " --eval_episodes 2 --final_episodes 0 --noise.size 100000 --checkpoint_seconds 0"


@pytest.fixture(autouse=True, scope="module")
def _package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The package that the page describes, found as a user's is: in the folder where the command is started."""
    folder = tmp_path_factory.mktemp("elsewhere")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_package"]:
        del sys.modules[name]


def the(path: str) -> Any:
    """A class of the package."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(f"my_package.{module}"), name)


def digests(run: Path) -> list[str]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["params/sha256"] for line in lines]


def test_there_is_one_file_and_one_command_for_each_seam() -> None:
    assert list(FILES) == [
        f"my_package/{name}.py" for name in ("tasks", "strategies", "policies", "perturbations", "simulators", "vector")
    ]
    assert len(COMMANDS) == len(FILES)
    for name, command in zip(FILES, COMMANDS, strict=True):
        assert f"{name.removesuffix('.py').replace('/', '.')}." in command


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_trains_and_goes_on_bit_for_bit_when_resumed(command: str, tmp_path: Path) -> None:
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    assert launch(shlex.split(f"{command} {FEW} --run_dir {whole}")) == 0
    once = digests(whole)
    assert len(once) == len(set(once)) == 5
    assert launch(shlex.split(f"{command} {FEW} --generations 2 --run_dir {parted}")) == 0
    assert launch(["--resume", str(parted), "--generations", "5", "--trust"]) == 0
    assert digests(parted) == once


@pytest.mark.parametrize("command", COMMANDS)
def test_how_many_members_make_a_chunk_changes_no_bit(command: str, tmp_path: Path) -> None:
    seen = []
    for size in (2, 6):
        run = tmp_path / str(size)
        assert launch(shlex.split(f"{command} {FEW} --generations 2 --chunk_size {size} --run_dir {run}")) == 0
        seen.append(digests(run))
    assert seen[0] == seen[1]


def test_a_value_that_is_not_allowed_is_named_with_its_section(capsys: pytest.CaptureFixture[str]) -> None:
    assert launch(shlex.split("--task my_package.tasks.Balance --task.max_steps 0 --workers 0")) == 2
    assert "error: task.max_steps must be at least 1; got 0." in capsys.readouterr().err
    strategy = "--strategy my_package.strategies.CrossEntropy --strategy.elite 99 --workers 0"
    assert launch(shlex.split(strategy)) == 2
    assert "error: strategy.elite must be from 1 to 32; got 99." in capsys.readouterr().err
    perturbation = "--perturbation my_package.perturbations.Disjoint --noise.size 5000 --perturbation.at_least 9"
    assert launch(shlex.split(f"{perturbation} --workers 0")) == 2
    assert "error: perturbation.at_least must be at most" in capsys.readouterr().err


def test_the_docstring_is_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert launch(["--task.help", "my_package.tasks.Balance"]) == 0
    assert "Steps after which an episode ends." in capsys.readouterr().out


def suite(module: Any, *names: str) -> list[Callable[..., None]]:
    """A suite's tests of one case, those that are parametrised further left out; or those of these names."""
    found = [one for name, one in vars(module).items() if name.startswith("test_") and callable(one)]
    if names:
        found = [one for one in found if one.__name__ in names]
        assert len(found) == len(names)
    return found


TASK_TESTS = [one for one in suite(test_tasks) if list(inspect.signature(one).parameters) == ["case"]]
STRATEGY_TESTS = [
    one
    for one in suite(test_strategies)
    if list(inspect.signature(one).parameters) == ["name", "parts"]
    and one is not test_strategies.test_a_state_of_another_policy_is_refused  # `restore` does it for all
]


@pytest.mark.parametrize("test", TASK_TESTS, ids=lambda test: test.__name__)
def test_the_task_keeps_the_contract(test: Callable[..., None]) -> None:
    assert len(TASK_TESTS) >= 5
    test(test_tasks.with_policy(the("tasks.Balance")()))


@pytest.mark.parametrize("test", STRATEGY_TESTS, ids=lambda test: test.__name__)
def test_the_strategy_keeps_the_contract(test: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(STRATEGY_TESTS) >= 8
    monkeypatch.setitem(registry.STRATEGIES, "mine", the("strategies.CrossEntropy"))  # type: ignore[arg-type]
    test("mine", test_strategies.sphere(dimension=10, behaviour=True))


@pytest.mark.parametrize("after", [0, 1, 7])
def test_the_strategy_resumes_bit_for_bit(after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.STRATEGIES, "mine", the("strategies.CrossEntropy"))  # type: ignore[arg-type]
    test_strategies.test_resumes_bit_for_bit("mine", test_strategies.sphere(), after)


POLICY_TESTS = suite(
    test_policies,
    "test_companions_and_places_change_no_bit",
    "test_a_member_may_run_in_several_rows_at_once",
    "test_memory_goes_on_where_it_was",
)


@pytest.mark.parametrize("test", POLICY_TESTS, ids=lambda test: test.__name__)
def test_the_policy_keeps_the_contract(test: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(test_policies.MODULES, "mine", (lambda: the("policies.Fading")(5, 3), (5,)))
    test(test_policies.Case("mine", "Dense"))


PERTURBATION_TESTS = [
    one
    for one in suite(test_perturbations)
    if list(inspect.signature(one).parameters) in (["case"], ["case", "monkeypatch"])
]


@pytest.mark.parametrize("test", PERTURBATION_TESTS, ids=lambda test: test.__name__)
def test_the_perturbation_keeps_the_contract(test: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(PERTURBATION_TESTS) >= 10
    noise = NoiseTable(size=2**20, seed=11)
    case = test_perturbations.Case(the("perturbations.Disjoint"), noise)
    test(*([case, monkeypatch] if "monkeypatch" in inspect.signature(test).parameters else [case]))
    noise.close()


ENV_TESTS = suite(
    test_envs,
    "test_shapes_and_types",
    "test_seeds_decide",
    "test_without_seeds_every_start_is_new",
    "test_a_row_does_not_depend_on_its_companions",
    "test_resetting_some_rows_leaves_the_others_alone",
    "test_a_mask_without_seeds_resets_too",
    "test_narrowing_keeps_rows_in_the_order_given",
)


@pytest.mark.parametrize("test", ENV_TESTS, ids=lambda test: test.__name__)
def test_the_simulator_keeps_the_contract(test: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(test_envs, "make", lambda name, rows=test_envs.R: the("simulators.Points")(rows))
    test(*(["mine", 5] if "rows" in inspect.signature(test).parameters else ["mine"]))


def evaluated(task: Any, policy: torch.nn.Module | None = None, **request: Any) -> Any:
    torch.manual_seed(0)
    case = parts(task) if policy is None else parts(task, policy)
    members = case.members([0, 0, 1000, 1000], [1, -1, 1, -1])
    return task.evaluate(members, Request(np.array([3, 3, 4, 4], np.uint64), **request))


def test_what_the_page_says_of_members_and_terms() -> None:
    task = the("tasks.Balance")()
    case = parts(task)
    members = case.members([0, 0, 1000], [1, -1, 1])
    assert members.initial_state() is None and len(members) == 3
    chosen = np.array([2, 0])
    members.select(chosen)
    chosen[:] = 1  # it is the caller's
    with torch.inference_mode():
        two = members(torch.ones(2, 5, 1))
        assert two.shape == (2, 5, 1) and two.dtype == torch.float32 and len(members) == 3
        members.select([0, 1, 2, 2])
        assert torch.equal(members(torch.ones(4, 5, 1))[[2, 3, 0]], two[[0, 0, 1]])
    members.parameters()[:] = 0  # a copy
    assert members.parameters().any()
    with pytest.raises(TypeError, match=r"has no memory: call members\(x\)"):
        members.step(torch.ones(4, 1, 1), torch.ones(4, 1, 2))
    request = Request(np.zeros(3, np.uint64))
    with pytest.raises(ValueError, match="read-only"):
        request.seeds_B[0] = 1
    assert request.observed_B is None and request.normalization is None and request.training
    with pytest.raises(Stopped):
        evaluated(task, stop=lambda: True)
    fading: StatefulPolicy = the("policies.Fading")(1, 1)
    with pytest.raises(TypeError, match=r"has a memory: call members\.step\(x, state\)"):
        evaluated(task, fading)


def test_frozen_parameters_are_neither_searched_nor_changed() -> None:
    policy = the("policies.Fading")(1, 1)
    case = parts(the("tasks.Balance")(), policy)
    assert "keep" not in {slot.name for slot in case.layout.slots} and case.layout.size == 2 * 16 + 17
    case.layout.load(policy, np.full(case.layout.size, 7, np.float32))
    assert (policy.answer.weight == 7).all() and torch.equal(policy.keep, torch.linspace(0, 0.95, 16))


def registered(**arguments: Any) -> Any:
    return gymnasium.make("Pendulum-v1", **arguments)


@pytest.mark.parametrize(
    ("env", "limit", "steps"),
    [
        ("Pendulum-v1", None, 200),
        ("Pendulum-v1", 7, 7),
        ("Pendulum-v1", 210, 210),
        (registered, None, 200),
        (registered, 7, 7),
        (registered, 210, 200),
    ],
)
@pytest.mark.parametrize("stepping", ["auto", "one_by_one"])
def test_step_limits(env: Any, limit: int | None, steps: int, stepping: str) -> None:
    task = Gym(env, max_steps=limit, stepping=stepping)  # type: ignore[arg-type]
    try:
        assert (evaluated(task).steps_B == steps).all()
    finally:
        task.close()


def test_a_simulator_without_a_limit_ends_by_max_steps_and_says_where_there_is_none() -> None:
    endless, limited = (Gym(the("simulators.Points"), max_steps=most) for most in (None, 9))
    assert "has no step limit" in (endless.notice or "") and "limit" not in (limited.notice or "")
    assert evaluated(limited).steps_B.max() == 9


@pytest.mark.parametrize("slots", [4, 2, 7])
def test_a_vector_environment_gives_the_same_however_it_starts_rows_anew(slots: int) -> None:
    """And whether all members have a row at the same time, or one after the other."""

    def outcome(autoreset: str, slots: int) -> list[Any]:
        kwargs = {"autoreset": autoreset, "length": 12}
        behaviour, infos = ["final_observation", "info:speed"], ["speed", "speed:mean"]
        task = Gym(the("vector.Carts"), env_kwargs=kwargs, slots=slots, behaviour=behaviour, log_info=infos)
        got = evaluated(task)
        assert got.behaviour_BD.shape == (4, 3) and np.isfinite(got.behaviour_BD).all()
        assert (got.behaviour_BD[:, 2] == got.scalars_BV[:, 0]).all()  # the speed of the last step
        assert (np.abs(got.behaviour_BD[:, 1] - got.behaviour_BD[:, 2]) < 1e-6).all()  # which it observes
        return [part.tolist() for part in (got.fitness_B, got.steps_B, got.behaviour_BD, got.scalars_BV)]

    expected = outcome("NEXT_STEP", 4)
    assert outcome("SAME_STEP", slots) == outcome("NEXT_STEP", slots) == expected
