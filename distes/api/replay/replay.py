"""Any member of any generation that a run has kept, made again from integers.

A member is a function of the strategy's state before its generation, and of its pair and sign. The state comes from a
checkpoint, or from the run's beginning, and is taken further by the record of populations: the strategy is told what it
was told, without a simulation, and `params/sha256` of each generation is compared with `metrics.jsonl`.

Axes: E episodes of the centre, N pairs, S the signs.
"""

import contextlib
import copy
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distes.api.building.build import build
from distes.api.building.identity import identity
from distes.api.building.pool import decide_device, sum_on
from distes.api.configuration import resolution as configurations
from distes.api.configuration.keys import own_arguments
from distes.api.configuration.layers import Layer
from distes.api.replay.replayed import Member, Replayed, of_centre, of_member
from distes.errors import CheckpointError, ConfigurationError, RunDirectoryError
from distes.errors.trust import only_own
from distes.pools.experiment import Experiment
from distes.pools.serial import SerialPool
from distes.population import Population
from distes.runs import atomic_files
from distes.runs.checkpoint import Checkpoints
from distes.runs.directory import RunDirectory
from distes.runs.metrics_file import read_rows
from distes.runs.population_record import Recorded, read_index, read_recorded
from distes.runs.store import RunStore
from distes.tasks.base import Task
from distes.training.centre import centre_alone, centre_of, validating
from distes.training.member import member_alone
from distes.training.trainer import Trainer


