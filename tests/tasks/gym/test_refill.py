"""Rows that take another episode as soon as theirs is over.

Axes: B members, K episodes of each, R rows.
"""

import traceback
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

from distes.envs import TWINS
from distes.errors import DistesWarning
from distes.perturbations.low_rank import LowRank
from distes.policies.mlp import MLP
from distes.policies.recurrent import Recurrent
from distes.population import Normalization
from distes.tasks.base import MemberError, Outcome, Request
from distes.tasks.gym.batched import batched, refill
from distes.tasks.gym.batched import policy as batched_policy
from distes.tasks.gym.environments.simulation import TwinSimulation
from distes.tasks.gym.gym import Gym
from tests.support.environments import ReadsWeights
from tests.support.small import Parts, gaussian_members, parts
from tests.support.wander import Fixed, Wander

NORMALIZATION = Normalization(np.array([7, 0, -20], np.float32), np.array([1.5, 0.1, 1], np.float32))
ALL = {
    "action_noise": 0.3,
    "reward_shift": 0.1,
    "normalize_rewards": True,
    "behaviour": ["final_observation", "info:distance"],
    "log_info": ["distance:mean", "distance:max", "lost"],
}


@pytest.fixture(autouse=True)
def _clear() -> Iterator[None]:
    yield
    Wander.widths.clear()
    Wander.resets.clear()


def made(env: Any = Wander, memory: bool = False, **arguments: Any) -> Parts:
    torch.manual_seed(0)
    policy: nn.Module = Recurrent(3, 2, hidden_size=6, output_scale=1.0) if memory else MLP(3, 2, hidden_sizes=[6])
    return parts(Gym(env, **arguments), policy)


