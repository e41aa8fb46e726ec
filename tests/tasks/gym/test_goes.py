"""Members that run in goes, because a core's cache holds no more: when, and that no result changes."""

import numpy as np
import pytest
import torch

from distes.members.gaussian import GaussianRows
from distes.members.members import Members
from distes.noise.table import NoiseTable
from distes.perturbations.dense import Dense
from distes.policies.layout import Layout
from distes.policies.mlp import MLP
from distes.pools.experiment import Experiment
from distes.population import Floats
from distes.tasks.base import Request
from distes.tasks.gym.batched import goes
from distes.tasks.gym.environments.simulation import TwinSimulation
from distes.tasks.gym.gym import Gym

MEMBERS = 70


def evaluated(monkeypatch: pytest.MonkeyPatch, bytes_held: int, observed: bool = False) -> tuple[list[int], Floats]:
    """The rows of each start of the simulator, and the members' fitness."""
    monkeypatch.setattr(goes, "CACHED_BYTES", bytes_held)
    started, reset = [], TwinSimulation.reset
    monkeypatch.setattr(
        TwinSimulation, "reset", lambda self, seeds: (started.append(len(seeds)), reset(self, seeds))[1]
    )
    task = Gym("CartPole-v1", max_steps=60)
    torch.manual_seed(0)
    policy = MLP(4, task.action_size, hidden_sizes=[8])
    perturbation = Dense(noise := NoiseTable(size=2**14), layout := Layout(policy))
    ids_B, signs_B = np.arange(MEMBERS) // 2 * 7, np.where(np.arange(MEMBERS) % 2, -1, 1)
    rows = GaussianRows(perturbation, 0.5, ids_B, signs_B, None)
    forward = Experiment.of(task, policy, perturbation, noise).forward
    members = Members(forward, perturbation, layout.flatten(policy), rows)
    observed_B = np.ones(MEMBERS, np.bool_) if observed else None
    outcome = task.evaluate(members, Request(np.arange(MEMBERS, dtype=np.uint64) // 2, True, observed_B=observed_B))
    monkeypatch.undo()
    return started, outcome.fitness_B


def test_members_beyond_what_the_cache_holds_run_later_with_the_same_results(monkeypatch: pytest.MonkeyPatch) -> None:
    each = 4 * 58  # bytes of a member: 4 x 8 + 8 + 8 x 2 + 2 numbers
    together, expected = evaluated(monkeypatch, 1000 * each)
    for held, rows in ((69, [35, 35]), (32, [24, 24, 22])):
        started, fitness_B = evaluated(monkeypatch, held * each)
        assert started == rows and np.array_equal(fitness_B, expected)
    assert together == [MEMBERS]


def test_large_policies_and_observed_members_run_together(monkeypatch: pytest.MonkeyPatch) -> None:
    each = 4 * 58
    assert evaluated(monkeypatch, 31 * each)[0] == [MEMBERS]
    assert evaluated(monkeypatch, 40 * each, observed=True)[0] == [MEMBERS]