class StoredRun:
    """A run that is only read, with its strategy, which can be taken to any generation that was kept."""

    def __init__(
        self, directory: RunDirectory, experiment: Experiment, trainer: Trainer, archive: RunStore, pool: SerialPool
    ) -> None:
        """Takes the parts, as `stored_run` makes them: the trainer at the run's beginning.

        Raises:
            RunDirectoryError: The record of populations or the metrics cannot be read.
        """
        self.experiment, self._trainer, self._archive, self._pool = experiment, trainer, archive, pool
        self._directory = directory
        self._checkpoints = Checkpoints(directory.checkpoints).generations()
        self._begins = copy.deepcopy(trainer.state())
        try:
            self._index = read_index(directory.population) if directory.population.exists() else {}
        except OSError as error:
            raise RunDirectoryError(f"{directory.population} cannot be read: {atomic_files.reason(error)}.") from error
        self._digests = read_digests(directory)

    @property
    def recorded(self) -> list[int]:
        """The generations in the record of populations, in rising order."""
        return sorted(self._index)

    def record(self, generation: int) -> Recorded | None:
        """Returns the record of a generation, or None if there is none.

        Raises:
            CheckpointError: It is damaged.
        """
        place = self._index.get(generation)
        return None if place is None else read_recorded(self._directory.population, generation, place)

    def population(self, generation: int) -> Population:
        """Returns the first round of a generation, made again.

        Raises:
            ConfigurationError: The generation was not kept.
            CheckpointError: What was kept does not lead to the parameters that the run had.
        """
        self.go_to(generation)
        return self._trainer.population()

    def parameters(self, generation: int, *, members: bool = True) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Returns the parameters of the members of a generation's first round, (N, S, P), and its centre, (P,).

        Args:
            generation: The generation.
            members: Whether to make the members; otherwise there are none of them, (0, S, P).

        Raises:
            ConfigurationError: The generation was not kept.
            CheckpointError: What was kept does not lead to the parameters that the run had.
        """
        population, strategy = self.population(generation), self.experiment.strategy
        assert strategy is not None
        centre_P = centre_of(strategy, population)
        if not members:
            return np.empty((0, len(population.signs), len(centre_P)), np.float32), centre_P
        return strategy.parameters(population), centre_P

    def replay(self, member: Member, episodes: int = 10, task: Task | None = None) -> Replayed:
        """Evaluates a member with its own seed.

        Args:
            member: The member.
            episodes: Of the centre, the number of episodes at most. A member has `episodes_per_member`.
            task: Evaluates it in place of the run's task, such as one that is watched.

        Raises:
            ConfigurationError: There is no such member, or its generation was not kept.
            CheckpointError: What was kept does not lead to the parameters that the run had.
            EvaluationError: It cannot be evaluated.
        """
        self.go_to(member.generation)
        recorded, population = self.record(member.generation), self._trainer.population()
        strategy = self.experiment.strategy
        assert strategy is not None
        if member.pair is None:
            alone = self._centre(population, episodes)
        else:
            if recorded is not None and member.pair >= (pairs := len(recorded.ids_N)):
                raise ConfigurationError(
                    f"Generation {member.generation} has the pairs 0 to {pairs - 1}; got {member.pair}."
                )
            alone = member_alone(strategy, population, member.pair, member.sign, self._trainer.equipped)
        if task is None:
            evaluation = self._pool.evaluate(alone, lambda: False)
        else:
            with contextlib.closing(SerialPool(dataclasses.replace(self.experiment, task=task))) as pool:
                evaluation = pool.evaluate(alone, lambda: False)
        if member.pair is not None:
            relative = self.experiment.task.relative_fitness  # then the record has another fitness than its own
            return of_member(member, evaluation, None if relative else recorded)
        return of_centre(population, evaluation, recorded)

    def _centre(self, population: Population, episodes: int) -> Population:
        """The centre in the first of its own episodes, whether or not it was evaluated in training."""
        seeds_E, strategy = population.eval_seeds_E[validating(population)], self.experiment.strategy
        assert strategy is not None
        episodes = min(episodes, self.experiment.task.evaluations or episodes)
        return centre_alone(population, (seeds_E if len(seeds_E) else strategy.evaluation_seeds(episodes))[:episodes])

    def go_to(self, generation: int) -> None:
        """Takes the strategy to the state before a generation.

        Raises:
            ConfigurationError: The generation was not kept.
            CheckpointError: What was kept does not lead to the parameters that the run had.
        """
        if generation < 1:
            raise ConfigurationError(f"Generations are counted from 1; got {generation}.")
        wanted = generation - 1
        starts = sorted({0, self._trainer.generation, *self._checkpoints}, reverse=True)
        for start in (one for one in starts if one <= wanted):
            if all(number in self._index for number in range(start + 1, wanted + 1)) and self._start_from(start):
                break
        else:
            raise ConfigurationError(self._not_kept(generation))
        for number in range(self._trainer.generation + 1, generation):
            recorded = self.record(number)
            assert recorded is not None
            self._trainer.follow(recorded)
            self._compare(number)

    def _start_from(self, generation: int) -> bool:
        """Goes to a start; returns False if its checkpoint is damaged."""
        if generation == self._trainer.generation:
            return True
        if generation == 0:
            self._trainer.back_to(self._begins)
            return True
        with contextlib.suppress(CheckpointError):
            state = self._archive.restore(generation)
            if state is not None and state["generation"] == generation:
                self._trainer.back_to(self._begins)  # a state is checked against that of the beginning
                self._trainer.restore(state)
                self._compare(generation)
                return True
        return False

    def _compare(self, generation: int) -> None:
        made, metrics = self._trainer.digest(), self._directory.metrics
        if made != self._digests.get(generation, made):
            raise CheckpointError(
                f"Generation {generation} leads to parameters with the digest {made[:16]}..., and {metrics} has "
                f"{self._digests[generation][:16]}...: another processor, other versions of the libraries, or changed "
                "files. Members after it cannot be made again here."
            )

    def _not_kept(self, generation: int) -> str:
        after = _ranges([1, *(number + 1 for number in self._checkpoints)])
        kept = [f"the first generation, and those after the checkpoints: {after}"]
        if self._index:
            kept.append(f"from any of these on, as far as the record of populations holds {_ranges(self.recorded)}")
        hint = "" if self._index else " --record_population true keeps all generations of a run."
        return f"Generation {generation} of {self._directory.path} was not kept. Kept are {'; '.join(kept)}.{hint}"


@contextlib.contextmanager
def stored_run(
    run_dir: str | Path, *, trust: bool = False, say: Callable[[str], None] = lambda line: None
) -> Iterator[StoredRun]:
    """Opens a run to make its members again, in this process. Changes no file; the run may be going on.

    Args:
        run_dir: The run directory.
        trust: Whether the run may import and call code that is not part of distes.
        say: Takes lines for the user, such as about a damaged checkpoint.

    Raises:
        DistesError: The run cannot be read, or cannot be made again here. The message says what to do.
    """
    directory = RunDirectory(run_dir)
    with contextlib.ExitStack() as stack:
        if not trust:
            stack.enter_context(only_own(str(directory.config)))
        here = Layer(values={"workers": 0})
        configuration = configurations.resume(run_dir, [here])
        experiment, policy = build(configuration)
        stack.callback(experiment.task.close)
        experiment = decide_device(configuration, experiment)
        task, strategy = experiment.task, experiment.strategy
        assert strategy is not None
        determined_by = {**configurations.experiment({**configuration, "device": experiment.device})}
        determined_by |= identity(experiment, policy)
        archive = RunStore(directory, policy, {}, say=say, experiment=determined_by)
        if Checkpoints(directory.checkpoints).generations():
            archive.restore()  # refuses the state of another experiment
        pool = SerialPool(experiment, pairs_per_chunk=(configuration["chunk_size"] or 0) // 2 or None)
        stack.callback(pool.close)
        sum_on(experiment.perturbation, pool.device, say)
        options = {name: configuration[name] for name in own_arguments(Trainer)}
        options |= {"generations": 1}  # nothing is trained, so any end will do
        trainer = Trainer(task=task, strategy=strategy, noise=experiment.noise, pool=pool, policy=policy, **options)
        yield StoredRun(directory, experiment, trainer, archive, pool)


def read_digests(directory: RunDirectory) -> dict[int, str]:
    """Returns `params/sha256` of each generation in `metrics.jsonl`; incomplete lines are left out.

    Raises:
        RunDirectoryError: The file cannot be read.
    """
    return {
        line["generation"]: line["params/sha256"]
        for line in read_rows(directory.metrics, damaged=True)
        if isinstance(line.get("params/sha256"), str)
    }


def _ranges(numbers: list[int]) -> str:
    """Whole numbers in words, such as "1 to 40, 51, 101"; of many, the last ones."""
    spans: list[list[int]] = []
    for number in sorted(set(numbers)):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    words = [str(a) if a == b else f"{a} to {b}" for a, b in spans]
    return ", ".join(words if len(words) <= 8 else [words[0], "...", *words[-6:]])
