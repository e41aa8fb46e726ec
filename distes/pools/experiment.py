"""What a worker is made of."""

import dataclasses
from dataclasses import dataclass
from typing import Self

from torch import nn

from distes.errors import require_instance
from distes.members.members import Forward, population_forward
from distes.members.sensitivity import Sensitivity
from distes.noise.table import NoiseTable
from distes.perturbations.base import Perturbation
from distes.policies.layout import Layout
from distes.pools.device import choose_device
from distes.strategies.base import Strategy
from distes.tasks.base import ChunkPairs, Task

# Pairs in a chunk whose environments live on a GPU: it takes thousands of rows to fill one.
GPU_PAIRS_PER_CHUNK = ChunkPairs(256, 4096)
GPU_ROWS = 2**30  # floats of parameters that a chunk's members may have together


@dataclass(frozen=True)
class Experiment:
    """What a worker is made of; sent once.

    Attributes:
        task: Its configuration; environments are made by the worker.
        forward: The policy's population forward.
        perturbation: Numbered directions over a noise table, whose numbers are made, or found, on the worker's node.
        noise: That table.
        fingerprint: What the driver's table looks like.
        device: Where members are evaluated: `cpu`, `cuda`, or `auto`, which a pool decides once it knows its GPUs.
        strategy: The driver's, for workers that follow it by themselves; None where the centre is sent.
        sensitivity: Of the policy, for strategies with safe mutations; None for others.
    """

    task: Task
    forward: Forward
    perturbation: Perturbation
    noise: NoiseTable
    fingerprint: str
    device: str = "cpu"
    strategy: Strategy | None = None
    sensitivity: Sensitivity | None = None

    @classmethod
    def of(
        cls,
        task: Task,
        policy: nn.Module,
        perturbation: Perturbation,
        noise: NoiseTable,
        device: str = "cpu",
        strategy: Strategy | None = None,
    ) -> Self:
        """Prepares the policy for many members and takes the noise table's fingerprint.

        Args:
            task: What members are evaluated on.
            policy: Their module.
            perturbation: Numbered directions in its parameters.
            noise: The table that they come from.
            device: `cpu`, `cuda` or `auto`.
            strategy: For workers that follow it, and for the sensitivity that its mutations need.

        Raises:
            ConfigurationError: One of them is something else, or the policy does not fit the task's observations.
        """
        require_instance("task", task, Task)
        require_instance("policy", policy, nn.Module)
        require_instance("perturbation", perturbation, Perturbation)
        require_instance("noise", noise, NoiseTable)
        if strategy is not None:
            require_instance("strategy", strategy, Strategy)
        forward = population_forward(policy, Layout(policy), task.observation_shape)
        sensitivity = None if strategy is None else strategy.sensitivity
        return cls(task, forward, perturbation, noise, noise.fingerprint, device, strategy, sensitivity)

    def with_device(self, gpus: int, where: str = "this machine") -> Self:
        """Returns a copy whose device is `cpu` or `cuda`, see `choose_device`.

        Args:
            gpus: Number of GPUs.
            where: Where they were counted, for messages.

        Raises:
            ConfigurationError: The device is `cuda`, and there is no GPU.
        """
        size, on_tensors = self.forward.layout.size, self.task.on_device
        return dataclasses.replace(
            self, device=choose_device(self.device, gpus, on_tensors=on_tensors, parameters=size, where=where)
        )

    @property
    def pairs_per_chunk(self) -> ChunkPairs:
        """How many pairs a worker evaluates together by default, whatever the number of workers."""
        usual = self.task.pairs_per_chunk
        if self.device == "cpu" or not self.task.on_device or usual.least == usual.most:  # the task insists
            return usual
        fit = max(1, GPU_ROWS // (2 * self.perturbation.member_size))
        least, most = (max(usual.least, GPU_PAIRS_PER_CHUNK.least), max(usual.most, GPU_PAIRS_PER_CHUNK.most))
        return ChunkPairs(min(fit, least), min(fit, most), usual.parts)
