"""Actions that are chosen from several: in bins, drawn by chance, under a mask, of bits."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from distes.errors import ConfigurationError, EvaluationError
from distes.tasks.base import MemberError, Request
from distes.tasks.gym.gym import Gym
from distes.tasks.spaces.action_noise import ArrayNoise, Law, TensorNoise
from distes.tasks.spaces.action_of import action_of
from distes.tasks.spaces.actions import ActionSettings
from distes.tasks.spaces.observation_of import observation_of
from tests.support.choices import Bits
from tests.support.small import DRIFT, parts, train

SEEDS = np.array([4, 4, 5, 5], np.uint64)
BOX = spaces.Box(np.float32([0, -3]), np.float32([10, 5]))
FORBIDDING = [f"tests.support.choices.{name}" for name in ("Forbidding", "ForbiddingRows", "vector_forbidding")]


class TestBins:
    """OpenAI's `ac_bins`: dimensions * levels numbers, the largest of each dimension counts."""

    def test_levels_lie_between_the_bounds(self) -> None:
        action = action_of(BOX, ActionSettings(bins="uniform:3"))
        numbers_RA = np.float32([[9, 0, 0, 0, 0, 1], [0, 1, 0, 0, 2, 1], [0, 0, 0, 0, 0, 0]])
        np.testing.assert_array_equal(action.read_all(numbers_RA), [[0, 5], [5, 1], [0, -3]])
        custom = action_of(BOX, ActionSettings(bins="custom:-1,0.5,1"))
        np.testing.assert_array_equal(custom.read_all(numbers_RA), [[0, 5], [7.5, 3], [0, -3]])
        assert action.size == 6 and action.noise_size == 2

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_tensors_and_the_module_agree(self, dtype: Any) -> None:
        space = spaces.Box(-0.1, 1 / 3, (2, 3), dtype)
        action = action_of(space, ActionSettings(bins="uniform:7"))
        numbers_RA = np.random.default_rng(0).normal(size=(50, action.size)).astype(np.float32)
        expected, out = action.read_all(numbers_RA), action.empty(50, torch.device("cpu"))
        action.read_batch(torch.from_numpy(numbers_RA), out)
        assert np.array_equal(out.numpy(), expected) and all(space.contains(one) for one in expected)
        assert np.array_equal(action.module()(torch.from_numpy(numbers_RA)).numpy(), expected)

    def test_gaussian_noise_comes_after_the_choice(self) -> None:
        action = action_of(BOX, ActionSettings(bins="uniform:3"))
        noisy = action.read_all(np.float32([[0, 1, 0, 0, 1, 0]]), np.float32([[0.25, 99]]))
        np.testing.assert_array_equal(noisy, [[5.25, 5]])

    @pytest.mark.parametrize("text", ["uniform:1", "custom:-1,0", "custom:-1,2,1", "continuous:", "uniform:x", "10"])
    def test_other_texts_are_refused(self, text: str) -> None:
        with pytest.raises(ConfigurationError, match=r"action_bins must be uniform:N.*got '"):
            Gym("Pendulum-v1", action_bins=text)

    @pytest.mark.parametrize(
        ("space", "message"),
        [
            (spaces.Discrete(3), "action_bins is for Box actions"),
            (spaces.Box(-np.inf, np.inf, (1,)), "action_bins needs finite bounds"),
        ],
    )
    def test_spaces_without_bounds_are_refused(self, space: Any, message: str) -> None:
        with pytest.raises(ConfigurationError, match=message):
            action_of(space, ActionSettings(bins="uniform:3"))


