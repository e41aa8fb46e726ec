"""What the studies share: the data, the experiment around a network, training by ES and by SGD, tables and figures.

Axes: P parameters, n rows of data.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from distes.noise.table import NoiseTable
from distes.perturbations.base import Perturbation
from distes.perturbations.dense import Dense
from distes.perturbations.low_rank import LowRank
from distes.policies.layout import Layout
from distes.policies.mlp import MLP
from distes.pools.experiment import Experiment
from distes.pools.serial import SerialPool
from distes.population import Floats, Purpose
from distes.runs.monitors.base import Metrics
from distes.strategies.base import Strategy
from distes.strategies.openai_es import OpenAIES
from distes.tasks.base import Task
from distes.tasks.supervised.supervised import Supervised
from distes.training.trainer import Trainer

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NOISE = 2**22  # numbers of the noise table
INPUTS, CLASSES = 64, 10  # of digits
Loop = Callable[[int, Floats], bool]  # generations done and the centre -> whether to stop


def options(about: str | None, arguments: Sequence[str] | None, **sizes: Any) -> argparse.Namespace:
    """Reads a study's command line.

    Args:
        about: The docstring of the study.
        arguments: The words of the command line; None takes those of the process.
        sizes: Further flags with their defaults: an integer, or a list of integers.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--figure", type=Path, metavar="FILE", help="also draw the figure into this .png, .svg or .pdf")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also keep the figures in this file")
    for name, default in sizes.items():
        many = {"nargs": "+"} if isinstance(default, list) else {}
        parser.add_argument(f"--{name}", type=int, default=default, help=f"by default {default}", **many)
    torch.set_num_threads(1)
    return parser.parse_args(arguments)


def digits(split: int = 0, **arguments: Any) -> Supervised:
    """scikit-learn's digits, of which a fifth is held out for testing; nothing is chosen, so nothing validates."""
    return Supervised("digits", split=split, **{"validation": 0.0, **arguments})


def mlp(*hidden_sizes: int, seed: int = 0, **arguments: Any) -> MLP:
    """A network for digits, drawn from a seed."""
    torch.manual_seed(seed)
    return MLP(INPUTS, CLASSES, hidden_sizes=hidden_sizes, output_scale=1.0, **arguments)


@dataclass(frozen=True)
class Lab:
    """A task and a network, with all that a strategy needs to search it in this process."""

    task: Task
    policy: nn.Module
    layout: Layout
    noise: NoiseTable
    perturbation: Perturbation
    experiment: Experiment

    @classmethod
    def of(cls, task: Task, policy: nn.Module, *, rank: int = 0, noise: NoiseTable | None = None) -> "Lab":
        """Prepares a network for many members.

        Args:
            task: The task.
            policy: The network.
            rank: Of low-rank noise; 0 for dense noise.
            noise: The noise table; None makes one.
        """
        layout, noise = Layout(policy), noise or NoiseTable(size=NOISE, seed=1)
        perturbation: Perturbation = LowRank(noise, layout, rank=rank) if rank else Dense(noise, layout)
        return cls(task, policy, layout, noise, perturbation, Experiment.of(task, policy, perturbation, noise))

    @property
    def centre_P(self) -> Floats:
        """The network's parameters, (P,)."""
        return self.layout.flatten(self.policy)

    def es(self, seed: int = 0, centre_P: Floats | None = None, **arguments: Any) -> OpenAIES:
        """OpenAIES at the network's parameters, or at others."""
        start_P = self.centre_P if centre_P is None else centre_P
        return OpenAIES(start_P, self.perturbation, seed, **arguments)

    def train(
        self,
        strategy: Strategy,
        generations: int,
        *,
        loop: Loop | None = None,
        heard: list[dict[str, Any]] | None = None,
        chunk: int | None = None,
        **arguments: Any,
    ) -> float:
        """Trains in this process, and returns the processor's seconds, which others on the machine do not change.

        Args:
            strategy: The strategy, which learns.
            generations: The most generations.
            loop: Called after each generation; True ends the training.
            heard: Takes the metrics of each generation.
            chunk: Pairs that are evaluated together; None for the usual number.
            arguments: Further arguments of `Trainer`.
        """

        def after(metrics: Metrics, fitness_N2: NDArray[np.float64]) -> str | None:
            if heard is not None:
                heard.append(dict(metrics))
            return "enough" if loop is not None and loop(int(metrics["generation"]), strategy.centre_P) else None

        pool = SerialPool(self.experiment, pairs_per_chunk=chunk)
        trainer = Trainer(
            task=self.task,
            strategy=strategy,
            noise=self.noise,
            pool=pool,
            callbacks=[after],
            generations=generations,
            policy=self.policy,
            **{"eval_episodes": 0, "final_episodes": 0, **arguments},
        )
        started = time.process_time()
        try:
            result = trainer.run()
        finally:
            pool.close()
        if result.reason == "interrupted":  # Ctrl-C and SIGTERM end a run in order; here they end the study
            raise KeyboardInterrupt
        return time.process_time() - started

    def loaded(self, centre_P: Floats) -> nn.Module:
        """The network with these parameters, (P,)."""
        self.layout.load(self.policy, centre_P)
        return self.policy


