"""Every task gives a member what its parameters, its seed and the terms deserve, whoever is evaluated beside it.

Axes: B members, O observation.
"""

import inspect
import math
import pickle
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import nn

from distes.noise.draws import Stream, draw
from distes.policies.language.causal_lm import CausalLM
from distes.policies.mlp import MLP
from distes.policies.recurrent import Recurrent
from distes.population import Normalization
from distes.tasks.base import Outcome, Request, Task
from distes.tasks.gym.gym import Gym
from distes.tasks.language.language import Language
from tests.contracts.registry import TASKS
from tests.support import tiny_language
from tests.support.small import DRIFT, Parts, parts

B = 16
IDS = np.arange(8).repeat(2) * 1000  # pairs, as in a chunk
SIGNS = np.tile([1, -1], 8)
SEEDS = draw(9, 0, Stream.EPISODES, 8).repeat(2)


CASES = [(task, memory) for task in TASKS for memory in (False, True) if not (memory and "Language" in task)]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]}{' with memory' * case[1]}")
def case(request: pytest.FixtureRequest) -> Parts:
    name, memory = request.param
    return with_policy(TASKS[name](), memory)


def with_policy(task: Task, memory: bool = False) -> Parts:
    if isinstance(task, Language):
        return parts(task, CausalLM(tiny_language.folder()))
    torch.manual_seed(0)
    size = math.prod(task.observation_shape)
    policy: nn.Module = MLP(size, task.action_size, hidden_sizes=[9], output_scale=1.0)
    if memory:
        policy = Recurrent(size, task.action_size, hidden_size=9, output_scale=1.0)
    return parts(task, policy)


def evaluate(case: Parts, who: Sequence[int], task: Task | None = None, training: bool = True) -> Outcome:
    chosen = list(who)
    members = case.members(IDS[chosen].tolist(), SIGNS[chosen].tolist())
    normalization = None
    if case.task.observation_fraction:
        normalization = Normalization(np.array([7, 0, -20], np.float32), np.array([3, 0.5, 2], np.float32))
    pairs_B = IDS[chosen] // 1000 if training else None
    request = Request(SEEDS[chosen], training, normalization, common_seed=5, pairs_B=pairs_B)
    return (task or case.task).evaluate(members, request)


def bits(outcome: Outcome) -> list[bytes]:
    """Of each member."""
    scalars_BV = np.empty((len(outcome.fitness_B), 0)) if outcome.scalars_BV is None else outcome.scalars_BV
    parts = zip(outcome.fitness_B, outcome.steps_B, scalars_BV, strict=True)
    return [f.tobytes() + s.tobytes() + v.tobytes() for f, s, v in parts]


def test_reports_one_number_and_its_steps_for_each_member(case: Parts) -> None:
    outcome = evaluate(case, range(B))
    assert outcome.fitness_B.shape == outcome.steps_B.shape == (B,)
    assert outcome.fitness_B.dtype == np.float64 and outcome.steps_B.dtype == np.int64
    assert np.isfinite(outcome.fitness_B).all() and outcome.steps_B.min() >= 1
    assert outcome.episodes % B == 0
    assert len(set(outcome.fitness_B.tolist())) > 1


def test_reports_the_scalars_that_it_names(case: Parts) -> None:
    names, scalars_BV = case.task.scalars, evaluate(case, range(B)).scalars_BV
    assert type(names) is tuple and all(type(name) is str and case.task.meaning(name) for name in names)
    assert (scalars_BV is None) == (not names)
    assert scalars_BV is None or (scalars_BV.shape == (B, len(names)) and scalars_BV.dtype == np.float32)


def test_companions_and_order_change_no_bit(case: Parts) -> None:
    together = bits(evaluate(case, range(B)))
    numbers = np.random.default_rng(0)
    for count in (1, 2, 3, 7, B):
        who = numbers.permutation(B)[:count].tolist()
        assert bits(evaluate(case, who)) == [together[member] for member in who], f"differs among {who}"


def test_the_same_members_get_the_same_again(case: Parts) -> None:
    """What an earlier evaluation left behind plays no part."""
    first = bits(evaluate(case, range(B)))
    evaluate(case, [3, 4, 5], training=False)
    assert bits(evaluate(case, range(B))) == first


def test_travels_small_and_gives_the_same_on_arrival(case: Parts) -> None:
    expected = bits(evaluate(case, range(B)))
    data = pickle.dumps(case.task)  # it has made its environments; they stay
    assert len(data) < 3_000, "names and settings, no data"
    assert bits(evaluate(case, range(B), pickle.loads(data))) == expected


def test_says_what_policies_see_and_answer(case: Parts) -> None:
    task = pickle.loads(pickle.dumps(case.task))
    assert all(type(n) is int for n in task.observation_shape)
    assert type(task.action_size) is int
    assert task.name == task.name.strip() and "/" not in task.name and task.name
    assert task.reward_threshold is None or type(task.reward_threshold) is float
    assert 0 <= task.observation_fraction <= 1


def test_its_arguments_have_types_and_defaults(case: Parts) -> None:
    parameters = inspect.signature(type(case.task)).parameters.values()
    assert all(p.annotation is not p.empty and p.default is not p.empty for p in parameters)


@pytest.mark.parametrize("memory", [False, True])
@pytest.mark.parametrize("per_member", [1, 3])
def test_the_number_of_slots_changes_no_bit(memory: bool, per_member: int) -> None:
    outcomes = set()
    for slots in (1, 3, 16, 50):
        task = Gym(DRIFT, slots=slots, episodes_per_member=per_member, action_noise=0.3, reward_shift=0.1)
        outcomes.add(tuple(bits(evaluate(with_policy(task, memory), range(B)))))
    assert len(outcomes) == 1
