"""Evaluates one chunk. Plain Python that knows no Ray: a pool makes it an actor, or just calls it."""

import socket
import time
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import nn

from distes.batched import Forward, Members, population_forward
from distes.errors import EvaluationError
from distes.layout import Layout
from distes.noise import NoiseTable
from distes.perturbations.base import Perturbation
from distes.population import SIGNS, Chunk, ChunkResult, Population
from distes.tasks.base import MemberError, Task, Terms


@dataclass(frozen=True)
class Experiment:
    """What a worker is made of; sent once.

    Attributes:
        task: Its configuration; environments are made by the worker.
        forward: The policy's population forward.
        perturbation: Numbered directions over a noise table, whose numbers are made, or found, on the worker's node.
        noise: That table.
        fingerprint: What the driver's table looks like.
    """

    task: Task
    forward: Forward
    perturbation: Perturbation
    noise: NoiseTable
    fingerprint: str

    @classmethod
    def of(cls, task: Task, policy: nn.Module, perturbation: Perturbation, noise: NoiseTable) -> Self:
        """Prepares the policy for many members and takes the noise table's fingerprint.

        Args:
            task: What members are evaluated on.
            policy: Their module.
            perturbation: Numbered directions in its parameters.
            noise: The table that they come from.
        """
        forward = population_forward(policy, Layout(policy), task.observation_shape)
        return cls(task, forward, perturbation, noise, noise.fingerprint)


class Worker:
    """Holds a task, a policy and the noise; evaluates chunks of any generation."""

    def __init__(self, experiment: Experiment) -> None:
        """Checks its noise against the driver's.

        Raises:
            EvaluationError: If its noise table differs from the driver's.
        """
        # One thread: workers share the cores, and a product's bits must not depend on how many threads made it.
        torch.set_num_threads(1)
        got = experiment.noise.fingerprint
        if got != experiment.fingerprint:
            raise EvaluationError(
                f"The worker on {socket.gethostname()} is refused: its noise table has the fingerprint {got}, the "
                f"driver's has {experiment.fingerprint}. Use the same version of NumPy and the same kind of processor."
            )
        self._task, self._perturbation = experiment.task, experiment.perturbation
        self._forward = experiment.forward

    def evaluate(self, population: Population, chunk: Chunk) -> ChunkResult:
        """Evaluates pairs (both members of each, + first) or episodes of the centre.

        Raises:
            EvaluationError: If a member cannot be evaluated; names it, and says how to replay it alone.
        """
        started = time.perf_counter()
        span = slice(chunk.start, chunk.stop)
        count = chunk.stop - chunk.start
        observed_B = None
        if chunk.of_centre:
            ids_B, signs_B = np.zeros(count, np.int64), np.zeros(count, np.int64)
            seeds_B = population.eval_seeds_E[span]
        else:
            ids_B, signs_B = population.ids_N[span].repeat(2), np.tile(SIGNS, count)
            seeds_B = population.seeds_N[span].repeat(2)
            if population.observed_N is not None and population.observed_N[span].any():
                observed_B = population.observed_N[span].repeat(2)
        members = Members(self._forward, self._perturbation, population.centre_P, population.sigma, ids_B, signs_B)
        terms = Terms(seeds_B, not chunk.of_centre, population.normalization, observed_B)
        try:
            outcome = self._task.evaluate(members, terms)
            bad = np.flatnonzero(~np.isfinite(outcome.fitness_B))
            if len(bad):
                raise MemberError(int(bad[0]), f"its fitness is {outcome.fitness_B[bad[0]]}, which is no finite number")
        except MemberError as error:
            raise EvaluationError(_sentence(population, chunk, error)) from error
        shape = (count,) if chunk.of_centre else (count, 2)
        return ChunkResult(
            index=chunk.index,
            fitness=outcome.fitness_B.reshape(shape),
            steps=outcome.steps_B.reshape(shape),
            episodes=outcome.episodes,
            moments=outcome.moments,
            seconds=time.perf_counter() - started,
        )


def _sentence(population: Population, chunk: Chunk, error: MemberError) -> str:
    generation = population.generation + 1  # people count from 1
    if chunk.of_centre:
        who, where = f"The centre's episode {chunk.start + error.member}", f"--replay {generation}"
    else:
        pair = population.first_pair + chunk.start + error.member // 2
        turned = bool(np.any(np.asarray(population.sigma) < 0))  # a member of sign - that is replayed as +
        sign = "+-"[(error.member + turned) % 2]
        who, where = f"Pair {pair}, sign {sign},", f"--replay {generation},{pair},{sign}"
    seed = "" if error.episode_seed is None else f" (episode seed {error.episode_seed})"
    return (
        f"{who} of generation {generation} could not be evaluated: {error.reason}{seed}. "
        f"To replay it alone: python scripts/launch.py --resume RUN_DIR --workers 0 {where}"
    )
