"""The worker: which members it makes of a chunk, on which terms, and what it says when one fails.

Axes: B members evaluated together, N pairs.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch

from distes.batched import Members
from distes.errors import EvaluationError
from distes.population import Chunk, Moments, Normalization
from distes.tasks.base import MemberError, Outcome, Task, Terms
from distes.worker import Experiment, Worker
from tests.small import Parts, parts, population

NORMALIZATION = Normalization(np.zeros(1, np.float32), np.ones(1, np.float32))


@dataclass
class Recorder(Task):
    """Takes down on what terms it is asked; a member's fitness is its place, or something worse."""

    asked: list[tuple[Any, Terms]] = field(default_factory=list)
    bad: dict[int, float] = field(default_factory=dict)
    raises: MemberError | None = None

    @property
    def observation_shape(self) -> tuple[int, ...]:
        return (1,)

    @property
    def action_size(self) -> int:
        return 4

    def evaluate(self, members: Members, terms: Terms) -> Outcome:
        self.asked.append((members.parameters(), terms))
        if self.raises is not None:
            raise self.raises
        fitness_B = np.array([self.bad.get(b, float(b)) for b in range(len(members))])
        moments = None if terms.observed_B is None else Moments(3, np.zeros(1), np.zeros(1))
        return Outcome(fitness_B, np.arange(len(members)) + 10, 2 * len(members), moments)


@pytest.fixture
def task() -> Recorder:
    return Recorder()


@pytest.fixture
def made(task: Recorder) -> Parts:
    return parts(task)


def test_both_members_of_a_pair_plus_first(task: Recorder, made: Parts) -> None:
    asked = population(made.strategy(population_size=12, sigma=0.5), normalization=NORMALIZATION)
    result = Worker(made.experiment).evaluate(asked, Chunk(4, 2, 5))
    parameters_BP, terms = task.asked[0]
    directions_NP = made.perturbation.directions(asked.ids_N[2:5])
    expected_BP = [asked.centre_P + sign * 0.5 * row for row in directions_NP for sign in (1, -1)]
    np.testing.assert_allclose(parameters_BP, expected_BP, rtol=1e-6)
    np.testing.assert_array_equal(terms.seeds_B, asked.seeds_N[2:5].repeat(2))
    assert terms.training and terms.normalization is NORMALIZATION and terms.observed_B is None
    np.testing.assert_array_equal(result.fitness, [[0, 1], [2, 3], [4, 5]])
    np.testing.assert_array_equal(result.steps, [[10, 11], [12, 13], [14, 15]])
    assert (result.index, result.episodes, result.moments) == (4, 12, None)
    assert result.seconds > 0


def test_the_centre_acts_without_noise(task: Recorder, made: Parts) -> None:
    seeds_E = np.arange(100, 140, dtype=np.uint64)
    asked = population(made.strategy(population_size=4), eval_seeds_E=seeds_E, normalization=NORMALIZATION)
    result = Worker(made.experiment).evaluate(asked, Chunk(0, 16, 19, of_centre=True))
    parameters_BP, terms = task.asked[0]
    np.testing.assert_array_equal(parameters_BP, [asked.centre_P] * 3)
    np.testing.assert_array_equal(terms.seeds_B, [116, 117, 118])
    assert not terms.training and terms.normalization is NORMALIZATION
    np.testing.assert_array_equal(result.fitness, [0, 1, 2])
    assert result.steps.shape == (3,)


def test_observes_the_pairs_that_were_asked_for(task: Recorder, made: Parts) -> None:
    observed_N = np.array([False, True, False, False, True, True])
    asked = population(made.strategy(population_size=12), observed_N=observed_N)
    worker = Worker(made.experiment)
    assert worker.evaluate(asked, Chunk(0, 0, 3)).moments is not None
    assert worker.evaluate(asked, Chunk(1, 2, 4)).moments is None  # nobody of these
    terms = [terms for _, terms in task.asked]
    assert terms[0].observed_B is not None
    assert terms[0].observed_B.tolist() == [False, False, True, True, False, False]
    assert terms[1].observed_B is None


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(("member", "who"), [(0, r"Pair 2, sign \+"), (3, "Pair 3, sign -")])
def test_a_fitness_that_is_no_number_is_refused(
    task: Recorder, made: Parts, value: float, member: int, who: str
) -> None:
    task.bad = {member: value}
    message = (
        rf"^{who}, of generation 1 could not be evaluated: its fitness is {value}, which is no finite number\. "
        r"To replay it alone: python scripts/launch\.py --resume RUN_DIR --workers 0 --replay 1,\d,[+-]$"
    )
    with pytest.raises(EvaluationError, match=message):
        Worker(made.experiment).evaluate(population(made.strategy(population_size=12)), Chunk(0, 2, 5))


def test_a_failing_member_is_named_with_its_episode_s_seed(task: Recorder, made: Parts) -> None:
    task.raises = MemberError(5, "its leg fell off", episode_seed=4711)
    asked = population(made.strategy(population_size=12), generation=6)
    with pytest.raises(
        EvaluationError,
        match=r"^Pair 4, sign -, of generation 7 .*: its leg fell off \(episode seed 4711\)\..*--replay 7,4,-$",
    ):
        Worker(made.experiment).evaluate(asked, Chunk(0, 2, 5))


def test_the_centre_is_named_by_its_episode(task: Recorder, made: Parts) -> None:
    task.raises = MemberError(2, "its leg fell off", episode_seed=4711)
    asked = population(made.strategy(population_size=12), eval_seeds_E=np.arange(40, dtype=np.uint64))
    with pytest.raises(EvaluationError, match=r"^The centre's episode 18 of generation 1 .*fell off.*--replay 1$"):
        Worker(made.experiment).evaluate(asked, Chunk(1, 16, 32, of_centre=True))


def test_a_worker_with_other_noise_is_refused_by_name(made: Parts) -> None:
    other = replace(made.experiment, fingerprint="0123456789abcdef")
    message = (
        rf"The worker on .+ is refused: its noise table has the fingerprint {made.noise.fingerprint}, the driver's has "
        "0123456789abcdef.*same version of NumPy"
    )
    with pytest.raises(EvaluationError, match=message):
        Worker(other)


def test_a_worker_has_one_thread(made: Parts) -> None:
    torch.set_num_threads(2)
    Worker(made.experiment)
    assert torch.get_num_threads() == 1


def test_an_experiment_knows_its_table_s_fingerprint(made: Parts) -> None:
    experiment = Experiment.of(made.task, made.policy, made.perturbation, made.noise)
    assert experiment.fingerprint == made.noise.fingerprint == made.experiment.fingerprint
