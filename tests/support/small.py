"""Small runs, put together in a line."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from distes.members.forward import Forward
from distes.members.gaussian import GaussianRows
from distes.members.members import Members
from distes.noise.table import NoiseTable
from distes.perturbations.base import Perturbation
from distes.perturbations.dense import Dense
from distes.policies.layout import Layout
from distes.policies.linear import Linear
from distes.policies.mlp import MLP
from distes.pools.base import Pool
from distes.pools.experiment import Experiment
from distes.pools.serial import SerialPool
from distes.population import Evaluation, Population, Transform
from distes.runs.directory import RunDirectory
from distes.runs.monitors.base import Metrics, Monitor
from distes.runs.store import RunStore
from distes.strategies.openai_es import OpenAIES
from distes.tasks.base import Task
from distes.tasks.functions import Function
from distes.tasks.gym.gym import Gym
from distes.training.trainer import Trainer

ROOT = Path(__file__).resolve().parents[2]
DRIFT = "tests.support.environments.Drift"
ECHO = "tests.support.environments.Echo"


@dataclass(frozen=True)
class Parts:
    task: Task
    policy: nn.Module
    layout: Layout
    noise: NoiseTable
    perturbation: Dense
    experiment: Experiment

    @property
    def centre_P(self) -> NDArray[np.float32]:
        return self.layout.flatten(self.policy)

    def strategy(self, seed: int = 3, **arguments: Any) -> OpenAIES:
        return OpenAIES(self.centre_P, self.perturbation, seed, **arguments)

    def members(self, ids: Sequence[int], signs: Sequence[int], *, sigma: float | NDArray[np.float32] = 0.3) -> Members:
        ids_B, signs_B = np.array(ids, np.int64), np.array(signs, np.int64)
        return gaussian_members(self.experiment.forward, self.perturbation, self.centre_P, sigma, ids_B, signs_B)


def gaussian_members(
    forward: Forward,
    perturbation: Perturbation,
    centre_P: NDArray[np.float32] | torch.Tensor,
    sigma: float | NDArray[np.float32],
    ids_B: NDArray[np.int64],
    signs_B: NDArray[np.int64],
    device: str | torch.device = "cpu",
    transform: Transform | None = None,
) -> Members:
    """Members around a centre: centre_P + signs_B[b] * sigma * T direction(ids_B[b])."""
    rows = GaussianRows(perturbation, sigma, ids_B, signs_B, transform)
    return Members(forward, perturbation, centre_P, rows, device)


def parts(task: Task, policy: nn.Module | None = None, *, size: int = 2**16, dtype: Any = "float32") -> Parts:
    """By default with the smallest policy that fits."""
    if policy is None:
        torch.manual_seed(0)
        policy = Linear(int(np.prod(task.observation_shape)), task.action_size, bias=False)
    layout = Layout(policy)
    noise = NoiseTable(size=max(size, 3 * layout.size), dtype=dtype, seed=4)
    dense = Dense(noise, layout)
    return Parts(task, policy, layout, noise, dense, Experiment.of(task, policy, dense, noise))


def sphere(dimension: int = 10, *, behaviour: bool = False) -> Parts:
    """Linear(bias=False) answers its own parameters to the constant 1."""
    return parts(
        Function("sphere", dimension=dimension, behaviour=behaviour),
        Linear(1, dimension, bias=False, initial_scale=3.0),
    )


def drift(**arguments: Any) -> Parts:
    """Observation normalisation, action noise, reward shift and episodes of different lengths."""
    given: dict[str, Any] = {
        "normalize_observations": True,
        "observation_fraction": 0.3,
        "action_noise": 0.05,
        "reward_shift": 0.1,
        "slots": 5,
    }
    torch.manual_seed(0)
    return parts(Gym(DRIFT, **{**given, **arguments}), MLP(3, 2, hidden_sizes=[8]))


def population(strategy: OpenAIES, **changes: Any) -> Population:
    asked = strategy.ask()
    return Population(**{**vars(asked), **changes})


def evaluate(pool: Pool, what: Population) -> Evaluation:
    return pool.evaluate(what, lambda: False)


class Log(Monitor):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.fitness: list[NDArray[Any]] = []
        self.closed = 0

    def record(self, metrics: Metrics, fitness_N2: NDArray[Any]) -> None:
        self.lines.append(dict(metrics))
        self.fitness.append(fitness_N2.copy())

    def close(self) -> None:
        self.closed += 1

    def column(self, name: str) -> list[Any]:
        return [line.get(name) for line in self.lines]

    @property
    def what_must_agree(self) -> list[tuple[Any, ...]]:
        """All that a run learns, and nothing that depends on the clock or on who did the work."""
        keys = ("generation", "timesteps", "episodes", "fitness/mean", "fitness/std", "eval/mean", "params/sha256")
        return [tuple(line.get(key) for key in keys) for line in self.lines]


def trainer(of: Parts, pool: Pool | None = None, *, strategy: OpenAIES | None = None, **arguments: Any) -> Trainer:
    given: dict[str, Any] = {"generations": 5, "eval_episodes": 2, "final_episodes": 0}
    return Trainer(
        task=of.task,
        strategy=of.strategy(population_size=16) if strategy is None else strategy,
        noise=of.noise,
        pool=SerialPool(of.experiment, pairs_per_chunk=3) if pool is None else pool,
        **{**given, **arguments},
    )


def train(of: Parts, pool: Pool | None = None, **arguments: Any) -> Log:
    """Trains, and returns what a monitor saw."""
    log = Log()
    trainer(of, pool, monitors=[log], **arguments).run()
    return log


def archive(directory: RunDirectory, of: Parts, **arguments: Any) -> RunStore:
    description = {
        "policy": {"class_path": type(of.policy).__name__, "init_args": {}},
        "task": {"class_path": type(of.task).__name__, "init_args": {}},
        "observation_shape": of.task.observation_shape,
        "action_size": of.task.action_size,
    }
    return RunStore(directory, of.policy, description, **{"checkpoint_seconds": 0.0, **arguments})
