"""Episodes in batched simulators against one member and one episode after the other.

Axes: B members evaluated together, K episodes of each, O observation.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import nn

from distes.errors import ConfigurationError, DistesWarning, EvaluationError
from distes.policies.linear import Linear
from distes.policies.mlp import MLP
from distes.policies.recurrent import Recurrent
from distes.pools.serial import SerialPool
from distes.population import Normalization
from distes.tasks.base import Outcome, Request
from distes.tasks.gym.gym import Gym
from tests.reference import episode_seed
from tests.support.environments import Drifts, Echo, Lab
from tests.support.small import DRIFT, Parts, evaluate, parts, population

DRIFTS, SINGLE = "tests.support.environments.Drifts", "tests.support.environments.SingleDrift"
VECTOR_DRIFT, VECTOR_ECHO = "tests.support.environments.vector_drift", "tests.support.environments.vector_echo"
B = 12
IDS, SIGNS = np.arange(B) // 2 * 777, np.resize([1, -1], B)
SEEDS = np.arange(B, dtype=np.uint64) // 2 + 40
NORMALIZATION = Normalization(np.array([7, 0, -20], np.float32), np.array([1.5, 0.1, 1], np.float32))


@pytest.fixture(autouse=True)
def _no_log() -> Iterator[None]:
    Drifts.widths.clear()
    Echo.log.clear()
    yield
    Drifts.widths.clear()
    Echo.log.clear()


def made(env: str, memory: bool = False, **arguments: Any) -> Parts:
    torch.manual_seed(0)
    policy: nn.Module = MLP(3, 2, hidden_sizes=[6])
    if memory:
        policy = Recurrent(3, 2, hidden_size=6, output_scale=1.0)
    return parts(Gym(env, **arguments), policy)


def run(of: Parts, who: Sequence[int] = range(B), **terms: Any) -> Outcome:
    chosen = list(who)
    if (observed_B := terms.get("observed_B")) is not None:
        terms["observed_B"] = observed_B[chosen]
    return of.task.evaluate(of.members(IDS[chosen].tolist(), SIGNS[chosen].tolist()), Request(SEEDS[chosen], **terms))


def bits(outcome: Outcome) -> list[bytes]:
    return [f.tobytes() + s.tobytes() for f, s in zip(outcome.fitness_B, outcome.steps_B, strict=True)]


@pytest.mark.parametrize("normalization", [None, NORMALIZATION], ids=["as it is", "normalised"])
@pytest.mark.parametrize(("episodes", "max_steps"), [(1, None), (3, None), (3, 12), (1, 1)])
@pytest.mark.parametrize("memory", [False, True], ids=["MLP", "Recurrent"])
def test_equals_one_after_the_other(
    memory: bool, episodes: int, max_steps: int | None, normalization: Normalization | None
) -> None:
    """Each row by itself, as an environment of its own that Gymnasium could hold: `LockstepEpisodes` steps it."""
    arguments = {"episodes_per_member": episodes, "max_steps": max_steps, "reward_shift": 0.25}
    got = run(made(DRIFTS, memory, **arguments), normalization=normalization)
    expected = run(made(SINGLE, memory, **arguments), normalization=normalization)
    np.testing.assert_array_equal(got.steps_B, expected.steps_B)
    np.testing.assert_allclose(got.fitness_B, expected.fitness_B, rtol=1e-5)
    assert got.fitness_B.dtype == np.float64 and got.steps_B.dtype == np.int64
    assert got.episodes == expected.episodes == B * episodes and got.moments is None
    assert max_steps == 1 or len(set(got.steps_B.tolist())) > 2  # of different lengths


@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize("memory", [False, True], ids=["MLP", "Recurrent"])
def test_companions_and_order_change_no_bit(memory: bool, noise: float) -> None:
    of = made(DRIFTS, memory, action_noise=noise)
    together = bits(run(of, normalization=NORMALIZATION))
    assert len(set(together)) == B
    for who in ([3], [11, 0, 5], [7, 6], list(range(B))[::-1], [*range(5), *range(B)]):
        assert bits(run(of, who, normalization=NORMALIZATION)) == [together[b] for b in who]
    assert bits(run(of, normalization=NORMALIZATION)) == together


@pytest.mark.parametrize("share", [1 / 16, 1 / 3, 1.0])
def test_when_members_are_dropped_changes_no_bit(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = bits(run(made(DRIFTS, action_noise=0.3)))
    widths = list(Drifts.widths)
    monkeypatch.setattr("distes.tasks.gym.running.DROP_CHEAP", share)
    Drifts.widths.clear()
    assert bits(run(made(DRIFTS, action_noise=0.3))) == expected
    assert len(Drifts.widths) == len(widths)
    assert (len(set(Drifts.widths)) == 1) == (share == 1.0)


@pytest.mark.parametrize("episodes", [1, 2])
def test_the_simulator_is_narrowed_to_members_that_run(episodes: int) -> None:
    """And the policy is called for as many rows, once per step; nothing is stepped after the last episode."""
    of = made(DRIFTS, episodes_per_member=episodes)
    calls: list[tuple[int, ...]] = []
    members = of.members(IDS.tolist(), SIGNS.tolist())
    call = type(members).__call__

    class Counted(type(members)):  # type: ignore[misc]
        def __call__(self, x_BK: torch.Tensor) -> torch.Tensor:
            calls.append(tuple(x_BK.shape))
            answer: torch.Tensor = call(self, x_BK)
            return answer

    members.__class__ = Counted
    outcome = of.task.evaluate(members, Request(SEEDS))
    assert calls == [(width // episodes, episodes, 3) for width in Drifts.widths]
    assert Drifts.widths == sorted(Drifts.widths, reverse=True) and Drifts.widths[0] == B * episodes
    if episodes == 1:
        alive = [int((outcome.steps_B > step).sum()) for step in range(len(Drifts.widths))]
        assert len(Drifts.widths) == outcome.steps_B.max()
        assert all(left <= width < 1.5 * left + 1 for width, left in zip(Drifts.widths, alive, strict=True))


@pytest.mark.parametrize("episodes", [1, 2])
@pytest.mark.parametrize("normalization", [None, NORMALIZATION], ids=["as it is", "normalised"])
@pytest.mark.parametrize(
    "observed", [[1] * B, [0, 0, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1], [0] * B], ids=["all", "some", "none"]
)
def test_moments_are_those_of_all_observations_that_were_acted_on(
    observed: list[int], normalization: Normalization | None, episodes: int
) -> None:
    terms = {"normalization": normalization, "observed_B": np.array(observed, np.bool_)}
    arguments = {"episodes_per_member": episodes, "env_kwargs": {"longest": 200}}  # more than one block of steps
    outcome = run(made(DRIFTS, **arguments), **terms)
    got, expected = outcome.moments, run(made(SINGLE, **arguments), **terms).moments
    assert got is not None and expected is not None
    assert got.count == expected.count == outcome.steps_B[terms["observed_B"]].sum()
    assert got.mean_O.dtype == got.m2_O.dtype == np.float64
    np.testing.assert_allclose(got.mean_O, expected.mean_O, rtol=1e-5)
    np.testing.assert_allclose(got.m2_O, expected.m2_O, rtol=1e-4)


def test_small_blocks_of_noise_and_moments_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    of, terms = made(DRIFTS, action_noise=0.3), {"observed_B": np.ones(B, np.bool_)}
    expected = run(of, **terms)
    monkeypatch.setattr("distes.tasks.spaces.action_noise.TENSOR_NUMBERS", 7 * B)
    monkeypatch.setattr("distes.tasks.gym.episodes.normalization.SUM_NUMBERS", 7 * B)
    got = run(of, **terms)
    assert bits(got) == bits(expected)
    assert got.moments is not None and expected.moments is not None and got.moments.count == expected.moments.count
    np.testing.assert_allclose(got.moments.m2_O, expected.moments.m2_O, rtol=1e-9)


def test_looking_seldom_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, where each look waits for it."""
    of, terms = made(DRIFTS, action_noise=0.3, episodes_per_member=2), {"observed_B": np.ones(B, np.bool_)}
    expected = run(of, **terms)
    monkeypatch.setattr(Drifts, "look_every", 16)
    of = made(DRIFTS, action_noise=0.3, episodes_per_member=2)
    got = run(of, **terms)
    assert bits(got) == bits(expected)
    assert got.moments is not None and expected.moments is not None and got.moments.count == expected.moments.count


