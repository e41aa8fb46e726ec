"""What environments are given: values that YAML cannot write, options of resets, other arguments in evaluation."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import distes
from distes.api.configuration import yaml_text
from distes.errors import ConfigurationError
from distes.errors.trust import only_own
from distes.tasks.base import Outcome, Request
from distes.tasks.gym.gym import Gym
from tests.support import arguments as given
from tests.support.arguments import Choosy, Terrain, double
from tests.support.small import parts, train

HOME = "tests.support.arguments"
SEEDS = np.array([4, 4], np.uint64)
ENVS = [f"{HOME}.Choosy", f"{HOME}.vector_choosy"]


def outcome(task: Gym, training: bool = True) -> Outcome:
    of = parts(task)
    return task.evaluate(of.members([1, 1], [1, -1]), Request(SEEDS, training))


@pytest.mark.parametrize("env", ENVS)
@pytest.mark.parametrize(
    ("kwargs", "fitness"),
    [
        ({"scale": {"import_path": f"{HOME}.double"}}, 6),
        ({"terrain": {"class_path": f"{HOME}.Terrain", "init_args": {"height": 5}}}, 15),
        ({"terrain": {"class_path": f"{HOME}.Terrain"}, "kind": {"import_path": f"{HOME}.Terrain"}}, 3),
    ],
)
def test_callables_classes_and_instances_are_named(env: str, kwargs: Any, fitness: float) -> None:
    assert outcome(Gym(env, env_kwargs=kwargs)).fitness_B.tolist() == [fitness] * 2


def test_tuples_are_written_so_at_any_depth_and_other_mappings_stay() -> None:
    Choosy.seen.clear()
    pair = {"tuple": [1, {"tuple": []}, {"low": {"tuple": [2]}, "tuple": [3]}]}
    outcome(Gym(ENVS[0], env_kwargs={"pair": pair}))
    assert Choosy.seen[0] == (1, (), {"low": (2,), "tuple": [3]})


def test_wrappers_take_them_too() -> None:
    wrapper = {
        "class_path": "gymnasium.wrappers.TransformReward",
        "init_args": {"func": {"import_path": f"{HOME}.double"}},
    }
    assert outcome(Gym(ENVS[0], wrappers=[wrapper])).fitness_B.tolist() == [6, 6]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"import_path": "nowhere.f"}, r"task.env_kwargs.scale 'nowhere.f' cannot be imported"),
        ({"class_path": f"{HOME}.broken"}, r"task.env_kwargs.scale: .*broken raised RuntimeError: no terrain today"),
    ],
)
def test_names_that_lead_nowhere_are_said(value: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Gym(ENVS[0], env_kwargs={"scale": value}).check()


def test_a_stored_run_may_not_name_them() -> None:
    task = Gym("Pendulum-v1", env_kwargs={"g": {"class_path": "builtins.float"}})
    with only_own("a file"), pytest.raises(ConfigurationError, match=r"'builtins.float' as its task.env_kwargs.g"):
        task.check()


def test_python_s_objects_are_written_so(tmp_path: Path) -> None:
    run = distes.train(
        Choosy,
        env_kwargs={"scale": double, "kind": Terrain, "pair": (1, 2)},
        run_dir=tmp_path / "run",
        **{"workers": 0, "generations": 1, "final_episodes": 1, "population_size": 4, "quiet": True},
    )
    assert run.result.eval_mean == 6
    config: Any = yaml_text.read((tmp_path / "run" / "config.yaml").read_text())
    assert config["task"]["init_args"]["env_kwargs"] == {
        "scale": {"import_path": f"{HOME}.double"},
        "kind": {"import_path": f"{HOME}.Terrain"},
        "pair": {"tuple": [1, 2]},
    }
    assert distes.load(tmp_path / "run", trust=True).evaluate(1).returns.tolist() == [6]


class TestResetOptions:
    @pytest.mark.parametrize("env", ENVS)
    def test_reach_every_reset(self, env: str) -> None:
        task = Gym(env, reset_options={"start": 2})
        assert outcome(task).fitness_B.tolist() == outcome(task, training=False).fitness_B.tolist() == [9, 9]
        if env == ENVS[0]:
            environment = task.make()
            environment.reset(seed=1)
            assert environment.step(0)[1] == 3

    def test_a_twin_gives_way_to_the_original(self) -> None:
        task = Gym("Pendulum-v1", reset_options={"x_init": 0.1, "y_init": 0.1}, max_steps=5)
        assert "one by one: its twin takes no reset_options" in (task.notice or "")
        assert outcome(task).fitness_B.min() > -5  # it starts near the top

    def test_are_refused_where_nothing_takes_them(self) -> None:
        with pytest.raises(ConfigurationError, match=r"reset_options are for .*'distes/UMaze-v0' takes none"):
            Gym("distes/UMaze-v0", reset_options={"start": 2}).check()


class TestEvaluation:
    @pytest.mark.parametrize("env", ENVS)
    def test_the_centre_is_evaluated_and_played_elsewhere(self, env: str) -> None:
        harder = {"terrain": {"class_path": f"{HOME}.Terrain", "init_args": {"height": 7}}}
        task = Gym(env, env_kwargs={"scale": {"import_path": f"{HOME}.double"}}, eval_env_kwargs=harder)
        task.check()
        assert outcome(task).fitness_B.tolist() == [6, 6]
        assert outcome(task, training=False).fitness_B.tolist() == [42, 42]
        log = train(parts(task), generations=2)
        assert log.column("eval/mean") == [42, 42] and log.column("fitness/mean") == [6, 6]
        if env == ENVS[0]:
            for training, reward in ((False, 14), (True, 2)):
                environment = task.make(training=training)
                environment.reset(seed=1)
                assert environment.step(0)[1] == reward

    def test_other_spaces_are_refused(self) -> None:
        with pytest.raises(ConfigurationError, match=r"eval_env_kwargs changes the spaces of .* \(2,\).* to .* \(3,\)"):
            Gym(ENVS[0], eval_env_kwargs={"wide": True}).check()

    def test_a_twin_takes_other_arguments_too(self) -> None:
        task = Gym("Pendulum-v1", eval_env_kwargs={"g": 1.0}, max_steps=20)
        assert not np.array_equal(outcome(task).fitness_B, outcome(task, training=False).fitness_B)
        assert task.reward_threshold is None


@pytest.mark.parametrize("env", ENVS)
def test_several_behaviours_stand_one_after_the_other(env: str) -> None:
    found = outcome(Gym(env, behaviour=["info:x", "final_observation", "info:y"])).behaviour_BD
    assert found is not None
    np.testing.assert_array_equal(found[:, [0, 1, 2, 4]], [[0, 0.5, 0.5, 5]] * 2)


def test_a_behaviour_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="behaviour is a list of nothing"):
        Gym(ENVS[0], behaviour=[])
    with pytest.raises(ConfigurationError, match="behaviour must be final_observation"):
        Gym(ENVS[0], behaviour=["info:x", "where"])


def test_environments_of_several_agents_are_refused() -> None:
    assert given.ManyAgents.possible_agents
    with pytest.raises(ConfigurationError, match=r"several agents \(ManyAgents.*Gymnasium environment of one agent"):
        Gym(f"{HOME}.ManyAgents").check()
