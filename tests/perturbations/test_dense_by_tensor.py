"""Dense perturbations whose tensors have slices of their own. Axes: P parameters, N directions, K tensors."""

import json
import pickle
import tracemalloc
from collections.abc import Callable
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

from distes.cli import main
from distes.errors import ConfigurationError
from distes.noise.table import NoiseTable
from distes.perturbations import slices
from distes.perturbations.dense import Dense
from distes.perturbations.dense_by_tensor import DIRECTIONS, DenseByTensor
from distes.perturbations.slices import perturb_on
from distes.policies.layout import Layout
from distes.policies.linear import Linear
from tests import reference
from tests.contracts import test_perturbations


def layout_of(*sizes: int) -> Layout:
    return Layout(nn.ParameterList([nn.Parameter(torch.zeros(size)) for size in sizes]))


class Decoder(nn.Module):
    """The tensors of a small language model of eight equal blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(500, 32)
        self.blocks = nn.ModuleList(
            nn.ModuleList([nn.LayerNorm(32), nn.Linear(32, 32), nn.Linear(32, 32), nn.Linear(32, 96)]) for _ in range(8)
        )


DECODER = Layout(Decoder())
LARGEST = 500 * 32
NOISE = NoiseTable(size=2 * LARGEST, seed=31)  # less than the policy's 58,752 parameters
HALF = NoiseTable(size=2 * LARGEST, seed=31, dtype="float16")
CPU = torch.device("cpu")
SIZES = [slot.size for slot in DECODER.slots]
assert DECODER.size == 58_752


def some_ids(count: int, seed: int = 0) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(DIRECTIONS, size=count)


@pytest.mark.parametrize("noise", [NOISE, HALF], ids=["float32", "float16"])
def test_each_tensor_of_a_direction_is_a_slice_at_a_hashed_place(noise: NoiseTable) -> None:
    perturbation, ids_N = DenseByTensor(noise, DECODER), np.array([0, 1, 2, 777, 2**40, DIRECTIONS - 1])
    directions_NP, offsets_NK = perturbation.directions(ids_N), perturbation.offsets(ids_N)
    for id, direction_P, offsets_K in zip(ids_N.tolist(), directions_NP, offsets_NK.tolist(), strict=True):
        assert offsets_K == reference.tensor_offsets(id, SIZES, noise.size)
        for slot, offset in zip(DECODER.slots, offsets_K, strict=True):
            np.testing.assert_array_equal(direction_P[slot.span], noise.numbers[offset : offset + slot.size])


@given(
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=12), more=st.integers(0, 300), first=st.integers(0, 2**50)
)
def test_slices_of_a_direction_begin_at_different_numbers_of_the_table(sizes: list[int], more: int, first: int) -> None:
    """For the smallest table that is allowed, and larger ones; many a first hash would not do."""
    layout = layout_of(*sizes)
    table = max(2 * max(sizes), min(2 * layout.size, 2 * len(sizes) ** 2), 2) + more
    ids_N = np.arange(first, first + 50)
    offsets_NK = DenseByTensor(NoiseTable(size=table), layout).offsets(ids_N)
    assert offsets_NK.tolist() == [reference.tensor_offsets(id, sizes, table) for id in ids_N.tolist()]
    for offsets_K in offsets_NK.tolist():
        assert len(set(offsets_K)) == len(sizes)
        assert all(0 <= at <= table - size for at, size in zip(offsets_K, sizes, strict=True))
        if table >= 2 * layout.size:
            places = sorted(zip(offsets_K, sizes, strict=True))
            assert all(at + size <= following for (at, size), (following, _) in pairwise(places))


def test_a_second_hash_is_taken_where_the_first_will_not_do() -> None:
    """Eight tensors of ten numbers in a table of 128, in two groups of six and two: one direction in some fifteen."""
    sizes = [10] * 8
    perturbation, ids_N = DenseByTensor(NoiseTable(size=128), layout_of(*sizes)), np.arange(2000)
    first_N1 = [[reference.splitmix64(reference.splitmix64(id, 0), g) for g in range(2)] for id in range(2000)]
    taken = [
        [a % 69, b % 109] == offsets[::6]
        for (a, b), offsets in zip(first_N1, perturbation.offsets(ids_N).tolist(), strict=True)
    ]
    assert 1700 < sum(taken) < 1980


def test_from_twice_the_policy_on_no_tensors_share_a_number() -> None:
    """A direction is then one slice, as with Dense."""
    noise = NoiseTable(size=2 * DECODER.size, seed=5)
    perturbation, ids_N = DenseByTensor(noise, DECODER), some_ids(20)
    offsets_NK = perturbation.offsets(ids_N)
    np.testing.assert_array_equal(np.diff(offsets_NK, axis=1), np.tile(SIZES[:-1], (20, 1)))
    dense, weights_N = Dense(noise, DECODER), np.random.default_rng(1).standard_normal(20)
    np.testing.assert_array_equal(perturbation.directions(ids_N), dense.directions(offsets_NK[:, 0]))
    expected_P = dense.weighted_sum(offsets_NK[:, 0], weights_N)
    np.testing.assert_array_equal(perturbation.weighted_sum(ids_N, weights_N), expected_P)


def test_equally_shaped_tensors_of_a_direction_are_not_correlated() -> None:
    by_size: dict[int, list[slice]] = {}
    for slot in DECODER.slots:
        by_size.setdefault(slot.size, []).append(slot.span)
    for direction_P in DenseByTensor(NOISE, DECODER).directions(some_ids(10)):
        for size, spans in by_size.items():
            for one, other in combinations(spans, 2):
                correlation = np.corrcoef(direction_P[one], direction_P[other])[0, 1]
                assert abs(correlation) < (4 if size > 100 else 4.8) / np.sqrt(size)  # 2,880 pairs are small


def test_directions_have_mean_zero_and_identity_covariance_across_tensors() -> None:
    """A table of 32,000 numbers has the mean 0 up to 1 / sqrt(32,000), and so have directions."""
    n = 20_000
    perturbation = DenseByTensor(NOISE, DECODER)
    picked = np.array([slot.start + place for slot in DECODER.slots for place in (0, slot.size - 1)])
    ids_N = some_ids(n, seed=1)
    offsets_NK = perturbation.offsets(ids_N)
    at_NP = offsets_NK.repeat(2, axis=1) + (picked - np.array([slot.start for slot in DECODER.slots]).repeat(2))
    x_NP = NOISE.numbers[at_NP].astype(np.float64)
    np.testing.assert_array_equal(x_NP[:3], perturbation.directions(ids_N[:3])[:, picked])
    bound = 6 * (1 / np.sqrt(n) + 1 / np.sqrt(NOISE.size))
    assert (np.abs(x_NP.mean(0)) < bound).all()
    assert (np.abs(x_NP.T @ x_NP / n - np.eye(len(picked))) < 1.5 * bound).all()


CONTRACT = [
    one for name, one in vars(test_perturbations).items() if name.startswith("test_") and "mean_zero" not in name
]


@pytest.mark.parametrize("test", CONTRACT, ids=lambda test: test.__name__)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_it_keeps_the_contract_in_a_table_smaller_than_the_policy(
    test: Callable[..., None], dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = NoiseTable(size=320_000, seed=11, dtype=dtype)  # type: ignore[arg-type]
    case = test_perturbations.Case(DenseByTensor, noise)
    assert len(DenseByTensor(noise, test_perturbations.LARGE)._spans) == 2
    needs = test.__wrapped__.__code__ if hasattr(test, "__wrapped__") else test.__code__
    arguments = {"monkeypatch": monkeypatch} if "monkeypatch" in needs.co_varnames[: needs.co_argcount] else {}
    test(case=case, **arguments)


@pytest.mark.parametrize("noise", [NOISE, HALF], ids=["float32", "float16"])
def test_a_sum_is_one_float32_product_and_one_addition_after_the_other(noise: NoiseTable) -> None:
    """To the last bit; 300 directions go to compiled code."""
    perturbation = DenseByTensor(noise, DECODER)
    for count in (0, 3, 300):
        ids_N, weights_N = some_ids(count), np.random.default_rng(2).standard_normal(count)
        expected_P = np.zeros(DECODER.size, np.float32)
        for direction_P, weight in zip(perturbation.directions(ids_N), weights_N, strict=True):
            expected_P += np.float32(weight) * direction_P
        np.testing.assert_array_equal(perturbation.weighted_sum(ids_N, weights_N), expected_P)


def test_a_sum_takes_the_memory_of_one_parameter_vector() -> None:
    perturbation, ids_N, weights_N = DenseByTensor(NOISE, DECODER), some_ids(3000), np.ones(3000)
    perturbation.weighted_sum(ids_N, weights_N)  # compiles what is to be compiled
    tracemalloc.start()
    try:
        perturbation.weighted_sum(ids_N, weights_N)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    of_offsets = 3000 * len(SIZES) * 8
    assert peak < 4 * of_offsets + 4 * DECODER.size  # the vector itself is torch's, and is not seen here


def test_a_table_too_small_for_a_tensor_is_refused() -> None:
    layout = Layout(Linear(100, 10))
    with pytest.raises(
        ConfigurationError,
        match=r"table of 1,999 numbers is too small for a policy of 2 tensors, the largest of which has 1,000 "
        r"parameters.*--noise\.size to at least 2,000, better to 10,000",
    ):
        DenseByTensor(NoiseTable(size=1_999), layout)
    assert len(DenseByTensor(NoiseTable(size=2_000), layout)._spans) == 2


def test_a_table_with_too_few_places_for_many_tensors_is_refused() -> None:
    layout = layout_of(*[10] * 40)
    with pytest.raises(ConfigurationError, match=r"table of 799 numbers .* 40 tensors.* at least 800, better to 4,000"):
        DenseByTensor(NoiseTable(size=799), layout)
    DenseByTensor(NoiseTable(size=800), layout)


def test_numbers_of_no_direction_are_refused() -> None:
    perturbation = DenseByTensor(NOISE, DECODER)
    for bad in (-1, DIRECTIONS):
        with pytest.raises(ValueError, match=rf"directions are numbered 0 to {DIRECTIONS - 1}; got"):
            perturbation.weighted_sum(np.array([0, bad]), np.ones(2))


def test_nothing_is_read_before_it_is_needed() -> None:
    perturbation = DenseByTensor(NoiseTable(size=2**40), DECODER)
    assert perturbation.number_of_directions == 2**53
    assert len(pickle.dumps(perturbation)) < 20_000


@pytest.mark.parametrize("noise", [NOISE, HALF], ids=["float32", "float16"])
def test_the_form_for_gpus_does_the_same(noise: NoiseTable, monkeypatch: pytest.MonkeyPatch) -> None:
    """On tensors; here it runs on the CPU's, into rows with gaps between them."""
    perturbation, ids_B, centre_P = DenseByTensor(noise, DECODER), some_ids(3), torch.randn(DECODER.size)
    for scale_B in (torch.tensor([0.3, -0.3, 0.0]), torch.rand(3, DECODER.size)):
        expected_BP, got_BP = torch.zeros(2, 3, DECODER.size + 3)[..., 1:-2]
        perturbation.perturb(centre_P, scale_B, ids_B, expected_BP)
        with monkeypatch.context() as patch:
            patch.setattr(slices, "perturb_by_slices", lambda noise, *rest: perturb_on(noise.tensor(CPU), *rest))
            perturbation.perturb(centre_P, scale_B, ids_B, got_BP)
        assert torch.equal(got_BP, expected_BP)


