"""Lets a task look at what noise does to the policy before a new run starts, in this process, on the run's device."""

import contextlib
import copy
import json
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from distes.api.building.build import build
from distes.api.building.construct import in_section
from distes.api.building.pool import decide_device
from distes.api.configuration.resolution import Configuration
from distes.members.gaussian import GaussianRows
from distes.members.members import Forward, Members
from distes.noise.global_randomness import seeded
from distes.pools.device import configure_torch, visible_gpus
from distes.pools.experiment import Experiment
from distes.population import Population
from distes.runs import atomic_files
from distes.tasks.base import Task
from distes.tasks.probed import Probed

FILE = "probe.json"


def probe(experiment: Experiment) -> Probed | None:
    """Returns what the task finds; None if it looks at nothing, or if members are not made of noise around a centre.

    Nothing of the run depends on it: the random generators are as before, and all memory is freed.

    Args:
        experiment: The experiment, before its workers start.

    Raises:
        ConfigurationError: A run would be in vain.
    """
    task, strategy = experiment.task, experiment.strategy
    if type(task).probe is Task.probe or strategy is None:
        return None
    population = strategy.ask()
    if population.genomes is not None or population.rows_NP is not None:
        return None
    on_gpu = experiment.device != "cpu" and visible_gpus() > 0
    noisy = _Noisy(experiment, population, configure_torch("cuda" if on_gpu else "cpu"))
    try:
        with seeded(noisy.common_seed):  # a user's reward may draw
            return task.probe(noisy)
    finally:
        noisy.free()
        task.close()


def probed(configuration: Configuration) -> Probed | None:
    """Builds what a configuration describes, and returns what its task finds, as `probe` does. Writes no file.

    Args:
        configuration: The resolved configuration.

    Raises:
        ConfigurationError: It cannot be built, or a run would be in vain.
    """
    experiment, _ = build(configuration)
    with contextlib.closing(experiment.task), in_section("strategy", type(experiment.strategy)):
        return probe(decide_device(configuration, experiment))


def record(directory: Path, found: Probed) -> str | None:
    """Writes what was found to `probe.json`; returns None, or why it could not be written, as a sentence.

    Args:
        directory: The run directory.
        found: What was found.
    """
    path = directory / FILE
    try:
        atomic_files.replace(path, (json.dumps(found.record, indent=2) + "\n").encode())
    except OSError as error:
        return f"{path} could not be written: {atomic_files.reason(error)}. The run goes on without it."
    return None


class _Noisy:
    """Members of a population, with a multiple of its noise; see `NoisyMembers`."""

    def __init__(self, experiment: Experiment, population: Population, device: torch.device) -> None:
        self._experiment, self._population, self._device = experiment, population, device
        assert experiment.strategy is not None
        given = population.common_seed
        self.common_seed: int = experiment.strategy.common_seed if given is None else given
        self.sigma = float(np.sqrt(np.mean(np.square(np.asarray(population.sigma, np.float64)))))
        self.parameters: int = experiment.forward.layout.size
        self.limit: int = len(population.ids_N) * len(population.signs)

    def __call__(self, scale: float, count: int) -> Members:
        population, perturbation = self._population, self._experiment.perturbation
        each = len(population.signs)
        ids_B = population.ids_N.repeat(each)[:count]
        signs_B = np.tile(np.asarray(population.signs), len(population.ids_N))[:count]
        if not scale:
            signs_B = np.zeros_like(signs_B)
        sigma = population.sigma if scale == 1 else np.float32(scale) * np.asarray(population.sigma, np.float32)
        sigma = float(sigma) if np.ndim(sigma) == 0 else np.asarray(sigma, np.float32)
        rows = GaussianRows(perturbation, sigma, ids_B, signs_B, population.transform)
        return Members(self._forward, perturbation, population.centre_P, rows, self._device)

    @cached_property
    def _forward(self) -> Forward:
        """A copy of the forward, since the driver's may stay on another device, and have members of its own."""
        return copy.deepcopy(self._experiment.forward).to(self._device)

    def free(self) -> None:
        """Frees the members' memory."""
        if "_forward" in self.__dict__:
            self._forward.free()
            del self._forward
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
