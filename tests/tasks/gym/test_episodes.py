"""Episodes in lockstep against one member and one episode after the other.

Axes: B members evaluated together, E episodes, O observation.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from distes.policies.mlp import MLP
from distes.policies.recurrent import Recurrent
from distes.population import Normalization
from distes.tasks.base import Outcome, Request
from distes.tasks.gym.episodes.normalization import CLIP
from distes.tasks.gym.gym import Gym
from tests import reference
from tests.reference import episode_seed
from tests.support.environments import Drift, Echo
from tests.support.small import DRIFT, ECHO, Parts, parts

B = 10
IDS, SIGNS = np.arange(B) // 2 * 777, np.resize([1, -1], B)
SEEDS = np.arange(B, dtype=np.uint64) // 2 + 40
NORMALIZATION = Normalization(np.array([7, 0, -20], np.float32), np.array([1.5, 0.1, 1], np.float32))


@pytest.fixture(autouse=True)
def _no_log() -> Iterator[None]:
    Echo.log.clear()
    yield
    Echo.log.clear()


class Alone:
    """One member, acting by itself with torch's own layers; keeps what it has seen."""

    def __init__(self, of: Parts, parameters_P: NDArray[np.float32], normalization: Normalization | None) -> None:
        self.of, self.parameters_P, self.normalization = of, parameters_P, normalization
        self.seen: list[list[float]] = []

    def __call__(self, observation: Any) -> Any:
        self.seen.append(observation.tolist())
        self.of.layout.load(self.of.policy, self.parameters_P)
        x = torch.as_tensor(observation)
        if self.normalization is not None:
            mean_O, std_O = self.normalization.mean_O, self.normalization.std_O
            x = torch.clamp((x - torch.from_numpy(mean_O)) / torch.from_numpy(std_O), -5, 5)
        with torch.no_grad():
            if isinstance(self.of.policy, Recurrent):
                numbers, self.state = self.of.policy(x[None], self.state)
            else:
                numbers = self.of.policy(x[None])
        return np.clip(numbers[0].numpy(), -1, 1)

    def begins(self) -> None:
        if isinstance(self.of.policy, Recurrent):
            self.state = self.of.policy.initial_state(1)


class Forgetting(Drift):
    """Tells the member that acts when an episode begins."""

    begins: Callable[[], None]

    def reset(self, **arguments: Any) -> Any:
        self.begins()
        return super().reset(**arguments)


def drift(policy: nn.Module, **arguments: Any) -> Parts:
    return parts(Gym(DRIFT, **arguments), policy)


def lockstep(of: Parts, **request: Any) -> Outcome:
    return of.task.evaluate(of.members(IDS.tolist(), SIGNS.tolist()), Request(SEEDS, **request))


def one_by_one(
    of: Parts, episodes: int, normalization: Normalization | None, max_steps: int | None
) -> tuple[list[list[tuple[float, int]]], list[Alone]]:
    parameters_BP = of.members(IDS.tolist(), SIGNS.tolist()).parameters()
    members = [Alone(of, parameters_P, normalization) for parameters_P in parameters_BP]
    lives = []
    for member, seed in zip(members, SEEDS.tolist(), strict=True):
        environment = Forgetting()
        environment.begins = member.begins
        seeds = [episode_seed(seed, episode) for episode in range(episodes)]
        lives += reference.lifetimes(environment, [member], [seeds], max_steps)
    return lives, members


@pytest.mark.parametrize("normalization", [None, NORMALIZATION], ids=["as it is", "normalised"])
@pytest.mark.parametrize(("episodes", "max_steps", "slots"), [(1, None, 4), (3, None, 4), (3, 12, 1), (2, None, 32)])
@pytest.mark.parametrize("memory", [False, True], ids=["MLP", "Recurrent"])
def test_lockstep_equals_one_after_the_other(
    memory: bool, episodes: int, max_steps: int | None, slots: int, normalization: Normalization | None
) -> None:
    torch.manual_seed(0)
    policy = Recurrent(3, 2, hidden_size=6, output_scale=1.0) if memory else MLP(3, 2, hidden_sizes=[6])
    of = drift(policy, episodes_per_member=episodes, max_steps=max_steps, slots=slots)
    got = lockstep(of, normalization=normalization)
    lives, _ = one_by_one(of, episodes, normalization, max_steps)
    np.testing.assert_array_equal(got.steps_B, [sum(steps for _, steps in life) for life in lives])
    np.testing.assert_allclose(got.fitness_B, [np.mean([total for total, _ in life]) for life in lives], rtol=1e-4)
    assert got.episodes == B * episodes
    assert len(set(got.steps_B.tolist())) > 2  # of different lengths