class TestSampling:
    @pytest.mark.parametrize("law", ["gumbel", "logistic"])
    def test_frequencies_are_those_of_the_softmax(self, law: Law) -> None:
        numbers_A, count = np.float32([0.0, 1.0, -0.5]), 20_000
        array = ArrayNoise(1, 3, law=law)
        array.start(0, 7)
        one_RA = numbers_A + np.concatenate([array.at(np.array([step])) for step in range(count)])
        tensor = TensorNoise(torch.arange(count), 3, 1.0, law)
        for noisy_RA in (one_RA, numbers_A + tensor.at(0, torch.zeros(count, dtype=torch.int64)).numpy()):
            if law == "gumbel":
                got = np.bincount(noisy_RA.argmax(1), minlength=3) / count
                expected = np.exp(numbers_A) / np.exp(numbers_A).sum()
            else:
                got, expected = (noisy_RA > 0).mean(0), 1 / (1 + np.exp(-numbers_A))
            np.testing.assert_allclose(got, expected, atol=0.015)

    @pytest.mark.parametrize("stepping", ["one_by_one", "batched"])
    def test_a_draw_is_a_function_of_the_episode_and_off_where_it_is_to_be(self, stepping: Any) -> None:
        def fitness(how: Any, seeds: Any = SEEDS, training: bool = True) -> list[float]:
            of = parts(Gym("CartPole-v1", stepping=stepping, sample_actions=how))
            members = of.members([1, 1, 2, 2], [1, -1, 1, -1], sigma=0.0)
            return of.task.evaluate(members, Request(seeds, training)).fitness_B.tolist()  # type: ignore[no-any-return]

        drawn = fitness("training")
        assert drawn == fitness("training") != fitness("never")
        assert drawn[0] == drawn[1] and drawn[2] == drawn[3]  # a pair that does not differ has one fate
        assert drawn[:2] == fitness("training", SEEDS[[0, 0, 0, 0]])[:2]
        assert fitness("training", training=False) == fitness("never", training=False)
        assert fitness("always", training=False) == fitness("always")

    def test_continuous_actions_cannot_be_drawn(self) -> None:
        with pytest.raises(ConfigurationError, match=r"sample_actions draws one of several actions.*action_bins"):
            Gym("Pendulum-v1", sample_actions="training").check()
        with pytest.raises(ConfigurationError, match="must be 'never', 'training' or 'always'; got 'on'"):
            Gym("CartPole-v1", sample_actions="on")  # type: ignore[arg-type]


class TestMasks:
    @pytest.mark.parametrize("env", FORBIDDING)
    @pytest.mark.parametrize("sampling", ["never", "training"])
    def test_a_forbidden_action_is_never_taken(self, env: str, sampling: Any) -> None:
        """The environment raises where it is."""
        of = parts(Gym(env, slots=8, episodes_per_member=2, action_mask="action_mask", sample_actions=sampling))
        of.task.check()
        outcome = of.task.evaluate(of.members([1, 1, 2, 2], [1, -1, 1, -1]), Request(SEEDS))
        assert outcome.steps_B.min() >= 8
        free = parts(Gym(env, slots=8, retries=0))
        with pytest.raises(MemberError, match="a forbidden action"):
            free.task.evaluate(free.members([1, 1, 2, 2], [1, -1, 1, -1]), Request(SEEDS))

    @pytest.mark.parametrize("mode", ["NEXT_STEP", "SAME_STEP", "DISABLED"])
    def test_ways_of_stepping_agree(self, mode: str) -> None:
        found = []
        for env, kwargs in zip(FORBIDDING, ({}, {}, {"mode": mode}), strict=True):
            of = parts(Gym(env, env_kwargs=kwargs, slots=7, action_mask="action_mask"))
            outcome = of.task.evaluate(of.members([1, 1, 2, 2], [1, -1, 1, -1]), Request(SEEDS))
            found.append((outcome.fitness_B.tolist(), outcome.steps_B.tolist()))
        assert found[0] == found[1] == found[2]

    @pytest.mark.parametrize("env", FORBIDDING)
    @pytest.mark.parametrize(
        ("kwargs", "message"),
        [({"stuck_at": 2}, "its action mask 'action_mask' allows no action"), ({"size": 5}, "must have 4 numbers")],
    )
    def test_masks_that_do_not_fit_are_said(self, env: str, kwargs: Any, message: str) -> None:
        of = parts(Gym(env, env_kwargs=kwargs, slots=8, action_mask="action_mask"))
        with pytest.raises(MemberError, match=message):
            of.task.evaluate(of.members([1, 1, 2, 2], [1, -1, 1, -1]), Request(SEEDS))

    def test_a_missing_mask_is_said_before_the_run(self) -> None:
        task = Gym(FORBIDDING[0], env_kwargs={"silent": True}, action_mask="action_mask")
        with pytest.raises(ConfigurationError, match=r"no action mask 'action_mask' \(it has no keys\)"):
            task.check()

    @pytest.mark.parametrize("env", FORBIDDING)
    def test_a_reference_batch_heeds_them(self, env: str) -> None:
        """The environment raises over a forbidden action."""
        assert Gym(env, slots=4, action_mask="action_mask").reference_observations(40, 3).shape == (40, 3)

    def test_multi_discrete_masks_may_be_tuples(self) -> None:
        action = action_of(spaces.MultiDiscrete([2, 3]), ActionSettings(mask="m"))
        numbers_RA = np.float32([[1, 0, 3, 2, 1]])
        for mask in ((np.array([0, 1]), np.array([0, 1, 1])), [False, True, False, True, True]):
            np.testing.assert_array_equal(action.read_all(action.masked(numbers_RA, [{"m": mask}])), [[1, 1]])

    def test_only_choices_have_masks(self) -> None:
        with pytest.raises(ConfigurationError, match="action_mask is for Discrete and MultiDiscrete"):
            Gym("Pendulum-v1", action_mask="action_mask").check()


