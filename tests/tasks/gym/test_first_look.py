"""What is looked at before a run begins: an environment's interface, its memory, and what one might think otherwise."""

import re
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distes.errors import ConfigurationError, EvaluationError, described
from distes.policies.cnn import CNN
from distes.pools.serial import SerialPool
from distes.tasks.base import Request
from distes.tasks.gym.environments.departures import departure
from distes.tasks.gym.gym import Gym
from tests.support.odd_environments import Plain
from tests.support.small import evaluate, parts, train

ODD = "tests.support.odd_environments."
HERE = r"\(.*odd_environments\.py:\d+\)"


@pytest.mark.parametrize(
    ("env", "sentence"),
    [
        ("FourValues", r"its step must return \(observation, reward, terminated, truncated, info\); it returned 4 val"),
        ("NoInfo", r"its reset must return \(observation, info\), info a dict; it returned an array of shape \(2,\)"),
        (
            "NoSeedArgument",
            r"its reset takes no seed "
            + HERE
            + r": write `def reset\(self, \*, seed=None, options=None\):`, and begin it with `super\(\)\.reset\(",
        ),
        (
            "NoActionArgument",
            r"its step cannot be called with an action alone " + HERE + r": write `def step\(self, action",
        ),
        ("SmallSeeds", r"its reset raised ValueError: Seed must be between 0 and 2\*\*32 - 1 " + HERE),
        ("VectorReward", r"its reward must be a single number; step returned an array of shape \(2,\)"),
        (
            "RewardOfOne",
            r"its reward must be a single number; step returned an array of shape \(1,\) .*float\(reward\.item",
        ),
        ("TwoFlags", r"its terminated must be True or False; step returned an array of shape \(2,\) and type bool"),
        ("ShowsLess", r"declares an array of shape \(4,\) and type float32; reset returned an array of shape \(1,\)"),
        ("ShowsFloats", r"shape \(9, 9\) and type uint8; reset returned an array of shape \(9, 9\) and type float64"),
        ("ShowsNothing", r"The environment's observations have no numbers: their shape is \(0,\)"),
        ("DoesNothing", r"The environment's actions have no numbers: their shape is \(0,\)"),
        ("Wordless", "its step raised AssertionError in 'assert action is None' " + HERE),
        (
            "Unreadable",
            r"its step raised UnreadableError: a message that cannot be read, since its __str__ raises ValueErr",
        ),
        ("Exits", "its step raised SystemExit: 0 " + HERE),
        ("nothing", "task.env: .*nothing returned None in place of an environment: is there a return missing"),
        ("vector_without_num_envs", r"returned a vector environment \(SyncVectorEnv\): .* an argument num_envs"),
    ],
)
def test_what_keeps_not_to_the_interface_is_a_sentence(env: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        Gym(ODD + env).check()


def test_gymnasiums_wrappers_hand_on_seed_and_options_and_others_what_they_like() -> None:
    library, own = "gymnasium.wrappers.FlattenObservation", ODD + "SeedsItself"
    with pytest.raises(ConfigurationError, match=r"its reset takes no options \(.*odd_environments\.py:\d+\): write"):
        Gym(ODD + "NoOptionsArgument", wrappers=[library]).check()
    with pytest.raises(ConfigurationError, match=r"its reset takes no seed \(.*odd_environments\.py:\d+\): write"):
        Gym(ODD + "NoSeedArgument", wrappers=[library]).check()
    for env, wrappers in (("NoOptionsArgument", []), ("NoOptionsArgument", [own]), ("Plain", [library, own])):
        Gym(ODD + env, wrappers=wrappers).check()


class TestDepartures:
    """Observations that are none of their space, and that can be used all the same."""

    @pytest.mark.parametrize(
        ("env", "sentence"),
        [
            ("BeyondBounds", r"after step 2 the number \[1\] is 50, and the space declares -1 to 1\. Training uses"),
            ("BeyondBoundsInPart", r"after reset the number for 'there' is -0\.5, and the space declares 0 to 1"),
            ("OfOtherType", r"after reset the numbers are float64, and the space declares float32"),
        ],
    )
    def test_are_said_once(self, env: str, sentence: str) -> None:
        task = Gym(ODD + env, max_steps=5)
        task.check()
        assert re.fullmatch(
            rf"{re.escape(ODD + env)} departs from its observation space: {sentence}.*", task.notice or ""
        )

    def test_are_found_in_rows(self) -> None:
        seen = [np.zeros((3, 2)), np.array([[0.0, 0.0], [0.0, -7.0], [9.0, 0.0]])]
        found = departure(seen, gymnasium.spaces.Box(-1, 1, (2,), np.float64))
        assert found == "after step 1 the number [1] is -7, and the space declares -1 to 1"

    def test_are_not_said_of_numbers_that_are_not_finite(self) -> None:
        assert departure([np.array([np.nan, np.inf])], gymnasium.spaces.Box(-1, 1, (2,), np.float64)) is None

    @pytest.mark.parametrize("env", [ODD + "Rounded", ODD + "Plain", "Acrobot-v1", "Taxi-v4", "MountainCar-v0"])
    def test_are_not_found_where_there_are_none(self, env: str) -> None:
        task = Gym(env, max_steps=5)
        task.check()
        assert "departs" not in (task.notice or "")


def test_a_wrapper_that_returns_nothing() -> None:
    with pytest.raises(ConfigurationError, match=r"task.wrappers: .*no_wrapper returned None"):
        Gym(ODD + "Plain", wrappers=[ODD + "no_wrapper"]).check()


def test_what_shows_later_is_told_of_its_member() -> None:
    of = parts(Gym(ODD + "LateReward"))
    message = r"^Pair \d+, sign .*: its reward must be a single number; step returned None \(episode seed \d+\)\."
    with pytest.raises(EvaluationError, match=message):
        evaluate(SerialPool(of.experiment), of.strategy(population_size=40).ask())


def test_a_base_exception_is_the_environment_s_error() -> None:
    of = parts(Gym(ODD + "Exits"))
    with pytest.raises(EvaluationError, match="its environment raised SystemExit: 0 " + HERE):
        train(of, generations=1)


def test_an_error_is_told_by_the_innermost_frame_of_the_user() -> None:
    """Neither by ours nor by a library's."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011, NumPy's own
        np.random.RandomState(-1)
    assert re.fullmatch(r"ValueError: Seed must be .* \(.*test_first_look\.py:\d+\)", described(caught.value))
    with pytest.raises(ConfigurationError) as refused:
        Gym("CartPole-v1", slots=0)
    assert re.fullmatch(r"\w+Error: slots must be .* \(.*test_first_look\.py:\d+\)", described(refused.value))


class TestMemory:
    @pytest.mark.parametrize(
        ("arguments", "where"),
        [
            ({"env": ODD + "Unseeded"}, "the observations after reset differ"),
            ({"env": "Pendulum-v1", "wrappers": ["gymnasium.wrappers.NormalizeObservation"]}, "observations after re"),
            ({"env": "Pendulum-v1", "wrappers": ["gymnasium.wrappers.NormalizeReward"]}, "the rewards after step"),
        ],
    )
    def test_is_found_by_a_second_try(self, arguments: Any, where: str) -> None:
        task = Gym(**arguments)
        task.check()
        notice = task.notice or ""
        assert where in notice and "other numbers of workers give other results" in notice
        assert ("--task.normalize_observations" in notice) == ("NormalizeObservation" in str(arguments))

    @pytest.mark.parametrize(
        "arguments",
        [
            {"env": "Pendulum-v1", "stepping": "one_by_one"},
            {"env": "MountainCar-v0"},
            {"env": "FrozenLake-v1", "wrappers": ["gymnasium.wrappers.RecordEpisodeStatistics"]},
            {"env": "tests.support.environments.vector_drift", "max_steps": 50},
            {"env": "tests.support.environments.Drifts", "max_steps": 50},
        ],
        ids=lambda arguments: arguments["env"],
    )
    def test_is_not_found_where_there_is_none(self, arguments: Any) -> None:
        task = Gym(**arguments)
        task.check()
        assert "reset twice" not in (task.notice or "")


class TestNotices:
    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            ({"env": "CartPole-v1", "slots": 3}, "slots has no effect"),
            ({"env": "CartPole-v1", "action_noise": 0.1}, "action_noise has no effect"),
            ({"env": "CartPole-v1", "action_mode": "rescale"}, "action_mode has no effect"),
            ({"env": "Pendulum-v1", "observation_fraction": 1.0}, "observation_fraction has no effect"),
            ({"env": "CliffWalking-v1"}, "CliffWalking-v1 has no step limit: .* --task.max_steps N sets one"),
            ({"env": ODD + "Plain"}, "Plain has no step limit"),
        ],
    )
    def test_what_one_might_think_otherwise_is_said(self, arguments: Any, sentence: str) -> None:
        assert re.search(sentence, Gym(**arguments).notice or "")

    @pytest.mark.parametrize(
        "arguments",
        [
            {"env": "CliffWalking-v1", "max_steps": 9, "slots": 3},
            {"env": "Pendulum-v1", "stepping": "one_by_one", "slots": 3, "action_noise": 0.1},
            {"env": "Pendulum-v1", "stepping": "one_by_one", "action_mode": "rescale"},
            {
                "env": "Pendulum-v1",
                "stepping": "one_by_one",
                "normalize_observations": True,
                "observation_fraction": 1.0,
            },
        ],
    )
    def test_and_nothing_else(self, arguments: Any) -> None:
        assert Gym(**arguments).notice is None

    @pytest.mark.parametrize(
        ("changes", "threshold"),
        [
            ({}, 475.0),
            ({"max_steps": 500}, 475.0),  # its own
            ({"max_steps": 100}, None),
            ({"env_kwargs": {"sutton_barto_reward": True}}, None),
            ({"wrappers": ["tests.support.environments.Doubled"]}, None),
            ({"reward_shift": 1.0}, 475.0),  # which the centre, whose fitness is compared with it, does not see
        ],
    )
    def test_a_threshold_is_of_the_environment_as_it_is_registered(self, changes: Any, threshold: float | None) -> None:
        task = Gym("CartPole-v1", **changes)
        assert task.reward_threshold == threshold
        said = task.threshold_notice or ""
        assert ("475, ends no run" in said) == (threshold is None)
        assert all(name in said for name in changes if threshold is None)

    def test_a_shift_is_not_in_what_is_compared_with_the_threshold(self) -> None:
        plain, shifted = parts(Gym("CartPole-v1")), parts(Gym("CartPole-v1", reward_shift=1.0))
        fitness = [
            of.task.evaluate(of.members([0], [1]), Request(np.zeros(1, np.uint64), training=False)).fitness_B[0]
            for of in (plain, shifted)
        ]
        assert fitness[0] == fitness[1] > 0


class TestImages:
    @pytest.mark.parametrize(
        ("box", "shape"),
        [
            ((0, 1, [4, 20, 20], "float32"), (4, 20, 20)),
            ((0, 1, [20, 24], "float64"), (1, 20, 24)),
            ((0, 1, [20, 24, 3], "bool"), (3, 20, 24)),
            ((0, 255, [4, 20, 24, 3], "uint8"), (12, 20, 24)),
            ((0, 255, [4, 3, 20, 24], "uint8"), (12, 20, 24)),
            ((0, 1, [4, 20, 24, 1], "float32"), (4, 20, 24)),
            ((-1, 1, [3, 20, 24], "float32"), (1440,)),  # not of an image's range
            ((0, 1, [5, 5], "float32"), (25,)),  # a matrix of shares
        ],
        ids=str,
    )
    def test_which_boxes_are_images(self, box: Any, shape: tuple[int, ...]) -> None:
        low, high, sides, dtype = box
        task = Gym(ODD + "Pictures", env_kwargs={"low": low, "high": high, "shape": sides, "dtype": dtype})
        task.check()
        assert task.observation_shape == shape
        if len(shape) == 3:
            of = parts(task, CNN(shape, 2, channels=[2], kernels=[3], strides=[2], hidden_size=4))
            assert evaluate(SerialPool(of.experiment), of.strategy(population_size=4).ask()).episodes == 4

    @given(st.permutations([2, 9, 11]), st.integers(1, 4), st.booleans(), st.integers(0, 2**32 - 1))
    @settings(max_examples=30, deadline=None)
    def test_a_stack_is_its_frames_one_after_the_other(
        self, image: list[int], frames: int, floats: bool, seed: int
    ) -> None:
        from gymnasium.spaces import Box

        from distes.tasks.spaces.observation_of import observation_of

        if image[1] == 2:  # channels come first or last
            image = [2, 9, 11]
        dtype, high = (np.float32, 1) if floats else (np.uint8, 255)
        one, many = (observation_of(Box(0, high, shape, dtype)) for shape in (tuple(image), (frames, *image)))
        assert many.shape == (frames * one.shape[0], *one.shape[1:])
        shown = (np.random.default_rng(seed).random((3, frames, *image)) * high).astype(dtype)
        rows, batch = np.zeros((2, 3, *many.shape), np.float32)
        many.write_all(shown, rows)
        many.write_batch(torch.from_numpy(shown), torch.from_numpy(batch))
        expected = np.zeros((3, frames, *one.shape), np.float32)
        for place in np.ndindex(3, frames):
            one.write(shown[place], expected[place])
        np.testing.assert_array_equal(rows, expected.reshape(rows.shape))
        np.testing.assert_allclose(batch, rows, rtol=1e-6)
        assert rows.max() <= 1


class TestCallables:
    @pytest.mark.parametrize("env", [lambda: Plain(), Plain], ids=["lambda", "class"])
    def test_a_lambda_or_a_class_is_an_environment(self, env: Any) -> None:
        of, by_path = (parts(Gym(given, wrappers=[lambda one: one])) for given in (env, ODD + "Plain"))
        of.task.check()  # type: ignore[attr-defined]
        asked = of.strategy(population_size=8).ask()
        fitness = [evaluate(SerialPool(one.experiment), asked).fitness_N2.tolist() for one in (of, by_path)]
        assert fitness[0] == fitness[1]

    def test_its_name_is_the_callable_s(self) -> None:
        assert Gym(Plain).name == "Plain"

    @pytest.mark.parametrize("env", [gymnasium.make("CartPole-v1"), 3, None], ids=["instance", "number", "None"])
    def test_anything_else_is_a_sentence(self, env: Any) -> None:
        with pytest.raises(ConfigurationError, match=r"a callable that makes environments.*an instance of"):
            Gym(env)

    def test_a_configuration_names_them(self) -> None:
        from distes.api.configuration.signature import arguments

        found = arguments(Gym, "task")
        assert found["env"].type_name == "str" and found["behaviour"].type_name == "str or a list of str or null"
        for key in ("env", "wrappers", "behaviour"):
            with pytest.raises(ConfigurationError, match=f"task.{key} must be"):
                found[key].parse(3)


class TestArguments:
    def test_a_list_becomes_a_tuple_where_one_is_declared(self) -> None:
        sized = {"class_path": ODD + "Sized", "init_args": {"size": [3, 4], "scale": [0.5]}}
        made: Any = Gym(ODD + "Plain", wrappers=[sized]).make()
        assert (made.size, made.scale) == ((3, 4), (0.5,))
        made = Gym(ODD + "Pictures", env_kwargs={"low": 0, "high": 1, "shape": [2, 3], "dtype": "float32"}).make()
        assert made.observation_space.shape == (2, 3)

    @pytest.mark.parametrize("env", ["CartPole-v1", "MountainCar-v0", "distes/CartPole-v1"])
    def test_a_step_limit_is_max_steps(self, env: str) -> None:
        with pytest.raises(ConfigurationError, match=r"holds max_episode_steps: set task\.max_steps instead"):
            Gym(env, env_kwargs={"max_episode_steps": 100}).check()

    def test_the_number_of_rows_is_slots(self) -> None:
        with pytest.raises(ConfigurationError, match=r"holds num_envs: set task\.slots instead"):
            Gym("tests.support.environments.vector_drift", env_kwargs={"num_envs": 4}).check()


def test_torch_computes_as_it_did() -> None:
    of = parts(Gym(ODD + "Doubles"))
    evaluate(SerialPool(of.experiment), of.strategy(population_size=4).ask())
    assert torch.get_default_dtype() == torch.float32


@pytest.mark.parametrize("env", ["tests.support.environments.Drift", "tests.support.environments.Drifts"])
def test_somebody_else_s_default_type_changes_no_bit(env: str) -> None:
    asked = parts(Gym(env)).strategy(population_size=8).ask()
    fitness = []
    for dtype in (torch.float32, torch.float64):
        of = parts(Gym(env))
        torch.set_default_dtype(dtype)
        try:
            fitness.append(evaluate(SerialPool(of.experiment), asked).fitness_N2.tolist())
        finally:
            torch.set_default_dtype(torch.float32)
    assert fitness[0] == fitness[1]


def test_an_environment_that_raises_once_is_looked_at_again() -> None:
    from distes.tasks.gym.environments.first_look import SEED
    from tests.support.odd_environments import Flaky

    Flaky.times.clear()
    Flaky.times[SEED] = 2
    Gym(ODD + "Flaky").check()
    Flaky.times[SEED] = 3
    with pytest.raises(ConfigurationError, match=r"its step raised ConnectionError: lost conn.*" + HERE):
        Gym(ODD + "Flaky").check()


def test_what_a_module_sets_when_it_is_imported_is_undone(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from distes.errors.imports import import_object

    text = "import torch\ntorch.set_default_dtype(torch.float64)\nthing = 1\n"
    (tmp_path / "computes_in_doubles.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    assert import_object("policy", "computes_in_doubles.thing") == 1
    assert torch.get_default_dtype() == torch.float32
