"""A language model's centre stays as it is whatever members do, and its noise and updates keep their numbers.

Axes: B members, N directions, P parameters.
"""

import itertools
from functools import lru_cache

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from distes.perturbations.dense import Dense
from distes.policies.language.causal_lm import Dtype
from distes.policies.layout import Slot
from distes.strategies.openai_es import OpenAIES
from tests.members.test_language_families import logits_of
from tests.support.model_families import VOCABULARY, Family

DTYPES: tuple[Dtype, ...] = ("float32", "bfloat16", "float16")
RANKS = pytest.mark.parametrize("rank", [1, None], ids=["rank 1", "dense"])
MEMBERS, TOGETHER, GENERATIONS = 1000, 50, 100


@lru_cache
def made(rank: int | None, dtype: Dtype = "float32") -> Family:
    return Family("llama, tied", rank=rank, dtype=dtype)


@RANKS
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_centre_has_the_same_bits_after_a_thousand_members(dtype: Dtype, rank: int | None) -> None:
    """And gives the same logits: it is no sum from which noise was taken away again."""
    family = made(rank, dtype)
    before, sent_P = family.centre_P.tobytes(), family.centre_P.copy()
    tokens_RT = torch.arange(12).view(2, 6)
    centre = family.members([0], [0], centre_P=sent_P)
    expected = logits_of(centre, tokens_RT)
    ids = np.repeat(np.arange(MEMBERS // 2), 2)
    members = family.members(ids.tolist(), [1, -1] * (MEMBERS // 2), centre_P=sent_P)
    for first in range(0, MEMBERS, TOGETHER):
        members.select(np.arange(first, first + TOGETHER))
        logits = logits_of(members, tokens_RT.repeat(TOGETHER, 1))
        assert logits.isfinite().all() and not torch.equal(logits[:2], expected)
    assert sent_P.tobytes() == before
    assert torch.equal(logits_of(centre, tokens_RT), expected)
    assert torch.equal(logits_of(family.members([77], [0], centre_P=sent_P), tokens_RT), expected)


@RANKS
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_member_is_moved_by_about_sigma(dtype: Dtype, rank: int | None) -> None:
    """Twice the noise moves logits about twice as far, in each number format."""
    family = made(rank, dtype)
    tokens_RT = torch.randint(0, VOCABULARY, (2, 6), generator=torch.Generator().manual_seed(2))
    centre = logits_of(family.members([0], [0]), tokens_RT).float()
    moved = []
    for sigma in (0.01, 0.02):
        members = family.members([5, 60, 700], [1, 1, 1], sigma=sigma)
        logits = logits_of(members, tokens_RT.repeat(3, 1)).float().view(3, *centre.shape)
        moved.append([float((one - centre).square().mean().sqrt()) for one in logits])
    ratio = np.array(moved[1]) / np.array(moved[0])
    assert (np.array(moved) > 0.01).all() and (ratio > 1.4).all() and (ratio < 2.8).all()


def slots_by_shape(family: Family) -> list[list[Slot]]:
    by_shape = dict[tuple[int, ...], list[Slot]]()
    for slot in family.layout.slots:
        by_shape.setdefault(tuple(sorted(slot.shape)), []).append(slot)
    return [slots for slots in by_shape.values() if len(slots) > 1]


@pytest.mark.parametrize("rank", [1, 4, None], ids=["rank 1", "rank 4", "dense"])
def test_no_two_tensors_of_a_direction_share_noise(rank: int | None) -> None:
    """Every pair of equally shaped ones, also transposed.

    The correlation of two products a b^T is that of their a times that of their b: each is below 4 / sqrt(its length).
    """
    family = made(rank)
    directions_NP = family.perturbation.directions(np.array([3, 1234, 99_999]))
    pairs = 0
    for slots in slots_by_shape(family):
        for one, other in itertools.combinations(slots, 2):
            for direction_P in directions_NP:
                first, second = (_matrix(slot, direction_P) for slot in (one, other))
                for turned in (second, second.T) if first.shape == second.T.shape else (second,):
                    most = (4 if rank is None or first.ndim < 2 else 16) / np.sqrt(first.size)
                    correlation = abs(np.corrcoef(first.ravel(), turned.ravel())[0, 1])
                    assert correlation < most, (one.name, other.name)
                    pairs += 1
    assert pairs > 50


def _matrix(slot: Slot, direction_P: NDArray[np.float32]) -> NDArray[np.float32]:
    return direction_P[slot.span].reshape(slot.shape)


@RANKS
def test_no_number_of_the_table_is_used_twice_in_a_direction(rank: int | None) -> None:
    """Numbers of normal noise are all different, so that two equal ones would be the same one."""
    family = made(rank)
    row_1Q = torch.empty(1, family.perturbation.member_size)
    zero_P = torch.zeros(family.layout.size)
    family.perturbation.perturb(zero_P, torch.ones(1), np.array([31_337]), row_1Q)
    assert len(np.unique(row_1Q.numpy())) > 0.999 * row_1Q.numel()


@RANKS
def test_updates_of_a_model_in_bfloat16_are_not_rounded_to_it(rank: int | None) -> None:
    """The applied update against the sum in float64, in one generation and in a hundred, at 1e-5 of the weights."""
    family = made(rank, "bfloat16")
    typical = float(np.sqrt(np.mean(np.square(family.centre_P, dtype=np.float64))))
    draws = np.random.default_rng(5)
    population = OpenAIES(family.centre_P, family.perturbation, 1, population_size=32, sigma=0.01).ask()
    scale = float(np.abs(_gradient(family, population.ids_N, np.ones((16, 2)) * [0.5, -0.5])).mean())
    rate = 1e-5 * typical / scale
    strategy = OpenAIES(
        family.centre_P,
        family.perturbation,
        1,
        population_size=32,
        sigma=0.01,
        optimizer="SGD",
        learning_rate=rate,
    )
    start_P, total_P = strategy.centre_P.astype(np.float64), np.zeros(family.layout.size)
    for generation in range(GENERATIONS):
        population = strategy.ask()
        fitness_N2 = draws.standard_normal((len(population.ids_N), 2))
        strategy.tell(fitness_N2)
        total_P += rate * _gradient(family, population.ids_N, _centred_ranks(fitness_N2))
        if generation in (0, GENERATIONS - 1):
            applied_P = strategy.centre_P - start_P
            assert _cosine(applied_P, total_P) > 0.999
            assert np.linalg.norm(applied_P) == pytest.approx(np.linalg.norm(total_P), rel=1e-3)
    assert np.abs(total_P).mean() < 1e-3 * typical, "updates as small as they are meant to be"


def _gradient(family: Family, ids_N: NDArray[np.int64], utility_N2: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum of the pairs' differences times their directions, over 2N, in float64."""
    directions_NP = family.perturbation.directions(ids_N).astype(np.float64)
    gradient_P: NDArray[np.float64] = (utility_N2[:, 0] - utility_N2[:, 1]) @ directions_NP / (2 * len(ids_N))
    return gradient_P


def _centred_ranks(fitness_N2: NDArray[np.float64]) -> NDArray[np.float64]:
    ranks = fitness_N2.ravel().argsort().argsort() / (fitness_N2.size - 1) - 0.5
    return ranks.reshape(fitness_N2.shape)


def _cosine(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))


def test_dense_noise_of_half_precision_is_written_in_float32() -> None:
    """A member's row is the float32 sum of the centre and its noise; only what layers read is rounded."""
    family = made(None, "bfloat16")
    assert isinstance(family.perturbation, Dense)
    parameters_BP = family.members([4, 4], [1, -1], sigma=1e-5).parameters()
    noise_P = family.perturbation.directions(np.array([4]))[0]
    np.testing.assert_array_equal(parameters_BP[0], family.centre_P + noise_P * np.float32(1e-5))