@pytest.mark.gpu
def test_members_and_sums_on_a_gpu() -> None:
    perturbation, device = DenseByTensor(NOISE, DECODER), torch.device("cuda")
    ids_B, centre_P = some_ids(3), torch.randn(DECODER.size)
    for scale_B in (torch.tensor([0.3, -0.3, 0.0]), torch.rand(3, DECODER.size)):
        on_cpu = torch.zeros(3, DECODER.size)
        on_gpu = on_cpu.to(device)
        perturbation.perturb(centre_P, scale_B, ids_B, on_cpu)
        perturbation.perturb(centre_P.to(device), scale_B.to(device), ids_B, on_gpu)
        assert torch.equal(on_gpu.cpu(), on_cpu)
    ids_N, weights_N = some_ids(900), np.random.default_rng(0).standard_normal(900)
    for sum in (perturbation.weighted_sum, perturbation.weighted_sum_of_squares):
        np.testing.assert_allclose(sum(ids_N, weights_N, "cuda"), sum(ids_N, weights_N), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("strategy", ["OpenAIES", "DeepGA"])
def test_it_trains_and_resumes(strategy: str, tmp_path: Path) -> None:
    """With numbers of directions beyond 32 bits, which genomes keep."""
    flags = ["--workers", "0", "--eval_episodes", "1", "--final_episodes", "0", "--seed", "1"]
    flags += ["--task", "Function", "--task.dimension", "6", "--policy", "MLP", "--perturbation", "DenseByTensor"]
    flags += ["--strategy", strategy, "--strategy.population_size", "32", "--noise.size", "8192"]
    rows = []
    for name, first in (("whole", 4), ("parts", 2)):
        run = tmp_path / name
        assert main(["train", *flags, "--generations", str(first), "--run_dir", str(run)]) == 0
        if first < 4:
            assert main(["resume", str(run), "--generations", "4"]) == 0
        rows.append([json.loads(line)["params/sha256"] for line in (run / "metrics.jsonl").read_text().splitlines()])
    assert rows[0] == rows[1] and len(rows[0]) == 4 and len(set(rows[0])) > 1
