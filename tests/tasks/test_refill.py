"""Rows that take another episode as soon as theirs is over.

Axes: B members, K episodes of each, R rows.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from distes.policies.mlp import MLP
from distes.policies.recurrent import Recurrent
from distes.population import Normalization
from distes.tasks import batched
from distes.tasks.base import Outcome, Request
from distes.tasks.gym import Gym
from tests.support.small import Parts, parts
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


def made(env: type = Wander, memory: bool = False, **arguments: Any) -> Parts:
    torch.manual_seed(0)
    policy: nn.Module = Recurrent(3, 2, hidden_size=6, output_scale=1.0) if memory else MLP(3, 2, hidden_sizes=[6])
    return parts(Gym(env, **arguments), policy)


def run(of: Parts, members: int, first: int = 0, **terms: Any) -> Outcome:
    which = np.arange(first, first + members)
    chosen = of.members((which // 2 * 777).tolist(), np.where(which % 2, -1, 1).tolist())
    request = Request(
        which.astype(np.uint64) // 2 + 40, normalization=NORMALIZATION, observed_B=which % 3 > 0, **terms
    )
    return of.task.evaluate(chosen, request)


def of_members(outcome: Outcome) -> list[bytes]:
    """All that is a member's own, bit for bit."""
    arrays = (outcome.fitness_B, outcome.steps_B, outcome.behaviour_BD, outcome.return_B, outcome.scalars_BV)
    given = [array for array in arrays if array is not None]
    return [b"".join(array[member].tobytes() for array in given) for member in range(len(outcome.fitness_B))]


def of_moments(outcome: Outcome) -> list[bytes]:
    both = [moments for moments in (outcome.moments, outcome.reward_moments) if moments is not None]
    return [np.int64(one.count).tobytes() + one.mean_O.tobytes() + one.m2_O.tobytes() for one in both]


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
        if of is fixed or 10 * episodes > rows[1]:
            assert of_moments(run(of, 10)) == of_moments(whole)
        assert of_members(run(of, 10)) == of_members(whole)
    in_parts = [*of_members(run(fixed, cut)), *of_members(run(fixed, 10 - cut, first=cut))]
    assert in_parts == of_members(whole)


def test_several_episodes_of_a_member_are_those_of_rows_side_by_side() -> None:
    """Whose products are of several rows, and may differ in the last bit."""
    expected, got = run(made(episodes_per_member=3), 12), run(made(episodes_per_member=3, num_worlds=7), 12)
    np.testing.assert_array_equal(got.steps_B, expected.steps_B)
    np.testing.assert_allclose(got.fitness_B, expected.fitness_B, rtol=1e-5)


@pytest.mark.parametrize("env", [Wander, Fixed])
def test_nearly_all_rows_count(env: type) -> None:
    """Nine of ten with four times as many members as rows; a simulator that drops no row waits for the longest one."""
    outcome = run(made(env, num_worlds=64, env_kwargs={"shortest": 20, "longest": 30}), 256)
    assert outcome.stepped == sum(Wander.widths)
    assert outcome.steps_B.sum() / outcome.stepped >= 0.9
    assert set(Wander.widths) == {64} if env is Fixed else len(set(Wander.widths)) > 3


def test_rows_that_have_no_episode_are_not_counted() -> None:
    of = made(Fixed, num_worlds=64)
    few, many = run(of, 5), run(of, 64)
    assert set(Wander.widths[: few.stepped // 5]) == {5}  # as many as the first evaluation needs
    assert of_members(run(of, 5)) == of_members(few) == of_members(many)[:5]
    assert Wander.widths[-1] == 64  # made again with as many, which stay


def test_a_row_is_refilled_in_the_step_that_ends_its_episode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Wander, "counts", True)
    run(made(num_worlds=1), 6)
    assert [1] * 5 == Wander.resets