def accuracy(network: nn.Module, data: tuple[Tensor, Tensor]) -> float:
    """In percent, on inputs and classes."""
    with torch.no_grad():
        right = network(data[0]).argmax(1) == data[1]
    return 100 * float(right.float().mean())


def loss(network: nn.Module, data: tuple[Tensor, Tensor]) -> float:
    """The cross-entropy in nats, on inputs and classes."""
    with torch.no_grad():
        return float(nn.functional.cross_entropy(network(data[0]), data[1]))


def by_sgd(
    network: nn.Module,
    data: tuple[Tensor, Tensor],
    optimizer: torch.optim.Optimizer,
    epochs: int,
    *,
    batch: int = 64,
    anneal: bool = True,
    enough: Callable[[], bool] | None = None,
) -> tuple[int, float]:
    """Trains a network by back-propagation on mini-batches, in place; returns steps and the processor's seconds.

    Args:
        network: The network.
        data: Inputs and classes.
        optimizer: Of its parameters.
        epochs: Passes over the data.
        batch: Rows of a mini-batch.
        anneal: Whether the learning rate follows a cosine to 0.
        enough: Asked every ten steps, whose time does not count; True ends the training.
    """
    inputs, classes = data
    generator, seconds, done = torch.Generator().manual_seed(0), 0.0, 0
    total = epochs * -(-len(inputs) // batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total) if anneal else None
    for _ in range(epochs):
        for rows in torch.randperm(len(inputs), generator=generator).split(batch):
            started = time.process_time()
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(inputs[rows]), classes[rows]).backward()
            optimizer.step()
            if schedule is not None:
                schedule.step()
            seconds += time.process_time() - started
            done += 1
            if enough is not None and done % 10 == 0 and enough():
                return done, seconds
    return done, seconds


def by_adam(split: int, network: nn.Module, epochs: int = 40) -> nn.Module:
    """Trains a network on digits by Adam with a rate from 0.002 to 0, in place, and returns it."""
    train = digits(split).parts.tensors(Purpose.TRAIN)
    by_sgd(network, train, torch.optim.Adam(network.parameters(), 2e-3), epochs)
    return network


@contextmanager
def drawing(path: Path | None, panels: int = 2, height: float = 3.4) -> Any:
    """Yields the axes of a figure, which is then written to a file; None draws it, and writes nothing.

    Args:
        path: The file.
        panels: Systems of axes, beside each other.
        height: In inches.
    """
    from distes.runs.plots.style import Picture, save, styled

    with styled():
        figure = Picture(figsize=(4.2 * panels if panels > 1 else 6.4, height), dpi=120)
        figure.set_layout_engine("constrained")
        axes = [figure.add_subplot(1, panels, place + 1) for place in range(panels)]
        yield axes
        if path is not None:
            figure.set_dpi(120)
            save(figure, path)


def colour(number: int) -> str:
    """The colour of a line by its number."""
    from distes.runs.plots.style import COLOURS

    return COLOURS[number % len(COLOURS)]


def legend(axes: "Axes", **arguments: Any) -> None:
    """A small legend, if there are lines."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7.5, handlelength=1.8, labelspacing=0.3, **arguments)