def run(of: Parts, members: int, first: int = 0, **terms: Any) -> Outcome:
    which = np.arange(first, first + members)
    chosen = of.members((which // 2 * 777 % 60_000).tolist(), np.where(which % 2, -1, 1).tolist())
    request = Request(which.astype(np.uint64) // 2 + 40, normalization=NORMALIZATION, observed_B=which % 3 > 0, **terms)
    return of.task.evaluate(chosen, request)


def of_members(outcome: Outcome) -> list[bytes]:
    """All that is a member's own, bit for bit."""
    arrays = (outcome.fitness_B, outcome.steps_B, outcome.behaviour_BD, outcome.return_B, outcome.scalars_BV)
    given = [array for array in arrays if array is not None]
    return [b"".join(array[member].tobytes() for array in given) for member in range(len(outcome.fitness_B))]


def of_moments(outcome: Outcome) -> list[bytes]:
    both = [moments for moments in (outcome.moments, outcome.reward_moments) if moments is not None]
    return [np.int64(one.count).tobytes() + one.mean_O.tobytes() + one.m2_O.tobytes() for one in both]


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    members=st.integers(2, 14),
    rows=st.integers(1, 16),
    longest=st.integers(3, 30),
    max_steps=st.none() | st.integers(1, 20),
    cap=st.none() | st.integers(2, 15),
    memory=st.booleans(),
    fixed=st.booleans(),
)
def test_gives_what_all_episodes_at_once_give(
    members: int, rows: int, longest: int, max_steps: int | None, cap: int | None, memory: bool, fixed: bool
) -> None:
    """For any number of rows and of members, and any lengths: fitness, steps, behaviours and scalars bit for bit."""
    arguments = {**ALL, "max_steps": max_steps, "env_kwargs": {"longest": longest}}
    expected = run(made(memory=memory, **arguments), members, max_steps=cap)
    got = run(made(Fixed if fixed else Wander, memory, num_worlds=rows, **arguments), members, max_steps=cap)
    assert of_members(got) == of_members(expected)
    assert (got.episodes, got.capped) == (expected.episodes, expected.capped)
    # Of discounted returns, blocks hold float32.
    for one, other, near in (
        (got.moments, expected.moments, 1e-12),
        (got.reward_moments, expected.reward_moments, 1e-6),
    ):
        assert one is not None and other is not None and one.count == other.count
        np.testing.assert_allclose(one.mean_O, other.mean_O, rtol=near, atol=near)
        np.testing.assert_allclose(one.m2_O, other.m2_O, rtol=1e3 * near, atol=1e3 * near)


@pytest.mark.slow
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    episodes=st.integers(1, 3),
    rows=st.lists(st.integers(1, 12), min_size=2, max_size=2),
    cut=st.integers(1, 9),
    memory=st.booleans(),
)
def test_neither_rows_nor_chunks_change_a_bit(episodes: int, rows: list[int], cut: int, memory: bool) -> None:
    """Moments included, where the same members are evaluated together."""
    one, other = (made(memory=memory, episodes_per_member=episodes, num_worlds=count, **ALL) for count in rows)
    fixed = made(Fixed, memory, episodes_per_member=episodes, num_worlds=max(rows), **ALL)
    whole = run(one, 10)
    for of in (other, fixed):
        got = run(of, 10)
        assert of_moments(got) == of_moments(whole)
        assert of_members(got) == of_members(whole)
    in_parts = [*of_members(run(fixed, cut)), *of_members(run(fixed, 10 - cut, first=cut))]
    assert in_parts == of_members(whole)


def test_several_episodes_of_a_member_are_those_of_rows_side_by_side() -> None:
    """Whose products are of several rows, and may differ in the last bit."""
    expected, got = run(made(episodes_per_member=3), 12), run(made(episodes_per_member=3, num_worlds=7), 12)
    np.testing.assert_array_equal(got.steps_B, expected.steps_B)
    np.testing.assert_allclose(got.fitness_B, expected.fitness_B, rtol=1e-5)


def test_nearly_all_rows_count_with_four_times_as_many_members() -> None:
    outcome = run(made(num_worlds=64), 256)
    assert outcome.stepped == sum(Wander.widths)
    assert outcome.steps_B.sum() / outcome.stepped >= 0.9
    assert len(set(Wander.widths)) > 3  # at the end, when no episode waits, rows are dropped


def test_a_simulator_that_drops_no_row_waits_for_the_last_episode_alone() -> None:
    outcome = run(made(Fixed, num_worlds=64), 256)
    assert set(Wander.widths) == {64} and outcome.stepped == 64 * len(Wander.widths)
    assert outcome.stepped <= outcome.steps_B.sum() + 64 * outcome.steps_B.max()


def test_rows_that_have_no_episode_are_not_counted() -> None:
    of = made(Fixed, num_worlds=64)
    few, many = run(of, 5), run(of, 64)
    assert set(Wander.widths[: few.stepped // 5]) == {5}  # as many as the first evaluation needs
    assert of_members(run(of, 5)) == of_members(few) == of_members(many)[:5]
    assert Wander.widths[-1] == 64  # made again with as many, which stay


def test_a_row_is_refilled_in_the_step_that_ends_its_episode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Wander, "counts", True)
    run(made(num_worlds=1), 6)
    assert Wander.resets == [1] * 5


class Counted(TorchDispatchMode):
    """Notes what would wait for a GPU: numbers that go to the host or come from it, and shapes that follow values."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name().removeprefix("aten::").partition(".")[0]
        indices = [x for x in tree_leaves(args[1:]) if isinstance(x, torch.Tensor) and x.dtype is torch.bool]
        if name in WAITING or (name in ("index", "index_put", "index_put_") and indices):
            lines = [f"{one.filename}:{one.lineno}" for one in traceback.extract_stack() if "/distes/" in one.filename]
            self.found.append(f"{name} at {(lines or [None])[-1]}")
        return func(*args, **(kwargs or {}))


# `lift_fresh` makes a tensor of Python numbers, which is then copied to the GPU from memory that is not pinned.
WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "lift_fresh", "is_nonzero", "equal", "_unique2")


def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch, look_every: int) -> None:
    """What a GPU would run is run on the CPU."""
    monkeypatch.setattr(refill, "waits", lambda here, members: False)
    monkeypatch.setattr(batched_policy.BatchedPolicy, "_are_finite", lambda self, numbers: False)
    every = property(lambda self: look_every, lambda self, value: None)
    monkeypatch.setattr(TwinSimulation, "look_every", every)


@pytest.mark.parametrize("look_every", [1, 5, 16])
@pytest.mark.parametrize("memory", [False, True])
@pytest.mark.parametrize("env", [Wander, Fixed])
def test_members_that_are_written_ahead_give_the_same(
    env: type, memory: bool, look_every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = {**ALL, "episodes_per_member": 2, "num_worlds": 9}
    expected = run(made(env, memory, **arguments), 40)
    as_on_a_gpu(monkeypatch, look_every)
    got = run(made(env, memory, **arguments), 40)
    assert of_members(got) == of_members(expected) and of_moments(got) == of_moments(expected)


@pytest.mark.parametrize("rows", [1, 3, 40])
def test_members_of_low_rank_and_those_that_are_materialised_too(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a simulator of as many rows always, since products of thin factors depend on their number."""

    def outcomes() -> list[list[bytes]]:
        torch.manual_seed(0)
        of = parts(Gym(Fixed, num_worlds=rows), MLP(3, 2, hidden_sizes=[16]))
        low_rank, which = LowRank(of.noise, of.layout), np.arange(30)
        low = gaussian_members(of.experiment.forward, low_rank, of.centre_P, 0.3, which // 2, which % 2 * 2 - 1)
        request = Request(which.astype(np.uint64))
        answers = [of_members(of.task.evaluate(low, request))]
        vmapped = parts(Gym(Fixed, num_worlds=rows), ReadsWeights(3, 2))
        assert vmapped.experiment.forward.materialises
        some = vmapped.members((which // 2).tolist(), (which % 2 * 2 - 1).tolist())
        return [*answers, of_members(vmapped.task.evaluate(some, request))]

    expected = outcomes()
    as_on_a_gpu(monkeypatch, 4)
    assert outcomes() == expected


@pytest.mark.parametrize("memory", [False, True])
@pytest.mark.parametrize(
    "env", [Wander, Fixed, *(f"distes/{name}" for name, path in TWINS.items() if ".mujoco." not in path)]
)
def test_nothing_waits_for_the_device_between_two_looks(
    env: Any, memory: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_on_a_gpu(monkeypatch, 8)
    arguments = {**ALL, "max_steps": 25, "num_worlds": 16}
    if isinstance(env, str):
        arguments |= {"log_info": [], "behaviour": "final_observation"}
    of = parts(Gym(env, **arguments))
    if memory:
        torch.manual_seed(0)
        of = parts(of.task, Recurrent(of.task.observation_shape[0], of.task.action_size, hidden_size=4))
    counted, looks = Counted(), list[int]()
    look, loop = batched.BatchedEpisodes._look, batched.BatchedEpisodes._loop

    def looked(self: Any) -> bool:
        with _disable_current_modes():
            looks.append(1)
            return look(self)

    def looped(self: Any) -> None:
        with counted:
            loop(self)

    monkeypatch.setattr(batched.BatchedEpisodes, "_look", looked)
    monkeypatch.setattr(batched.BatchedEpisodes, "_loop", looped)
    which = np.arange(64)
    chosen = of.members((which // 2 * 777 % 60_000).tolist(), np.where(which % 2, -1, 1).tolist())
    size = of.task.observation_shape[0]
    normalization = Normalization(np.zeros(size, np.float32), np.ones(size, np.float32))
    request = Request(which.astype(np.uint64) // 2, normalization=normalization, observed_B=which % 3 > 0)
    outcome = of.task.evaluate(chosen, request)
    assert counted.found == [] and len(looks) > 5
    assert (outcome.steps_B > 0).all() and np.isfinite(outcome.fitness_B).all()


def test_the_count_sees_what_waits() -> None:
    with Counted() as counted:
        numbers = torch.arange(4.0)
        for wait in (
            lambda: float(numbers[1]),
            lambda: numbers[numbers > 1],
            lambda: bool(numbers.any()),
            lambda: torch.tensor([1.0, 2.0]),
            lambda: numbers.nonzero(),
            lambda: numbers.__setitem__(numbers > 2, 0.0),
        ):
            before = len(counted.found)
            wait()
            assert len(counted.found) > before


@pytest.mark.gpu
@pytest.mark.parametrize("env", ["distes/CartPole-v1", "distes/Pendulum-v1"])
def test_on_a_gpu_nothing_waits_either(env: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loop, look = batched.BatchedEpisodes._loop, batched.BatchedEpisodes._look

    def strictly(mode: str, call: Any) -> Any:
        def called(self: Any) -> Any:
            before = torch.cuda.get_sync_debug_mode()
            torch.cuda.set_sync_debug_mode(mode)
            try:
                return call(self)
            finally:
                torch.cuda.set_sync_debug_mode(before)

        return called

    of = parts(Gym(env, num_worlds=64, action_noise=0.1, max_steps=60))
    of.experiment.forward.to("cuda")
    which = np.arange(256)
    members = gaussian_members(
        of.experiment.forward, of.perturbation, of.centre_P, 0.3, which // 2, which % 2 * 2 - 1, device="cuda"
    )
    request = Request(which.astype(np.uint64) // 2, observed_B=which % 3 > 0)
    of.task.evaluate(members, request)  # the first one compiles and allocates
    monkeypatch.setattr(batched.BatchedEpisodes, "_loop", strictly("error", loop))
    monkeypatch.setattr(batched.BatchedEpisodes, "_look", strictly("default", look))
    outcome = of.task.evaluate(members, request)
    assert outcome.steps_B.sum() / outcome.stepped > 0.5


@pytest.mark.parametrize("slots", [3, 5, 12, 30])
def test_vector_environments_that_are_reset_by_their_caller_are_refilled(slots: int) -> None:
    """Gymnasium's own, in NumPy: what a member gets is what single environments give, and nearly all rows count."""
    arguments = {"log_info": ["distance:max", "lost"], "behaviour": "final_observation", "action_noise": 0.0}
    expected = run(made("tests.support.environments.Drift", **arguments), 12)
    vector = {"env_kwargs": {"mode": "DISABLED"}, "slots": slots, **arguments}
    got = run(made("tests.support.environments.vector_drift", **vector), 12)
    assert of_members(got) == of_members(expected)
    if slots < 12:
        together = run(made("tests.support.environments.vector_drift", **vector | {"env_kwargs": {}}), 12)
        assert of_members(together) == of_members(expected) and got.stepped < together.stepped


VECTOR = "tests.support.wander.vector_wander"


@pytest.mark.parametrize("slots", [2, 5, 30])
def test_vector_environments_of_torch_tensors_are_refilled(slots: int) -> None:
    arguments = {**ALL, "behaviour": "final_observation"}
    expected, got = run(made(num_worlds=4, **arguments), 12), run(made(VECTOR, slots=slots, **arguments), 12)
    assert of_members(got) == of_members(expected)
    assert got.stepped < 1.5 * got.steps_B.sum() or slots > 12


def test_one_that_takes_a_single_seed_is_not_refilled() -> None:
    of = made(VECTOR, env_kwargs={"single_seed": True}, slots=4)
    with pytest.warns(DistesWarning, match="takes one seed for all its rows"):
        first = run(of, 8)
    assert of_members(run(of, 8)) == of_members(first)


def test_what_a_reset_of_some_rows_raises_is_told_of_a_member_and_tried_again() -> None:
    of = made(VECTOR, env_kwargs={"raises": 2}, slots=3, retries=0)
    reason = r"another of the 8 members that ran together\) raised ValueError at reset: no way back"
    with pytest.raises(MemberError, match=reason):
        run(of, 8)
    with pytest.warns(DistesWarning, match="run again in fresh environments"):
        again = run(made(VECTOR, env_kwargs={"raises": 2}, slots=3, retries=0), 8, refuses_non_finite=False)
    assert of_members(again) == of_members(run(made(VECTOR, slots=3), 8)) and again.retried == 1  # one by one