@pytest.mark.parametrize("slots", [3, 32])
@pytest.mark.parametrize("normalization", [None, NORMALIZATION], ids=["as it is", "normalised"])
def test_moments_are_those_of_all_observations_that_were_acted_on(
    normalization: Normalization | None, slots: int
) -> None:
    """Of the members that were asked for, as they came, not as they were normalised."""
    torch.manual_seed(0)
    of = drift(MLP(3, 2, hidden_sizes=[6]), episodes_per_member=2, slots=slots)
    observed_B = np.array([0, 0, 1, 1, 0, 0, 0, 0, 1, 1], np.bool_)
    got = lockstep(of, normalization=normalization, observed_B=observed_B).moments
    _, members = one_by_one(of, 2, normalization, None)
    rows = [row for member, observed in zip(members, observed_B, strict=True) if observed for row in member.seen]
    means, variances = reference.mean_and_variance(rows)
    assert got is not None
    assert got.count == len(rows)
    assert got.mean_O.dtype == got.m2_O.dtype == np.float64
    np.testing.assert_allclose(got.mean_O, means, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(got.m2_O / got.count, variances, rtol=1e-4)


def test_nobody_asked_for_moments() -> None:
    assert lockstep(drift(MLP(3, 2))).moments is None


def test_nobody_is_observed() -> None:
    moments = lockstep(drift(MLP(3, 2)), observed_B=np.zeros(B, np.bool_)).moments
    assert moments is not None
    assert moments.count == 0 and not moments.mean_O.any() and not moments.m2_O.any()


def test_normalised_observations_are_clipped() -> None:
    """A policy that answers its first input, of an environment that shows a large number."""
    policy = nn.Sequential(nn.Linear(3, 2, bias=False))
    policy[0].weight.data[:] = torch.tensor([[1.0, 0, 0], [0, 1, 0]])
    shows = np.array([1e6, -1e6, 0], np.float32)
    box = {"actions": ECHO_ACTIONS, "observations": Drift.observation_space, "shows": shows}
    of = parts(Gym(ECHO, env_kwargs=box), policy)
    members = of.members([0], [0])
    of.task.evaluate(members, Request(SEEDS[:1], normalization=NORMALIZATION))
    assert CLIP == 5
    np.testing.assert_array_equal([action for what, action in Echo.log if what == "step"], [[5, -5]] * 3)


ECHO_ACTIONS = type(Drift.action_space)(-np.inf, np.inf, (2,), np.float32)


def timeline(lengths: list[int], slots: int, episodes: int = 1) -> tuple[list[str], Outcome]:
    """What happened in order, for members whose episodes have the given lengths: r for a reset, s for a step."""
    seeds: list[int] = []
    for wanted in lengths:  # a draw whose first episode has this length
        seeds.append(next(s for s in range(10_000) if s not in seeds and LENGTHS[episode_seed(s, 0) % 7] == wanted))
    of = parts(Gym(ECHO, env_kwargs={"lengths": LENGTHS}, slots=slots, episodes_per_member=episodes))
    members = of.members([0] * len(lengths), [1] * len(lengths))
    outcome = of.task.evaluate(members, Request(np.array(seeds, np.uint64)))
    return [what[0] for what, _ in Echo.log], outcome


LENGTHS = [1, 2, 3, 4, 5, 6, 7]


def test_a_finished_slot_takes_the_next_member_at_once() -> None:
    """Two slots: the first member is over after one step, and the third takes its place before anything is stepped."""
    happened, outcome = timeline([1, 4, 2, 1], slots=2)
    np.testing.assert_array_equal(outcome.steps_B, [1, 4, 2, 1])
    assert "".join(happened) == "rrssrssssrss"


def test_only_running_environments_are_stepped() -> None:
    lengths = [7, 1, 3, 1, 1, 2, 6, 5]
    for slots in (1, 2, 3, 8, 20):
        Echo.log.clear()
        happened, outcome = timeline(lengths, slots)
        np.testing.assert_array_equal(outcome.fitness_B, lengths)
        assert happened.count("s") == sum(lengths) and happened.count("r") == len(lengths)


def test_the_policy_is_called_once_per_step_for_all_that_run() -> None:
    """Eight members of at most seven steps in eight slots: seven calls, of fewer and fewer rows.

    Running are 8, 5, 4, 3, 3, 2 and 1; rows are dropped once a quarter is over.
    """
    rows: list[int] = []
    lengths = [7, 1, 3, 1, 1, 2, 6, 5]
    of = parts(Gym(ECHO, env_kwargs={"lengths": LENGTHS}, slots=8))
    members = of.members([0] * 8, [1] * 8)
    call = type(members).__call__

    class Counted(type(members)):  # type: ignore[misc]
        def __call__(self, x_BK: torch.Tensor) -> torch.Tensor:
            rows.append(len(x_BK))
            answer: torch.Tensor = call(self, x_BK)
            return answer

    members.__class__ = Counted
    seeds: list[int] = []
    for wanted in lengths:
        seeds.append(next(s for s in range(10_000) if s not in seeds and LENGTHS[episode_seed(s, 0) % 7] == wanted))
    of.task.evaluate(members, Request(np.array(seeds, np.uint64)))
    assert rows == [8, 5, 5, 3, 3, 2, 1]


def test_episodes_of_a_member_have_seeds_of_their_own() -> None:
    of = parts(Gym(ECHO, episodes_per_member=3, slots=2))
    of.task.evaluate(of.members([0, 0], [1, -1]), Request(np.array([5, 5], np.uint64)))
    resets = [seed for what, seed in Echo.log if what == "reset"]
    expected = [episode_seed(5, episode) for episode in range(3)]
    assert sorted(resets) == sorted(expected * 2) and len(set(expected)) == 3