class TestBits:
    def test_dicts_hold_choices_as_ones_among_zeros(self) -> None:
        observation = observation_of(Bits.observation_space)
        shown = {"bits": np.array([1, 0, 1]), "place": 4, "pair": np.array([1, 2]), "box": np.array([0.5, -1])}
        row = np.full(observation.shape, np.nan, np.float32)
        observation.write(shown, row)
        pieces = {"bits": [1, 0, 1], "box": [0.5, -1], "pair": [0, 1, 0, 0, 1], "place": [0, 0, 1, 0]}
        expected = np.concatenate([pieces[key] for key in Bits.observation_space.spaces])
        assert row.tolist() == expected.tolist()
        rows = torch.full((2, len(row)), torch.nan)
        batch = {key: torch.as_tensor(np.stack([np.asarray(part)] * 2)) for key, part in shown.items()}
        observation.write_batch(batch, rows)
        assert rows.tolist() == [row.tolist()] * 2
        assert observation.module()(batch).tolist() == rows.tolist()
        assert observation.count(shown) is None and observation.count(batch) == 2

    @pytest.mark.parametrize("env", ["Bits", "vector_bits"])
    def test_multi_binary_actions_learn(self, env: str) -> None:
        of = parts(Gym(f"tests.support.choices.{env}", slots=32))
        log = train(of, strategy=of.strategy(population_size=32, sigma=0.3), generations=12)
        assert log.column("fitness/mean")[-1] > log.column("fitness/mean")[0] + 3

    def test_other_parts_of_dicts_are_refused(self) -> None:
        space = spaces.Dict({"words": spaces.Text(3), "box": BOX})
        with pytest.raises(ConfigurationError, match=r"Dict must hold Box, Discrete.* only; 'words' is Text"):
            observation_of(space)


@pytest.mark.parametrize(
    "given",
    [
        {"env": DRIFT, "action_bins": "uniform:4", "sample_actions": "training", "action_noise": 0.1},
        {"env": FORBIDDING[0], "action_mask": "action_mask", "sample_actions": "always"},
        {"env": FORBIDDING[1], "action_mask": "action_mask"},
    ],
)
def test_neither_slots_nor_generations_before_matter(given: dict[str, Any]) -> None:
    logs = [train(parts(Gym(**given, slots=slots)), generations=3).what_must_agree for slots in (3, 50)]
    assert logs[0] == logs[1] and len({line[-1] for line in logs[0]}) == 3


def test_a_run_names_the_member_without_a_choice() -> None:
    of = parts(Gym(FORBIDDING[0], env_kwargs={"stuck_at": 2}, action_mask="action_mask"))
    with pytest.raises(EvaluationError, match=r"of generation 1 could not be evaluated: its action mask"):
        train(of, generations=1)