def test_a_larger_chunk_may_come_after_a_smaller_one() -> None:
    fresh = bits(run(made(DRIFTS)))
    of = made(DRIFTS)
    for who in ([0], range(B), [3, 4], range(B)):
        assert bits(run(of, who)) == [fresh[b] for b in who]


class TestActionNoise:
    def actions(self, training: bool = True, steps: int = 300) -> NDArray[np.float32]:
        """Of a policy that answers 0, by member: (B, steps, 2)."""
        Echo.log.clear()
        policy = Linear(1, 2, bias=False, initial_scale=0.0)
        space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
        kwargs = {"actions": space, "lengths": steps}
        of = parts(Gym(VECTOR_ECHO, env_kwargs=kwargs, action_noise=0.3, slots=4), policy)
        chosen = of.members([0] * 4, [1, -1, 1, -1], sigma=0.0)
        of.task.evaluate(chosen, Request(np.array([5, 5, 6, 6], np.uint64), training))
        return np.array([action for what, action in Echo.log if what == "step"]).reshape(steps, 4, 2).transpose(1, 0, 2)

    def test_is_gaussian_and_both_members_of_a_pair_get_the_same(self) -> None:
        """1,200 numbers, within five of their standard deviations."""
        plus, minus, other_plus, other_minus = self.actions()
        assert (plus == minus).all() and (other_plus == other_minus).all() and not (plus == other_plus).any()
        noise = np.concatenate([plus, other_plus])
        n = noise.size
        assert abs(noise.mean()) < 5 * 0.3 / np.sqrt(n)
        assert abs(noise.std() / 0.3 - 1) < 5 / np.sqrt(2 * n)
        assert len(np.unique(noise, axis=0)) == len(noise)  # no block comes twice
        assert abs(np.corrcoef(noise.T)[0, 1]) < 5 / np.sqrt(n / 2)

    def test_none_for_the_centre(self) -> None:
        assert not self.actions(training=False, steps=3).any()

    def test_is_not_what_the_simulator_draws_by_the_same_seed(self) -> None:
        from distes.noise.splitmix import normal

        drawn = 0.3 * normal(torch.tensor([episode_seed(5, 0)]), 600)[0].numpy()
        assert not np.isclose(np.sort(drawn), np.sort(self.actions()[0].ravel())).any()


