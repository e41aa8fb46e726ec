"""Numbers of infos: the same in every way of stepping, for anybody beside whom a member runs, and never learnt from."""

import json
import math
import re
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from numpy.typing import NDArray
from torch import Tensor

from distes.envs.base import BatchedEnv
from distes.errors import ConfigurationError, DistesWarning, EvaluationError
from distes.pools.on_ray.sync import array_bytes
from distes.pools.serial import SerialPool
from distes.population import Evaluation, missing_in_all
from distes.tasks.base import Outcome, Task
from distes.tasks.checks import checked
from distes.tasks.gym.episodes.info_scalars import InfoScalars, Scalars
from distes.tasks.gym.gym import Gym
from distes.training.scalars import of_scalars
from tests.reference import episode_seed, info_number
from tests.support.small import Log, Parts, evaluate, parts, sphere, train, trainer

HERE = "tests.tasks.gym.test_log_info."
KEYS = ["far", "won", "coins:sum", "far:mean", "far:min", "far:max", "prize", "prize:max"]


class Told(gymnasium.Env[Any, Any]):
    """Walks by its action and tells how far it is; has a prize to tell of at some ends, and coins at some steps."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)
    nan_for = -1  # the remainder of seeds whose `far` is NaN in the second step

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        if seed is not None:  # an automatic reset gives none, and nobody looks at what comes then
            self._left, self._x, self._odd = 2 + seed % 5, np.full(1, seed % 7, np.float32), seed % 2
            self._seed = seed
        self._steps = 0
        return self._x, {"far": -1.0, "of_reset": 1}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._x = self._x + np.asarray(action, np.float32)
        self._left, self._steps = self._left - 1, self._steps + 1
        info: dict[str, Any] = {"far": float(self._x[0]), "won": bool(self._x[0] > 3), "twice": self._x.repeat(2)}
        info["who"] = "me"
        if self._seed % 3 == self.nan_for and self._steps == 2:
            info["far"] = math.nan
        if self._steps % 2:
            info["coins"] = np.int64(self._steps)
        if self._left == 0 and self._odd:
            info["prize"] = np.array([7.5], np.float32)
        return self._x, 1.0, self._left == 0, False, info


class Late(Told):
    """Succeeds from its 41st episode on, and only then says so: a generation has 18."""

    resets = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        type(self).resets += 1
        return super().reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        *rest, info = super().step(action)
        return *rest, {**info, **({"is_success": True} if self.resets > 40 else {})}  # type: ignore[return-value]


class Broken(Told):
    nan_for = 0


class Forgetful(gymnasium.vector.VectorWrapper):
    """Gives infos as Gymnasium did before 1.0: an array of dictionaries and None."""

    def step(self, actions: Any) -> Any:
        *rest, info = self.env.step(actions)
        if "final_info" in info:
            final, masks = info.pop("final_info"), info["_final_info"]
            each = np.full(self.num_envs, None, dtype=object)
            for row in np.flatnonzero(masks):
                each[row] = {key: value[row] for key, value in final.items() if key[0] != "_" and final[f"_{key}"][row]}
            info = {**{key: value for key, value in info.items() if key != "final_info"}, "final_info": each}
        return *rest, info


def vector(num_envs: int, mode: str) -> Any:
    return SyncVectorEnv([Told] * num_envs, autoreset_mode=AutoresetMode[mode])


class Tolds(BatchedEnv):
    """Many of them, which always have all keys but the prize."""

    def __init__(self, num_envs: int, device: str | torch.device = "cpu") -> None:
        super().__init__(num_envs, Told.observation_space, Told.action_space, device)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Tensor, dict[str, Any]]:
        self._set_width(self.full_num_envs)
        keys_R = self._keys(seed, self.num_envs)
        self._left_R, self._x_RO, self._steps = 2 + keys_R % 5, (keys_R % 7).float().unsqueeze(1), 0
        return self._x_RO, {}

    def step(self, actions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Any]]:
        self._x_RO, self._left_R, self._steps = self._x_RO + actions, self._left_R - 1, self._steps + 1
        one_R, none_R = torch.ones(self.num_envs).double(), torch.zeros(self.num_envs, dtype=torch.bool)
        info = {"far": self._x_RO[:, 0].double(), "won": self._x_RO > 3, "place": self._x_RO.repeat(1, 2)}
        if self._steps % 2:
            info["coins"] = torch.full_like(self._left_R, self._steps)
        return self._x_RO.clone(), one_R, self._left_R == 0, none_R, info

    def narrow(self, rows: Tensor) -> None:
        self._left_R, self._x_RO = self._left_R[rows], self._x_RO[rows]
        self._set_width(len(rows))


def made(env: str = HERE + "Told", log_info: list[str] | None = None, **arguments: Any) -> Parts:
    torch.manual_seed(0)
    return parts(Gym(env, log_info=KEYS if log_info is None else log_info, **arguments))


def evaluated(of: Parts, pairs_per_chunk: int = 3, centre: int = 0) -> Evaluation:
    asked = of.strategy(population_size=20).ask()
    asked = type(asked)(**{**vars(asked), "eval_seeds_E": np.arange(centre, dtype=np.uint64)})
    return evaluate(SerialPool(of.experiment, pairs_per_chunk=pairs_per_chunk), asked)


def scalars(of: Parts, **how: Any) -> NDArray[np.float32]:
    found = evaluated(of, **how).scalars_N2V
    assert found is not None and found.dtype == np.float32
    return found


def by_hand(of: Parts, per_member: int = 1, limit: int = 99) -> NDArray[np.float64]:
    """Member by member, episode by episode, with the policy itself."""
    strategy = of.strategy(population_size=20)
    population, wanted = strategy.ask(), [(one.partition(":")[0], one.partition(":")[2] or "last") for one in KEYS]
    parameters_N2 = strategy.parameters(population)[..., 0]
    rows = []
    for pair, seed in enumerate(population.seeds_N.tolist()):
        for sign in (0, 1):
            numbers = []
            for episode in range(per_member):
                env, infos, over = Told(), [], False
                seen, _ = env.reset(seed=episode_seed(seed, episode))
                while not over and len(infos) < limit:
                    action = np.float32(parameters_N2[pair, sign]) * seen
                    seen, _, over, _, info = env.step(action)
                    infos.append(info)
                numbers.append([info_number(infos, key, reduction) for key, reduction in wanted])
            rows.append(np.mean(numbers, axis=0))
    return np.array(rows).reshape(len(population.seeds_N), 2, len(KEYS))


@pytest.mark.parametrize(("per_member", "limit"), [(1, None), (3, None), (1, 3)])
def test_each_number_is_what_plain_loops_find(per_member: int, limit: int | None) -> None:
    of = made(episodes_per_member=per_member, max_steps=limit)
    expected = by_hand(of, per_member, limit or 99)
    assert np.isnan(expected).any() and len(np.unique(expected[..., 0])) > 15
    np.testing.assert_allclose(scalars(of), expected, rtol=1e-4)


@pytest.mark.parametrize("limit", [None, 3])
@pytest.mark.parametrize("mode", ["SAME_STEP", "NEXT_STEP", "DISABLED"])
def test_vector_environments_agree_with_single_ones(mode: str, limit: int | None) -> None:
    expected = scalars(made(max_steps=limit))
    of = made(HERE + "vector", env_kwargs={"mode": mode}, slots=4, max_steps=limit)
    np.testing.assert_array_equal(scalars(of), expected)


def test_final_infos_as_a_list_of_dictionaries() -> None:
    of = made(HERE + "vector", env_kwargs={"mode": "SAME_STEP"}, slots=4, wrappers=[HERE + "Forgetful"])
    np.testing.assert_array_equal(scalars(of), scalars(made()))


def test_batched_simulators_agree_with_single_ones() -> None:
    keys = [key for key in KEYS if not key.startswith("prize")]
    one, many = scalars(made(log_info=keys)), scalars(made(HERE + "Tolds", keys))
    np.testing.assert_allclose(many, one, rtol=1e-5)


@pytest.mark.parametrize("env", ["Told", "Tolds"])
def test_are_the_same_however_the_work_is_cut(env: str) -> None:
    keys = ["far", "far:mean", "coins:sum"]
    assert len({scalars(made(HERE + env, keys), pairs_per_chunk=n).tobytes() for n in (1, 2, 5)}) == 1
    assert len({scalars(made(HERE + env, keys, slots=n)).tobytes() for n in (1, 3, 30)}) == 1


def test_the_centre_has_one_row_per_episode() -> None:
    evaluation = evaluated(made(log_info=["far", "won"]), centre=5)
    assert evaluation.eval_scalars_EV is not None and evaluation.eval_scalars_EV.shape == (5, 2)
    assert set(evaluation.eval_scalars_EV[:, 1].tolist()) <= {0.0, 1.0}
    assert not evaluation.missing


def test_nothing_travels_that_nobody_asks_for_and_four_bytes_each_otherwise() -> None:
    with_them, without = evaluated(made(log_info=["far", "won"]), centre=5), evaluated(made(log_info=[]), centre=5)
    assert without.scalars_N2V is without.eval_scalars_EV is None
    assert array_bytes(with_them) - array_bytes(without) == 4 * 2 * (20 + 5)


class TestNaN:
    def test_stays_with_its_member_and_is_no_part_of_the_mean(self) -> None:
        found = scalars(made(HERE + "Broken", ["far:sum", "won"]))
        bad = np.isnan(found[..., 0])
        assert 0 < bad.sum() < bad.size and np.isfinite(found[..., 1]).all()
        metrics = of_scalars(("far/sum", "won"), found, None)
        assert metrics["info/far/sum"] == pytest.approx(found[..., 0][~bad].astype(float).mean())
        assert np.array_equal(found[~bad], scalars(made(log_info=["far:sum", "won"]))[~bad])

    def test_is_the_mean_of_nobody(self) -> None:
        nobody = np.full((2, 2, 1), np.nan, np.float32)
        assert math.isnan(of_scalars(("x",), nobody, np.empty((0, 1), np.float32))["info/x"])
        assert "eval/info/x" not in of_scalars(("x",), nobody, np.empty((0, 1), np.float32))


class TestMessages:
    @pytest.mark.parametrize("env", ["Told", "Tolds"])
    def test_a_key_that_never_occurs_is_named_with_those_that_do(self, env: str) -> None:
        why = r"task.log_info: no info of a step has the key 'wom'; there are .*coins, far, .*Did you mean 'won'\?"
        with pytest.warns(DistesWarning) as caught:
            train(made(HERE + env, ["far", "wom"]), generations=3)
        first, last = (str(warning.message) for warning in caught if warning.category is DistesWarning)
        assert re.fullmatch(f"{why} It is recorded once an episode has it.", first)
        assert re.fullmatch(f"No episode of this run had a value for info/wom. {why}", last)

    def test_a_key_that_comes_late_is_recorded_from_then_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Late, "resets", 0)
        with pytest.warns(DistesWarning) as caught:
            log = train(made(HERE + "Late", ["is_success"], slots=1), generations=3)
        (said,) = (str(warning.message) for warning in caught if warning.category is DistesWarning)
        assert "no info of a step has the key 'is_success'" in said and said.endswith(
            "recorded once an episode has it."
        )
        values = log.column("info/is_success")
        assert math.isnan(values[0]) and values[-1] == 1

    def test_masks_are_no_keys(self) -> None:
        of = made(HERE + "vector", ["wom"], env_kwargs={"mode": "SAME_STEP"}, slots=4)
        assert "_far" not in evaluated(of).missing["wom"] and "far" in evaluated(of).missing["wom"]

    def test_of_our_own_simulators_it_is_refused_since_their_infos_always_have_the_same_keys(self) -> None:
        with pytest.raises(ConfigurationError, match="no info of a step has the key 'x'; there are no keys at all"):
            train(parts(Gym("CartPole-v1", log_info=["x"])), generations=1)

    def test_a_key_that_only_some_have_is_fine(self) -> None:
        of = made(log_info=["prize"])
        chunks = [evaluated(of, pairs_per_chunk=1).missing, evaluated(of).missing]
        assert chunks == [{}, {}]
        assert missing_in_all([{"a": "x", "b": "y"}, {"b": "z"}]) == {"b": "y"}

    def test_a_resumed_run_is_only_warned(self) -> None:
        of = made(log_info=["wom"])
        run = trainer(of, generations=1)
        state = trainer(made(log_info=["won"]), generations=1)
        state.run()
        run.back_to(state.state())
        run._budget = type(run._budget)(2, None, None)
        with pytest.warns(DistesWarning, match="no info of a step has the key 'wom'"):
            run.run()

    @pytest.mark.parametrize(
        ("env", "key", "message"),
        [
            ("Told", "who", "'who' cannot be logged: a number is wanted, and it is 'me'"),
            ("Told", "twice", r"'twice' cannot be logged: a number is wanted, and it is an array of shape \(2,\)"),
            (
                "Tolds",
                "place",
                r"'place' .*: one number for each of \d+ rows is wanted, and it has the shape \(\d+, 2\)",
            ),
            ("vector", "who", "'who' cannot be logged: a number is wanted, and it is 'me'"),
        ],
    )
    def test_what_is_no_number(self, env: str, key: str, message: str) -> None:
        env_kwargs = {"mode": "NEXT_STEP"} if env == "vector" else {}
        with pytest.raises(EvaluationError, match=message):
            train(made(HERE + env, [key], env_kwargs=env_kwargs, slots=4), generations=1)

    @pytest.mark.parametrize(
        ("wanted", "message"),
        [
            (["far:men"], "'far:men' ends with 'men'; .* one of last, mean, sum, min, max.* Did you mean 'mean'?"),
            ([":mean"], "must name keys of the environment's info.*got ':mean'"),
            ([""], "must name keys of the environment's info.*got ''"),
            (["far", "far:last"], "log_info names 'far' twice"),
        ],
    )
    def test_wishes_that_make_no_sense(self, wanted: list[str], message: str) -> None:
        with pytest.raises(ConfigurationError, match=message):
            Gym(log_info=wanted)


def reported(lines: list[dict[str, Any]]) -> str:
    """As a text, in which NaN equals itself."""
    return repr([{key: value for key, value in line.items() if "info/" in key} for line in lines])


class TestRuns:
    def test_record_them_and_learn_the_same(self) -> None:
        plain, logged = train(made(log_info=[])), train(made())
        assert logged.what_must_agree == plain.what_must_agree
        assert "info/far" not in plain.lines[0]
        line = logged.lines[0]
        assert line["info/far/min"] < line["info/far/mean"] < line["info/far/max"] and 0 <= line["info/won"] <= 1
        assert "eval/info/far" in line

    def test_go_on_after_a_resume_as_if_nothing_had_been(self) -> None:
        whole = train(made(), generations=4)
        first, log = trainer(made(), generations=2), Log()
        first.run()
        second = trainer(made(), generations=4, monitors=[log])
        second.restore(first.state())
        second.run()
        assert reported(log.lines) == reported(whole.lines[2:])

    def test_the_episodes_that_confirm_a_target_are_those_of_the_metrics(self) -> None:
        log = train(made(log_info=["far"]), target_fitness=0.0, final_episodes=7, generations=3)
        assert log.lines[-1]["eval/episodes"] == 7 and math.isfinite(log.lines[-1]["eval/info/far"])

    def test_from_the_command_line(self, tmp_path: Path) -> None:
        from distes.cli import main

        run = tmp_path / "run"
        flags = f"train --task.env {HERE}Told --policy Linear --workers 0 --generations 2 --final_episodes 0"
        assert main([*flags.split(), "--run_dir", str(run), "--task.log_info", "won", "far:mean", "--quiet"]) == 0
        assert main(["resume", str(run), "--trust", "--generations", "3", "--task.log_info", "won", "--quiet"]) == 0
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        assert ["info/far/mean" in row for row in rows] == [True, True, False]
        assert all("info/won" in row and "eval/info/won" in row for row in rows)


class TestATaskOfOnesOwn:
    def test_names_its_scalars(self) -> None:
        of = parts(Counted())
        log = train(of, generations=2)
        assert log.lines[1]["info/accuracy"] == pytest.approx(0.5) and log.lines[1]["eval/info/loss"] == 2.0
        assert trainer(of).scalars == {
            "loss": "`loss`, as the task counted reports it",
            "accuracy": "share of rows that are right",
        }

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (None, "must return Outcome.scalars_BV, since its scalars are loss, accuracy; got None"),
            (np.zeros((3, 2)), r"Outcome.scalars_BV of shape \(4, 2\), numbers; got shape \(3, 2\)"),
            (np.full((4, 2), "x"), r"Outcome.scalars_BV of shape \(4, 2\), numbers; got shape \(4, 2\), <U1"),
        ],
    )
    def test_must_keep_its_word(self, given: Any, message: str) -> None:
        outcome = Outcome(np.zeros(4), np.ones(4, np.int64), 4, scalars_BV=given)
        with pytest.raises(EvaluationError, match=message):
            checked(Counted(), outcome, 4)

    def test_must_not_give_what_it_does_not_name(self) -> None:
        outcome = Outcome(np.zeros(4), np.ones(4, np.int64), 4, scalars_BV=np.zeros((4, 1), np.float32))
        with pytest.raises(EvaluationError, match=r"no Outcome\.scalars_BV, since its property `scalars` names none"):
            checked(sphere().task, outcome, 4)


class Counted(Task):
    """Says more than fitness."""

    observation_shape, action_size = (1,), 2
    scalars = ("loss", "accuracy")

    def meaning(self, scalar: str) -> str:
        return "share of rows that are right" if scalar == "accuracy" else super().meaning(scalar)

    def evaluate(self, members: Any, request: Any) -> Outcome:
        fitness_B = members.parameters().sum(1).astype(np.float64)
        count = len(fitness_B)
        rows_BV = np.tile(np.array([[2.0, 0.5]]), (count, 1))
        return Outcome(fitness_B, np.ones(count, np.int64), count, scalars_BV=rows_BV)


def test_rows_that_move_and_go_take_their_numbers_along() -> None:
    running = Scalars(InfoScalars(["x", "x:sum"]), 3)
    running.add_infos([{"x": 1}, {"x": 2.5}, {}])
    running.move(2, 0)
    running.add_infos([{"x": 4}, {"x": True}])
    assert running.values(2).tolist() == [[4, 4], [1, 3.5]]
    running.keep(torch.tensor([1]))
    running.start(0)
    assert running.values(1).isnan().all() and running.complete
