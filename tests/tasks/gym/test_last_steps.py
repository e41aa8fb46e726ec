"""What a behaviour is read from: an episode's own last step, in whatever way rows are started anew; and its length."""

import warnings
from typing import Any

import numpy as np
import pytest
import torch

from distes.errors import DistesWarning, EvaluationError
from distes.policies.linear import Linear
from distes.pools.chunks import ChunkResult, chunks, reduce
from distes.pools.serial import SerialPool
from distes.strategies.novelty_es import NSRES
from distes.tasks.gym.gym import Gym
from tests.support.small import Parts, evaluate, parts, train

ODD = "tests.support.odd_environments."


def place(observation: Any, info: Any) -> Any:
    return torch.as_tensor(observation) + torch.as_tensor(info["position"])


def made(behaviour: Any, env: str = ODD + "Walk", **arguments: Any) -> Parts:
    torch.manual_seed(0)
    return parts(Gym(env, behaviour=behaviour, slots=4, **arguments), Linear(1, 1))


def behaviour(of: Parts) -> list[float]:
    evaluation = evaluate(SerialPool(of.experiment), of.strategy(population_size=12).ask())
    assert evaluation.behaviour_N2D is not None
    return np.round(evaluation.behaviour_N2D.ravel(), 4).tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize("what", ["final_observation", "info:position", place])
@pytest.mark.parametrize("limit", [None, 4])
def test_is_the_same_however_rows_are_started_anew(what: Any, limit: int | None) -> None:
    expected = behaviour(made(what, max_steps=limit))
    assert len(set(expected)) > 6
    for mode in ("SAME_STEP", "NEXT_STEP", "DISABLED"):
        assert behaviour(made(what, ODD + "walks", env_kwargs={"mode": mode}, max_steps=limit)) == expected, mode


@pytest.mark.parametrize("what", ["final_observation", "info:position"])
def test_novelty_is_the_same_however_rows_are_started_anew(what: str) -> None:
    """Of members and of the agents' centres, and so is every step that an agent takes."""

    def learnt(of: Parts) -> list[Any]:
        strategy: Any = NSRES(of.centre_P, of.perturbation, 3, population_size=12, rollouts=5, agents=2)
        log = train(of, strategy=strategy, generations=5)
        return [log.what_must_agree, *(log.column(f"novelty/{name}") for name in ("mean", "max", "centre"))]

    expected = learnt(made(what))
    assert len(set(expected[1])) == len(set(expected[3])) == 5
    for mode in ("SAME_STEP", "NEXT_STEP", "DISABLED"):
        assert learnt(made(what, ODD + "walks", env_kwargs={"mode": mode})) == expected, mode


@pytest.mark.parametrize("env", [ODD + "walks", "tests.support.environments.Lab"])
def test_what_does_not_say_how_rows_ended_is_refused(env: str) -> None:
    """By its mode or, where it does not say that either, as soon as a row ends."""
    arguments: dict[str, Any] = {}
    if env.endswith("walks"):
        arguments = {"env_kwargs": {"mode": "SAME_STEP"}, "wrappers": [ODD + "Forgets"]}
    task = Gym(env, behaviour="final_observation", slots=4, **arguments)
    of = parts(task)
    message = r"its behaviour cannot be read: \w+ .*start.* ended rows anew.*no final_obs"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DistesWarning)  # of a single seed for all rows
        with pytest.raises(EvaluationError, match=message):
            train(of, generations=1)
        assert train(parts(Gym(env, slots=4, **{**arguments, "wrappers": ()})), generations=1).lines


class TestLengths:
    def test_that_differ_are_named_with_both_members(self) -> None:
        of = parts(Gym(ODD + "Trail", behaviour="info:trail"))
        message = (
            r"^Pair \d+, sign \S, of generation 1 .*: its behaviour has (\d) numbers?, and that of pair \d+, sign \S, "
            r"(?!\1)\d: all members' must have equally many \(episode seed \d+\)"
        )
        with pytest.raises(EvaluationError, match=message):
            evaluate(SerialPool(of.experiment), of.strategy(population_size=40).ask())

    def test_that_differ_between_workers(self) -> None:
        of = made("final_observation")
        asked = of.strategy(population_size=8).ask()
        cut = chunks(asked, 2, of.task.pairs_per_chunk)
        results = [
            ChunkResult(
                c.index, np.zeros((2, 2)), np.ones((2, 2), np.int64), 4, None, 0.0, np.zeros((2, 2, size), "f4")
            )
            for c, size in zip(cut, (3, 5), strict=True)
        ]
        with pytest.raises(EvaluationError, match=r"different lengths: 3 for pair 0 and 5 for pair 2"):
            reduce(asked, results, cut)

    @pytest.mark.parametrize(
        ("what", "sentence"),
        [
            ("word", r"numbers are wanted, equally many for each row; info:trail gave 'to the left'"),
            ("none", r"numbers are wanted, equally many for each row; info:trail gave None"),
            ("empty", r"info:trail gave no numbers, but an array of shape \(0,\)"),
        ],
    )
    def test_what_is_no_number(self, what: str, sentence: str) -> None:
        of = parts(Gym(ODD + "Trail", env_kwargs={"what": what}, behaviour="info:trail"))
        with pytest.raises(EvaluationError, match=f"its behaviour cannot be read: {sentence}"):
            train(of, generations=1)

    def test_a_key_that_comes_at_the_end_alone(self) -> None:
        of = parts(Gym(ODD + "Trail", env_kwargs={"what": "late"}, behaviour="info:trail"))
        evaluation = evaluate(SerialPool(of.experiment), of.strategy(population_size=4).ask())
        np.testing.assert_array_equal(evaluation.behaviour_N2D, np.broadcast_to([0.5, 5], (2, 2, 2)))

    def test_a_callable_that_raises_is_told_by_its_line(self) -> None:
        def wrong(observation: Any, info: Any) -> Any:
            raise ZeroDivisionError

        message = r"cannot be read: the callable raised ZeroDivisionError in 'raise ZeroDiv.*' \(.*test_last_steps\.py:"
        for env in (ODD + "Walk", "tests.support.environments.Drifts"):
            with pytest.raises(EvaluationError, match=message):
                train(parts(Gym(env, behaviour=wrong)), generations=1)