class TestForeignSimulators:
    """Gymnasium's own vector environments stand for all that follow their interface."""

    @pytest.mark.parametrize("mode", ["NEXT_STEP", "SAME_STEP", "DISABLED"])
    @pytest.mark.parametrize("slots", [B, 30, 5], ids=["as many rows", "surplus rows", "in several goes"])
    def test_give_what_their_environments_give_one_by_one(self, slots: int, mode: str) -> None:
        observed_B = np.arange(B) % 3 == 0
        terms = {"normalization": NORMALIZATION, "observed_B": observed_B}
        expected = run(made(DRIFT), **terms)
        got = run(made(VECTOR_DRIFT, env_kwargs={"mode": mode}, slots=slots), **terms)
        assert bits(got) == bits(expected)
        assert got.moments is not None and expected.moments is not None
        assert got.moments.count == expected.moments.count
        np.testing.assert_allclose(got.moments.m2_O, expected.moments.m2_O, rtol=1e-9)

    def test_several_episodes_of_a_member_run_at_once(self) -> None:
        expected = run(made(DRIFT, episodes_per_member=3))
        got = run(made(VECTOR_DRIFT, episodes_per_member=3, slots=16))
        np.testing.assert_array_equal(got.steps_B, expected.steps_B)
        np.testing.assert_allclose(got.fitness_B, expected.fitness_B, rtol=1e-5)
        assert got.episodes == 3 * B

    @pytest.mark.parametrize(
        "space", [spaces.Discrete(3, start=-1), spaces.MultiDiscrete([2, 3], start=[5, -5])], ids=str
    )
    def test_actions_are_of_the_space(self, space: Any) -> None:
        """The environment itself asserts it."""
        of = parts(Gym(VECTOR_ECHO, env_kwargs={"actions": space}, slots=8))
        of.task.evaluate(of.members([1, 2, 3, 4, 5], [1] * 5, sigma=3.0), Request(np.arange(5, dtype=np.uint64)))
        assert len({str(action) for what, action in Echo.log if what == "step"}) > 1

    def test_images_are_scaled_and_have_their_channels_first(self) -> None:
        box, shown = spaces.Box(-np.inf, np.inf, (1,), np.float32), np.full((9, 8, 3), 51, np.uint8)
        kwargs = {"actions": box, "observations": spaces.Box(0, 255, (9, 8, 3), np.uint8), "shows": shown}
        policy = nn.Sequential(nn.Conv2d(3, 1, (9, 8), bias=False), nn.Flatten())
        nn.init.ones_(policy[0].weight)
        of = parts(Gym(VECTOR_ECHO, env_kwargs=kwargs, slots=2), policy)
        of.task.evaluate(of.members([0, 0], [1, 1], sigma=1e-9), Request(np.arange(2, dtype=np.uint64)))
        actions = [float(action[0]) for what, action in Echo.log if what == "step"]
        assert of.task.observation_shape == (3, 9, 8)
        assert actions == pytest.approx([9 * 8 * 3 / 5] * 6, rel=1e-4)

    def test_a_single_seed_for_all_rows_is_said_once(self) -> None:
        of = made("tests.support.environments.Lab", slots=B)
        with pytest.warns(DistesWarning, match="Lab takes one seed for all its rows"):
            first = run(of)
        again = run(of)  # and not again: warnings of ours are errors here
        assert bits(first) == bits(again) and len(set(bits(first))) == B
        np.testing.assert_array_equal(first.steps_B, [6] * B)

    def test_observations_are_not_copied_on_their_way(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What the environment gave is what the translator gets, in torch and in NumPy."""
        seen: list[int] = []
        of = made("tests.support.environments.Lab", slots=B)
        write = type(of.task.observation_and_action()[0]).write_batch

        def spy(self: Any, observation: Any, rows: torch.Tensor) -> None:
            seen.append(observation["policy"].data_ptr())
            write(self, observation, rows)

        monkeypatch.setattr(type(of.task.observation_and_action()[0]), "write_batch", spy)
        addresses: list[int] = []
        step = Lab.step

        def noted(self: Lab, actions: torch.Tensor) -> Any:
            result = step(self, actions)
            addresses.append(result[0]["policy"].data_ptr())
            return result

        monkeypatch.setattr(Lab, "step", noted)
        with pytest.warns(DistesWarning):
            run(of)
        assert seen[1:] == addresses

    def test_gymnasium_s_make_vec_can_be_named(self) -> None:
        kwargs = {"id": "Pendulum-v1", "vectorization_mode": "sync"}
        vector = Gym("gymnasium.make_vec", env_kwargs=kwargs, slots=4, action_mode="rescale")
        single = Gym("Pendulum-v1", stepping="one_by_one", action_mode="rescale")
        outcomes = []
        for task in (vector, single):
            of = parts(task)
            chosen = of.members([0, 0, 9, 9], [1, -1] * 2)
            outcomes.append(bits(task.evaluate(chosen, Request(np.array([1, 1, 2, 2], np.uint64)))))
        assert outcomes[0] == outcomes[1]

    def test_what_is_no_simulator_is_refused(self) -> None:
        with pytest.raises(
            ConfigurationError, match=r"must return a vector environment.*Drift has no num_envs, no sing"
        ):
            Gym("tests.support.environments.no_simulator").check()

    def test_too_few_rows_are_refused(self) -> None:
        with pytest.raises(ConfigurationError, match=r"slots must be at least episodes_per_member \(4\).*has 3"):
            Gym(VECTOR_DRIFT, slots=3, episodes_per_member=4).check()

    def test_has_no_single_environment_to_play(self) -> None:
        for env in (VECTOR_DRIFT, DRIFTS):
            with pytest.raises(ConfigurationError, match="it has no single one to play or to show"):
                Gym(env).make()

    def test_chunks_have_as_many_members_as_there_are_rows(self) -> None:
        assert Gym(VECTOR_DRIFT, slots=64, episodes_per_member=2).pairs_per_chunk[:2] == (16, 16)


class TestEnvPool:
    """Where it is installed: it is an extra."""

    @pytest.fixture(autouse=True)
    def _installed(self) -> None:
        pytest.importorskip("envpool")

    @pytest.mark.slow
    def test_what_a_member_gets_is_a_function_of_its_seed(self) -> None:
        of = parts(Gym("envpool:Pendulum-v1", action_mode="rescale"))
        members = list(range(B))

        def of_members(who: list[int]) -> list[bytes]:
            chosen = of.members(IDS[who].tolist(), SIGNS[who].tolist())
            return bits(of.task.evaluate(chosen, Request(SEEDS[who])))

        together = of_members(members)
        assert len(set(together)) == B
        for who in ([3], members[::-1], members):
            assert of_members(who) == [together[b] for b in who]

    def test_the_step_limit_can_be_longer_than_its_own(self) -> None:
        of = parts(Gym("envpool:Pendulum-v1", max_steps=230))
        outcome = of.task.evaluate(of.members([0, 0], [1, -1]), Request(SEEDS[:2]))
        np.testing.assert_array_equal(outcome.steps_B, [230, 230])


def test_without_envpool_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "envpool", None)
    with pytest.raises(
        ConfigurationError, match=r"needs an extra that is not installed: .*-m pip install .*\[envpool\]'"
    ):
        Gym("envpool:CartPole-v1").check()


class TestWhatGoesWrong:
    def test_an_observation_that_is_not_finite(self) -> None:
        """The first such member of the chunk: both members of a pair have the same seed, so it is the one with +."""
        asked = population(made(DRIFTS).strategy(population_size=20))
        pair = 7
        seed = episode_seed(int(asked.seeds_N[pair]), 1)
        of = made(DRIFTS, env_kwargs={"nan_at": seed}, episodes_per_member=2)
        reason = "an observation has a number that is not finite"
        with pytest.raises(EvaluationError, match=rf"^Pair {pair}, sign \+, .*: {reason} \(episode seed {seed}\)\."):
            evaluate(SerialPool(of.experiment), asked)

    def test_a_simulator_that_raises(self) -> None:
        asked = population(made(DRIFTS).strategy(population_size=20))
        of = made(DRIFTS, env_kwargs={"raises_at": episode_seed(int(asked.seeds_N[7]), 0)})
        reason = re.escape(
            "its environment (or that of another of the 8 members that ran together) raised ValueError at reset: "
            "a seed that it cannot bear"
        )
        with pytest.raises(EvaluationError, match=rf"^Pair 4, sign \+, of generation 1 .*: {reason}"):
            evaluate(SerialPool(of.experiment, pairs_per_chunk=4), asked)

    def test_the_pool_goes_on_after_a_failure(self) -> None:
        of = made(DRIFTS, env_kwargs={"raises_at": episode_seed(666, 0)})
        pool, asked = SerialPool(of.experiment), population(of.strategy(population_size=40))
        expected = evaluate(pool, asked).fitness_N2
        seeds_N = asked.seeds_N.copy()
        seeds_N[9] = 666
        with pytest.raises(EvaluationError, match="a seed that it cannot bear"):
            evaluate(pool, population(of.strategy(population_size=40), seeds_N=seeds_N))
        np.testing.assert_array_equal(evaluate(pool, asked).fitness_N2, expected)


@pytest.mark.gpu
def test_on_a_gpu_nothing_changes_but_rounding() -> None:
    outcomes = []
    for device in ("cpu", "cuda"):
        of = made(DRIFTS, action_noise=0.3)
        of.experiment.forward.to(device)
        members = of.members(IDS.tolist(), SIGNS.tolist())
        members = type(members)(
            of.experiment.forward,
            of.perturbation,
            torch.from_numpy(of.centre_P).to(device),
            0.3,
            IDS,
            SIGNS,
            device=device,
        )
        outcomes.append(of.task.evaluate(members, Request(SEEDS, normalization=NORMALIZATION)))
    on_cpu, on_gpu = outcomes
    np.testing.assert_array_equal(on_gpu.steps_B, on_cpu.steps_B)
    np.testing.assert_allclose(on_gpu.fitness_B, on_cpu.fitness_B, rtol=1e-3)


def test_gymnasium_makes_the_twins_too() -> None:
    """By the id that the registry has for them."""
    env = gymnasium.make_vec("distes/CartPole-v1", num_envs=3)
    assert env.num_envs == 3 and type(env.unwrapped).__module__ == "distes.envs.cartpole"
