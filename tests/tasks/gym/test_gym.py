"""Gymnasium's environments as tasks: which one, seen how, acted in how, and what goes wrong.

Axes: B members evaluated together, O observation, A action.
"""

import copy
import pickle
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from torch import nn

from distes.errors import ConfigurationError, EvaluationError
from distes.errors.installation import install
from distes.policies.linear import Linear
from distes.policies.mlp import MLP
from distes.pools.serial import SerialPool
from distes.tasks.base import Outcome, Request
from distes.tasks.gym.gym import Gym
from tests.reference import episode_seed
from tests.support.environments import Doubled, Drift, Echo
from tests.support.small import DRIFT, ECHO, ROOT, Parts, evaluate, parts, population

FAULTY = "tests.support.environments.Faulty"


@pytest.fixture(autouse=True)
def _no_log() -> Iterator[None]:
    Echo.log.clear()
    yield
    Echo.log.clear()


def gym(policy: nn.Module | None = None, **arguments: Any) -> Parts:
    return parts(Gym(**{"env": ECHO, **arguments}), policy)


def outcome(of: Parts, members: int = 2, training: bool = True, sigma: float = 0.3) -> Outcome:
    """Of pairs with a seed for each."""
    pairs = np.arange(members // 2 + 1).repeat(2)[:members]
    chosen = of.members((pairs * 500).tolist(), np.resize([1, -1], members).tolist(), sigma=sigma)
    return of.task.evaluate(chosen, Request(pairs.astype(np.uint64), training))


def actions() -> list[Any]:
    return [action for what, action in Echo.log if what == "step"]


class TestWhichEnvironment:
    def test_by_id(self) -> None:
        task = Gym("CartPole-v1")
        assert (task.observation_shape, task.action_size) == ((4,), 2)
        assert (task.name, task.reward_threshold, task.max_steps) == ("CartPole-v1", 475.0, 500)

    def test_by_module_and_id(self) -> None:
        task = Gym("tests.support.environments:distes-tests/Drift-v3")
        assert type(task.make().unwrapped) is Drift
        assert (task.name, task.reward_threshold, task.max_steps) == ("distes-tests-Drift-v3", 3.5, 9)

    def test_by_the_import_path_of_a_callable(self) -> None:
        task = Gym(DRIFT, env_kwargs={"longest": 7})
        assert type(task.make()) is Drift
        assert task.make()._lengths == (5, 8)  # type: ignore[attr-defined]
        assert (task.name, task.reward_threshold, task.max_steps) == (DRIFT, None, None)

    def test_arguments_reach_a_registered_one(self) -> None:
        assert Gym("FrozenLake-v1", env_kwargs={"map_name": "8x8"}).observation_shape == (64,)

    def test_wrappers_stand_around_it_innermost_first(self) -> None:
        doubled = {"class_path": "tests.support.environments.Doubled", "init_args": {"factor": 5.0}}
        for wrappers, reward in (
            ([], 1),
            (["tests.support.environments.Doubled"], 2),
            ([doubled], 5),
            ([doubled, "tests.support.environments.Raised"], 6),
            (["tests.support.environments.Raised", doubled], 10),
        ):
            made = gym(wrappers=wrappers)
            np.testing.assert_array_equal(outcome(made).fitness_B, [3 * reward] * 2)
        assert isinstance(Gym("CartPole-v1", wrappers=["tests.support.environments.Doubled"]).make(), Doubled)

    def test_gymnasium_s_own_wrappers_work_by_path(self) -> None:
        stack = {"class_path": "gymnasium.wrappers.FrameStackObservation", "init_args": {"stack_size": 3}}
        assert Gym("CartPole-v1", wrappers=[stack]).observation_shape == (12,)

    def test_nothing_is_made_before_it_is_needed(self) -> None:
        before = Echo.made
        task = Gym(ECHO)
        assert task.name == ECHO and pickle.loads(pickle.dumps(task)).env == ECHO
        assert Echo.made == before

    def test_making_one_says_nothing(self, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder) -> None:
        """Neither of old versions nor of precision: it is the author's business, not the user's."""
        outcome(gym(env="CartPole-v0"))
        assert capfd.readouterr() == ("", "") and len(recwarn) == 0


class TestHowLong:
    def test_as_long_as_the_environment_says(self) -> None:
        steps_B = outcome(gym(env="Pendulum-v1")).steps_B
        np.testing.assert_array_equal(steps_B, [200, 200])

    def test_or_as_the_configuration_says(self) -> None:
        """Even if that is longer than the environment's own limit."""
        for limit in (7, 230):
            np.testing.assert_array_equal(outcome(gym(env="Pendulum-v1", max_steps=limit)).steps_B, [limit] * 2)

    def test_an_episode_that_ends_earlier_ends(self) -> None:
        np.testing.assert_array_equal(outcome(gym(max_steps=5)).steps_B, [3, 3])
        np.testing.assert_array_equal(outcome(gym(max_steps=2)).steps_B, [2, 2])

    def test_fitness_is_the_mean_of_several_returns(self) -> None:
        made = gym(env_kwargs={"lengths": [1, 2, 6]}, episodes_per_member=4)
        got = outcome(made, members=3)
        lengths = [[[1, 2, 6][episode_seed(pair, e) % 3] for e in range(4)] for pair in (0, 0, 1)]
        np.testing.assert_array_equal(got.steps_B, np.sum(lengths, axis=1))
        np.testing.assert_array_equal(got.fitness_B, np.mean(lengths, axis=1))
        assert got.episodes == 12


class TestWhatAPolicySees:
    @pytest.mark.parametrize(
        ("space", "shown", "seen"),
        [
            (spaces.Box(-1, 1, (2, 2), np.float64), np.array([[1, 2], [3, 4.5]]), [1, 2, 3, 4.5]),
            (spaces.Box(-1, 1, (), np.float32), np.float32(2), [2]),
            (spaces.Discrete(3, start=4), 6, [0, 0, 1]),
            (
                spaces.Dict({"b": spaces.Box(0, 1, (2,)), "a": spaces.Box(0, 1, (1, 2))}),
                {"a": np.array([[7, 8]]), "b": np.array([5, 6])},
                [7, 8, 5, 6],  # Gymnasium sorts the keys
            ),
        ],
        ids=["Box", "Box without axes", "Discrete", "Dict"],
    )
    def test_vectors(self, space: Any, shown: Any, seen: list[float]) -> None:
        """The first action number is the sum of what is seen, each place with a weight of its own."""
        task = Gym(ECHO, env_kwargs={"actions": BOX, "observations": space, "shows": shown})
        policy = Linear(len(seen), 1, bias=False)
        policy.layer.weight.data[:] = 10.0 ** nn.functional.one_hot(nn.Parameter().new_tensor([0]).long(), 1)
        policy.layer.weight.data[0] = nn.Parameter().new_tensor([10.0**place for place in range(len(seen))])
        outcome(parts(task, policy), sigma=1e-9)
        assert task.observation_shape == (len(seen),)
        expected = sum(number * 10.0**place for place, number in enumerate(seen))
        assert [float(action[0]) for action in actions()] == pytest.approx([expected] * 6, rel=1e-5)

    @pytest.mark.parametrize(
        ("shape", "channels_first"), [((9, 8, 3), (3, 9, 8)), ((4, 9, 8), (4, 9, 8)), ((9, 8), (1, 9, 8))]
    )
    def test_images(self, shape: tuple[int, ...], channels_first: tuple[int, ...]) -> None:
        space = spaces.Box(0, 255, shape, np.uint8)
        shown = np.full(shape, 51, np.uint8)
        task = Gym(ECHO, env_kwargs={"actions": BOX, "observations": space, "shows": shown})
        policy = nn.Sequential(nn.Conv2d(channels_first[0], 1, (9, 8), bias=False), nn.Flatten())
        nn.init.ones_(policy[0].weight)
        outcome(parts(task, policy), sigma=1e-9)
        assert task.observation_shape == channels_first
        pixels = np.prod(shape)
        assert [float(action[0]) for action in actions()] == pytest.approx([pixels / 5] * 6, rel=1e-4)

    def test_other_spaces_are_refused(self) -> None:
        task = Gym("Blackjack-v1")
        with pytest.raises(
            ConfigurationError,
            match=r"must be Box, Discrete, .* or a Dict of these; the environment has Tuple\..*FlattenObs",
        ):
            task.check()
        assert Gym("Blackjack-v1", wrappers=["gymnasium.wrappers.FlattenObservation"]).observation_shape == (45,)

    def test_dicts_of_other_spaces_are_refused(self) -> None:
        space = spaces.Dict({"x": spaces.Box(0, 1), "y": spaces.Text(2)})
        with pytest.raises(ConfigurationError, match=r"Dict must hold Box, Discrete.* only; 'y' is Text"):
            Gym(ECHO, env_kwargs={"observations": space}).check()

    def test_images_are_not_normalised(self) -> None:
        space = spaces.Box(0, 255, (9, 8, 3), np.uint8)
        with pytest.raises(ConfigurationError, match="normalize_observations is for vectors; images are scaled"):
            Gym(ECHO, env_kwargs={"observations": space}, normalize_observations=True).check()


BOX = spaces.Box(-np.inf, np.inf, (1,), np.float32)


class TestWhatAPolicyDoes:
    @pytest.mark.parametrize(
        "space",
        [
            spaces.Discrete(3),
            spaces.Discrete(3, start=-1),
            spaces.MultiDiscrete([2, 3]),
            spaces.MultiDiscrete([2, 3], start=[5, -5]),
            spaces.Box(-0.1, 0.1, (2, 2), np.float64),
            spaces.Box(np.float32([-1, -np.inf]), np.float32([0.5, np.inf])),
        ],
        ids=str,
    )
    def test_actions_are_of_the_space(self, space: Any) -> None:
        """The environment itself asserts it, for members that answer all sorts of numbers."""
        made = gym(env_kwargs={"actions": space})
        outcome(made, members=20, sigma=3.0)
        assert len(actions()) == 60
        assert len({str(action) for action in actions()}) > 1

    def test_clip_and_rescale(self) -> None:
        bounds = {"actions": spaces.Box(np.float32([0, 0]), np.float32([10, 10]))}
        policy = Linear(1, 2, bias=False)
        policy.layer.weight.data[:, 0] = nn.Parameter().new_tensor([0.5, -3])
        for mode, expected in (("clip", [0.5, 0]), ("rescale", [7.5, 0])):
            Echo.log.clear()
            outcome(gym(policy, env_kwargs=bounds, action_mode=mode), sigma=1e-9)
            np.testing.assert_allclose(actions(), [expected] * 6, rtol=1e-6)

    def test_rescaling_needs_bounds(self) -> None:
        with pytest.raises(ConfigurationError, match=r"'rescale' needs finite bounds.*Use 'clip'"):
            Gym(ECHO, env_kwargs={"actions": BOX}, action_mode="rescale").check()

    @pytest.mark.parametrize(
        "space",
        [spaces.Text(3), spaces.MultiDiscrete([[2, 2], [2, 2]]), spaces.Box(0, 5, (1,), np.int64)],
        ids=str,
    )
    def test_other_spaces_are_refused(self, space: Any) -> None:
        with pytest.raises(
            ConfigurationError,
            match="Actions must be Discrete, MultiDiscrete with one axis, MultiBinary, or a Box of floats",
        ):
            Gym(ECHO, env_kwargs={"actions": space}).check()


class TestTraining:
    """What is added in training, and left away when the centre is evaluated."""

    def test_reward_shift(self) -> None:
        made = gym(env_kwargs={"lengths": [1, 2, 6], "rewards": [1, -2, 4, 8, 16, 0.5]}, reward_shift=0.25)
        centre, trained = outcome(made, members=6, training=False), outcome(made, members=6)
        np.testing.assert_array_equal(trained.steps_B, centre.steps_B)
        assert len(set(centre.steps_B.tolist())) > 1
        np.testing.assert_allclose(trained.fitness_B, centre.fitness_B - 0.25 * centre.steps_B)

    def test_reward_shift_with_several_episodes(self) -> None:
        plain, shifted = (
            outcome(gym(env_kwargs={"lengths": [1, 2, 6]}, episodes_per_member=3, reward_shift=shift), members=6)
            for shift in (0.0, 0.25)
        )
        np.testing.assert_allclose(shifted.fitness_B, plain.fitness_B - 0.25 * plain.steps_B / 3)

    def noise(self, training: bool = True, **arguments: Any) -> list[list[float]]:
        """The actions of a policy that always answers 0, by member."""
        Echo.log.clear()
        policy = Linear(1, 2, bias=False, initial_scale=0.0)
        space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
        given = {"env_kwargs": {"actions": space, "lengths": 600}, "action_noise": 0.3, "slots": 1, **arguments}
        outcome(gym(policy, **given), members=4, sigma=0.0, training=training)
        return np.array(actions()).reshape(4, 600, 2).tolist()

    def test_action_noise_is_gaussian(self) -> None:
        """2,400 numbers in blocks of 256 steps, within five of their standard deviations."""
        noise = np.array(self.noise())[::2]
        n = noise.size
        assert abs(noise.mean()) < 5 * 0.3 / np.sqrt(n)
        assert abs(noise.std() / 0.3 - 1) < 5 / np.sqrt(2 * n)
        flat = noise.reshape(-1, 2)
        assert len(np.unique(flat, axis=0)) == len(flat)  # no block comes twice, in no episode
        assert abs(np.corrcoef(flat.T)[0, 1]) < 5 / np.sqrt(n / 2)

    def test_both_members_of_a_pair_get_the_same_noise(self) -> None:
        plus, minus, other_plus, other_minus = self.noise()
        assert plus == minus and other_plus == other_minus and plus != other_plus

    def test_action_noise_follows_its_member_through_the_slots(self) -> None:
        by_slot: dict[int, Any] = {}
        for slots in (1, 3):
            Echo.log.clear()
            made = gym(
                Linear(1, 1, bias=False, initial_scale=0.0),
                env_kwargs={"actions": BOX, "lengths": [5, 300, 40]},
                action_noise=1.0,
                slots=slots,
            )
            chosen = made.members([0] * 6, [1] * 6, sigma=0.0)
            made.task.evaluate(chosen, Request(np.arange(6, dtype=np.uint64)))
            by_slot[slots] = sorted(float(action[0]) for action in actions())
        assert by_slot[1] == by_slot[3]

    def test_no_action_noise_for_the_centre(self) -> None:
        assert not np.array(self.noise(training=False)).any()

    def test_no_action_noise_on_choices(self) -> None:
        made = gym(env="CartPole-v1", action_noise=100.0)
        np.testing.assert_array_equal(outcome(made, 8).fitness_B, outcome(gym(env="CartPole-v1"), 8).fitness_B)


class TestWhatGoesWrong:
    @pytest.mark.parametrize(
        ("env", "message"),
        [
            ("CartPol-v1", "Gymnasium knows no environment 'CartPol-v1'. Did you mean 'CartPole-v1'?"),
            ("MlpPolicy", "MlpPolicy is a policy of Stable-Baselines3: here the environment comes first"),
            ("CartPole-v9", "Gymnasium knows no environment 'CartPole-v9'. Did you mean 'CartPole-v1'?"),
            ("ALE/Pong-v5", r"name it 'ale_py:ALE/Pong-v5' \(needs .*\[atari\]'\)"),
            (
                "no_module:X-v0",
                r"'no_module:X-v0' cannot be made: there is no module 'no_module'\. It is looked for .* PYTHONPATH\.$",
            ),
            (
                "tests.support.environments.Nope",
                "task.env: cannot import 'tests.support.environments.Nope': .*no attribute 'Nope'",
            ),
            (
                "tests.nowhere.Nope",
                "task.env: cannot import 'tests.nowhere.Nope': No module named 'tests.nowhere'. It is looked for",
            ),
            ("tests.support.environments.NOT_CALLABLE", "task.env: .*is no class or function; got int"),
            (
                "tests.support.environments.needs_mujoco",
                r"needs an extra that is not installed: .* -m pip install .*\[mujoco\]'\.$",
            ),
            (
                "tests.support.environments.needs_scalefree",
                "cannot be made: ModuleNotFoundError: No module named 'scalefree' .*py:",
            ),
            (
                "tests.support.environments.breaks",
                r"cannot be made: RuntimeError: the level is missing \(.*environments.py:\d+\)$",
            ),
        ],
    )
    def test_unknown_or_broken_environments_are_sentences(
        self, env: str, message: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for registered in [id for id in gymnasium.registry if id.startswith("ALE/")]:  # by a test that ran before
            monkeypatch.delitem(gymnasium.registry, registered)
        with pytest.raises(ConfigurationError, match=message) as caught:
            Gym(env).check()
        assert "\n" not in str(caught.value)

    @pytest.mark.slow
    def test_missing_extras_are_named(self) -> None:
        """As they are on a machine that lacks the packages: in a process that cannot import them."""
        code = """
import sys
for name in ("mujoco", "Box2D", "ale_py", "cv2"):
    sys.modules[name] = None
from distes import Gym
from distes.errors import ConfigurationError
for env, wrappers in (
    ("HalfCheetah-v5", []),
    ("LunarLander-v3", []),
    ("ale_py:ALE/Pong-v5", []),
    ("CartPole-v1", ["gymnasium.wrappers.AtariPreprocessing"]),
):
    try:
        Gym(env, wrappers=wrappers).check()
    except ConfigurationError as error:
        print(error)
"""
        run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        lines = run.stdout.splitlines()
        for line, extra in zip(lines, ("mujoco", "box2d", "atari", "atari"), strict=True):
            assert line.endswith(f"needs an extra that is not installed: {install(extra)}."), line

    def test_arguments_that_it_does_not_take(self) -> None:
        with pytest.raises(ConfigurationError, match=r"'CartPole-v1' cannot be made: TypeError: .*gravitas"):
            Gym("CartPole-v1", env_kwargs={"gravitas": 3}).check()

    @pytest.mark.parametrize(
        ("wrapper", "message"),
        [
            ("gymnasium.wrappers.Nope", "task.wrappers: cannot import 'gymnasium.wrappers.Nope'"),
            ("Nope", "task.wrappers: cannot import 'Nope'"),
            ({"init_args": {}}, "task.wrappers: each must be an import path or {class_path, init_args}; got"),
            (
                {"class_path": "tests.support.environments.Doubled", "factor": 3},
                "each must be an import path or .*'factor': 3",
            ),
            (
                {"class_path": "tests.support.environments.Doubled", "init_args": {"fctor": 3}},
                "cannot be made: TypeError: .*unexpected keyword argument 'fctor'",
            ),
        ],
    )
    def test_wrappers_that_are_none(self, wrapper: Any, message: str) -> None:
        with pytest.raises(ConfigurationError, match=message):
            Gym("CartPole-v1", wrappers=[wrapper]).check()

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"episodes_per_member": 0}, "episodes_per_member must be at least 1; got 0"),
            ({"slots": 0}, "slots must be at least 1; got 0"),
            ({"max_steps": 0}, "max_steps must be at least 1, or null for the environment's; got 0"),
            ({"action_noise": -0.1}, "action_noise must be a number from 0; got -0.1"),
            ({"action_noise": float("nan")}, "action_noise must be a number from 0; got nan"),
            ({"reward_shift": float("inf")}, "reward_shift must be a finite number; got inf"),
            ({"observation_fraction": 0.0}, "observation_fraction must be above 0 and at most 1; got 0.0"),
            ({"observation_fraction": 1.1}, "observation_fraction must be above 0 and at most 1; got 1.1"),
            ({"action_mode": "squash"}, "action_mode must be 'clip' or 'rescale'; got 'squash'"),
        ],
    )
    def test_bad_arguments_are_refused(self, arguments: Any, message: str) -> None:
        with pytest.raises(ConfigurationError, match=message):
            Gym(**arguments)

    @pytest.mark.parametrize("sign", ["+", "-"])
    @pytest.mark.parametrize(
        ("how", "reason"),
        [
            ("raises", r"its environment raised RuntimeError: the motor is broken \(.*environments.py:\d+\)"),
            ("nan", "its return is nan, which is not a finite number"),
        ],
    )
    def test_the_member_that_fails_is_named(self, how: str, reason: str, sign: str) -> None:
        """Of a pair, the one whose action is negative: one parameter, a centre of 0, so its sign decides."""
        policy = Linear(1, 1, bias=False, initial_scale=0.0)
        probe = gym(policy, env_kwargs={"actions": BOX})
        asked = population(probe.strategy(population_size=40))
        directions_N = probe.perturbation.directions(asked.ids_N)[:, 0]
        pair = int(np.flatnonzero(directions_N < 0 if sign == "+" else directions_N > 0)[3])
        seed = episode_seed(int(asked.seeds_N[pair]), 0)
        made = gym(policy, env=FAULTY, env_kwargs={"seed": seed, "how": how}, slots=3)
        message = (
            rf"^Pair {pair}, sign \{sign}, of generation 1 could not be evaluated: {reason} \(episode seed {seed}\)\. "
            rf"(With --non_finite worst .*)?To replay it alone: .*--replay 1,{pair},\{sign}$"
        )
        with pytest.raises(EvaluationError, match=message):
            evaluate(SerialPool(made.experiment), asked)

    def test_an_environment_that_fails_at_reset(self) -> None:
        asked = population(gym(Linear(1, 1, bias=False)).strategy(population_size=40))
        for pair in (0, 17):  # in a slot's first and in a later episode
            seed = episode_seed(int(asked.seeds_N[pair]), 0)
            made = gym(
                Linear(1, 1, bias=False), env=FAULTY, env_kwargs={"seed": seed, "how": "raises at reset"}, slots=3
            )
            reason = r"its environment raised RuntimeError at reset: no such\smaze \(.*environments.py:\d+\)"
            message = rf"^Pair {pair}, sign \+, .*: {reason} \(episode seed {seed}\)"
            with pytest.raises(EvaluationError, match=message):
                evaluate(SerialPool(made.experiment, pairs_per_chunk=20), asked)

    def test_the_pool_goes_on_after_a_failure(self) -> None:
        """Nothing is left of the episodes that were under way."""
        made = gym(MLP(3, 2), env=DRIFT, env_kwargs={"raises_at": episode_seed(666, 0)})
        pool, asked = SerialPool(made.experiment), population(made.strategy(population_size=40))
        expected = evaluate(pool, asked).fitness_N2
        seeds_N = asked.seeds_N.copy()
        seeds_N[9] = 666
        with pytest.raises(EvaluationError, match=r"Pair 9, sign \+.*a seed that it cannot bear"):
            evaluate(pool, population(made.strategy(population_size=40), seeds_N=seeds_N))
        np.testing.assert_array_equal(evaluate(pool, asked).fitness_N2, expected)


def test_gymnasium_s_registry_is_left_as_it_was() -> None:
    before = copy.deepcopy(vars(gymnasium.spec("MountainCar-v0")))  # which no other test here has used
    outcome(gym(env="MountainCar-v0", max_steps=9, env_kwargs={"goal_velocity": 0.1}))
    assert vars(gymnasium.spec("MountainCar-v0")) == before
