"""The experiment: all that is needed to make a worker."""

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
from distes.pools.gpu_chunks import GpuChunks
from distes.strategies.base import Strategy
from distes.tasks.base import Task
from distes.tasks.chunk_pairs import ChunkPairs

GPU_PAIRS_PER_CHUNK = GpuChunks(2048, 16_384, 8)  # for environments that run on a GPU
GPU_ROWS = 2**30  # parameters that the members of a chunk may have in total


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """All that is needed to make a worker; a pool sends it once.

    Attributes:
        task: The task; each worker makes environments of its own.
        forward: The policy's forward for many members.
        perturbation: Numbered directions over the noise table.
        noise: The noise table, whose numbers each node generates for itself.
        strategy: The driver's strategy, for workers that take its steps themselves; None if the centre is sent.
        device: The device that members are evaluated on: `cpu`, `cuda`, or `auto`, which `with_device` decides.
        sensitivity: The policy's sensitivity, for strategies with safe mutations; None for others.
        fingerprint: Fingerprint of the driver's noise table, which a worker's must match; set by `with_device`.
    """

    task: Task
    forward: Forward
    perturbation: Perturbation
    noise: NoiseTable
    strategy: Strategy | None = None
    device: str = "cpu"
    sensitivity: Sensitivity | None = None
    fingerprint: str = ""

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
        """Makes an experiment: prepares the policy for many members, and generates the noise table.

        Args:
            task: The task that members are evaluated on.
            policy: The members' module.
            perturbation: Numbered directions in the policy's parameters.
            noise: The noise table that directions are made from.
            device: `cpu`, `cuda` or `auto`.
            strategy: The strategy, for workers that take its steps themselves, and for safe mutations.

        Raises:
            ConfigurationError: An argument is of another type, or the policy does not fit the task's observations.
        """
        require_instance("task", task, Task)
        require_instance("policy", policy, nn.Module)
        require_instance("perturbation", perturbation, Perturbation)
        require_instance("noise", noise, NoiseTable)
        if strategy is not None:
            require_instance("strategy", strategy, Strategy)
        return cls(
            task=task,
            forward=population_forward(policy, Layout(policy), task.observation_shape),
            perturbation=perturbation,
            noise=noise,
            strategy=strategy,
            device=device,
            sensitivity=None if strategy is None else strategy.sensitivity,
            fingerprint=noise.fingerprint,
        )

    def with_device(self, gpus: int, where: str = "this machine") -> Self:
        """Returns the experiment with `auto` decided and, if it has none, the fingerprint of this noise table.

        Args:
            gpus: Number of GPUs.
            where: Where the GPUs were counted, for the message.

        Raises:
            ConfigurationError: The device is `cuda`, and there is no GPU; or the task cannot evaluate members there.
        """
        size, on_tensors = self.forward.layout.size, self.task.on_device
        device = choose_device(self.device, gpus, on_tensors=on_tensors, parameters=size, where=where)
        self.task.check_device(self.forward.module, device)
        return dataclasses.replace(self, device=device, fingerprint=self.fingerprint or self.noise.fingerprint)

    @property
    def pairs_per_chunk(self) -> ChunkPairs:
        """Pairs that a worker evaluates together by default. It does not depend on the number of workers."""
        usual = self.task.pairs_per_chunk
        if self.device == "cpu" or not self.task.on_device or usual.least == usual.most:  # the task insists
            return usual
        fit = max(1, GPU_ROWS // (2 * self.perturbation.member_size))
        least, most = (max(usual.least, GPU_PAIRS_PER_CHUNK.least), max(usual.most, GPU_PAIRS_PER_CHUNK.most))
        return GpuChunks(min(fit, least), min(fit, most), GPU_PAIRS_PER_CHUNK.parts)
