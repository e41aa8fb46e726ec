"""Low-rank perturbations: products of thin factors. Axes: P parameters, Q numbers of a direction, N directions."""

import json
import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from distes.cli import main
from distes.errors import ConfigurationError
from distes.noise.table import NoiseTable
from distes.perturbations import low_rank
from distes.perturbations.low_rank import LowRank, add_products
from distes.perturbations.slices import perturb_on
from distes.policies.layout import Layout
from distes.policies.linear import Linear
from distes.policies.mlp import MLP
from tests import reference

NOISE = NoiseTable(size=2**20, seed=31)
HALF = NoiseTable(size=2**20, seed=31, dtype="float16")


class Kinds(nn.Module):
    """A weight of every kind, and parameters that have no thin form."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(12, 9)
        self.conv = nn.Conv2d(6, 8, 3, groups=2)
        self.line = nn.Conv1d(3, 7, 4, bias=False)
        self.table = nn.Embedding(10, 11)
        self.gru, self.lstm = nn.GRUCell(5, 6), nn.LSTMCell(4, 5)
        self.norm, self.own = nn.LayerNorm(40), nn.Parameter(torch.zeros(20, 30))
        self.small = nn.Linear(2, 2)


LAYOUT = Layout(Kinds())
THIN = {
    **{"linear.weight": (12, 9), "conv.weight": (8, 27), "line.weight": (7, 12), "table.weight": (10, 11)},
    **{"gru.weight_ih": (5, 18), "gru.weight_hh": (6, 18), "lstm.weight_ih": (4, 20), "lstm.weight_hh": (5, 20)},
}


def slots_of(perturbation: LowRank) -> list[Any]:
    """In the order of a row: left factors, right factors, the rest."""
    places = perturbation.row_layout
    factors = places.factors.values()
    return [*(f.left for f in factors), *(f.right for f in factors), *places.dense.values()]


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_every_matrix_of_a_known_layer_gets_factors_and_nothing_else_does(rank: int) -> None:
    perturbation = LowRank(NOISE, LAYOUT, rank=rank)
    thin = {name: (m, n) for name, (m, n) in THIN.items() if rank * (m + n) < m * n}
    factors = perturbation.row_layout.factors
    assert {name: (pair.left.shape, pair.right.shape) for name, pair in factors.items()} == {
        name: ((rank, m), (rank, n)) for name, (m, n) in thin.items()
    }
    rest = LAYOUT.size - sum(m * n for m, n in thin.values())
    assert perturbation.member_size == rank * sum(m + n for m, n in thin.values()) + rest
    assert set(perturbation.row_layout.dense) == {slot.name for slot in LAYOUT.slots} - set(thin)


def test_factors_are_taken_only_where_they_are_fewer_numbers() -> None:
    def thin(module: nn.Module, rank: int) -> bool:
        return bool(LowRank(NOISE, Layout(module), rank=rank).row_layout.factors)

    assert not thin(nn.Linear(2, 2), 1)  # 4 numbers either way
    assert thin(nn.Linear(2, 3), 1)
    assert thin(nn.Linear(8, 8), 3) and not thin(nn.Linear(8, 8), 4)
    assert not thin(nn.Linear(1, 50), 1)


@pytest.mark.parametrize("noise", [NOISE, HALF], ids=["float32", "float16"])
@pytest.mark.parametrize("rank", [1, 2, 4])
def test_a_direction_is_made_of_neighbouring_numbers(noise: NoiseTable, rank: int) -> None:
    perturbation, id = LowRank(noise, LAYOUT, rank=rank), 4711
    numbers = noise.numbers[id : id + perturbation.member_size].astype(np.float64)
    got_P, place = perturbation.directions(np.array([id]))[0], 0
    for slot in slots_of(perturbation):
        assert slot.start == place  # without gaps, in this order
        place += slot.size
    assert place == perturbation.member_size
    for slot in LAYOUT.slots:
        pair = perturbation.row_layout.factors.get(slot.name)
        if pair is None:
            dense = perturbation.row_layout.dense[slot.name]
            np.testing.assert_array_equal(got_P[slot.span], numbers[dense.span])
        else:
            columns = [numbers[factor.span].reshape(factor.shape).tolist() for factor in (pair.left, pair.right)]
            expected = np.array(reference.low_rank(*columns)).reshape(-1)
            np.testing.assert_allclose(got_P[slot.span], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("noise", [NOISE, HALF], ids=["float32", "float16"])
@pytest.mark.parametrize("rank", [1, 2, 4])
def test_a_sum_equals_its_slow_twin(noise: NoiseTable, rank: int) -> None:
    layout = Layout(MLP(6, 3, hidden_sizes=[9]))
    perturbation, numbers = LowRank(noise, layout, rank=rank), np.random.default_rng(rank)
    ids_N = numbers.integers(perturbation.number_of_directions, size=30)
    weights_N = numbers.standard_normal(30)
    expected_P = reference.weighted_sum(weights_N.tolist(), perturbation.directions(ids_N).tolist())
    np.testing.assert_allclose(perturbation.weighted_sum(ids_N, weights_N), expected_P, rtol=1e-5, atol=2e-5)


def test_a_sum_is_the_same_inline_on_threads_and_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of a weight are added up alone: how they are shared out changes no bit."""
    layout = Layout(MLP(700, 40, hidden_sizes=[300]))
    perturbation, numbers = LowRank(NOISE, layout, rank=2), np.random.default_rng(0)
    ids_N = numbers.integers(perturbation.number_of_directions, size=1300)  # three blocks of directions
    weights_N = numbers.standard_normal(1300)
    sums, before = set(), torch.get_num_threads()
    try:
        for inline in (0, 2**60):
            monkeypatch.setattr(low_rank, "INLINE", inline)
            for threads in (1, 2, 3):
                torch.set_num_threads(threads)
                sums.add(perturbation.weighted_sum(ids_N, weights_N).tobytes())
                assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert len(sums) == 1


def test_no_sum_of_no_directions() -> None:
    perturbation = LowRank(NOISE, LAYOUT)
    none = np.empty(0, np.int64)
    assert perturbation.directions(none).shape == (0, LAYOUT.size)
    np.testing.assert_array_equal(perturbation.weighted_sum(none, np.empty(0)), np.zeros(LAYOUT.size, np.float32))


def test_a_slice_that_leaves_the_table_is_refused() -> None:
    perturbation = LowRank(NOISE, LAYOUT)
    for bad in (-1, perturbation.number_of_directions):
        with pytest.raises(ValueError, match=rf"numbered 0 to {perturbation.number_of_directions - 1}; got"):
            perturbation.weighted_sum(np.array([0, bad]), np.ones(2))


class Largest(TorchDispatchMode):
    """Notes the largest memory that any operation's tensor lies in, but for the noise table."""

    size = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor) and made.untyped_storage().nbytes() != NOISE.size * 4:
            self.size = max(self.size, made.untyped_storage().nbytes() // 4)
        return made


def test_a_sum_forms_nothing_of_the_size_of_all_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest thing is the sum itself, or a block of factors."""
    monkeypatch.setattr(low_rank, "INLINE", 2**60)  # in this thread, so that it is seen
    layout = Layout(MLP(400, 100, hidden_sizes=[200]))
    perturbation, ids_N = LowRank(NOISE, layout), np.arange(3000)
    with Largest() as seen:
        perturbation.weighted_sum(ids_N, np.ones(3000))  # compiles what is to be compiled, too
    tracemalloc.start()
    try:
        perturbation.weighted_sum(ids_N, np.ones(3000))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert layout.size <= seen.size <= max(layout.size, low_rank.AT_ONCE * 400)
    assert peak < 4 * 3 * layout.size  # of 3,000 times as much


@pytest.mark.parametrize("noise", [NOISE, HALF], ids=["float32", "float16"])
@pytest.mark.parametrize("rank", [1, 2])
def test_the_form_for_gpus_does_the_same(noise: NoiseTable, rank: int) -> None:
    """On tensors; here it runs on the CPU's."""
    perturbation, table = LowRank(noise, LAYOUT, rank=rank), noise.tensor(torch.device("cpu"))
    numbers = np.random.default_rng(0)
    ids_B = numbers.integers(perturbation.number_of_directions, size=6)
    centre_P = torch.from_numpy(numbers.standard_normal(LAYOUT.size, dtype=np.float32))
    scale_B = torch.tensor([0.1, -0.1, 0.0, 3.0, -0.02, 0.5])
    expected_BQ, got_BQ = torch.zeros(2, 6, perturbation.member_size + 3)[..., 1:-2]
    perturbation.perturb(centre_P, scale_B, ids_B, expected_BQ)
    perturbation.perturb_on(table, centre_P, scale_B, ids_B, got_BQ)
    assert torch.equal(got_BQ, expected_BQ)
    for slot in LAYOUT.slots:
        pair = perturbation.row_layout.factors.get(slot.name)
        if pair is None or slot.matrix is None:
            continue
        ids, weights = torch.from_numpy(ids_B), scale_B
        total_MN, parts_MN = torch.zeros(2, *slot.matrix)
        add_products(table, ids, weights, pair, slice(0, slot.matrix[0]), total_MN)
        for first in range(0, slot.matrix[0], 3):
            rows = slice(first, first + 3)
            add_products(table, ids, weights, pair, rows, parts_MN[rows])
        torch.testing.assert_close(parts_MN, total_MN)
        directions = torch.from_numpy(perturbation.directions(ids_B)[:, slot.span]).view(6, *slot.matrix)
        expected = torch.einsum("n,nij->ij", weights, directions) * rank**0.5  # the root is the caller's
        torch.testing.assert_close(total_MN, expected, rtol=1e-4, atol=1e-5)


def test_dense_members_are_made_the_same_from_a_tensor() -> None:
    layout, table = Layout(Linear(30, 4)), HALF.tensor(torch.device("cpu"))
    centre_P, scale_B, ids_B = torch.randn(layout.size), torch.tensor([0.3, -0.3]), np.array([5, 777])
    out_BP = torch.zeros(2, layout.size)
    perturb_on(table, centre_P, scale_B, ids_B, out_BP)
    slices = np.stack([HALF.numbers[i : i + layout.size].astype(np.float32) for i in ids_B])
    np.testing.assert_array_equal(out_BP, slices * scale_B.numpy()[:, None] + centre_P.numpy())


@pytest.mark.gpu
@pytest.mark.parametrize("rank", [1, 2])
def test_members_and_sums_on_a_gpu(rank: int) -> None:
    perturbation, device = LowRank(NOISE, LAYOUT, rank=rank), torch.device("cuda")
    ids_B, centre_P, scale_B = np.array([5, 77]), torch.randn(LAYOUT.size), torch.tensor([0.3, -0.3])
    on_cpu = torch.zeros(2, perturbation.member_size)
    on_gpu = on_cpu.to(device)
    perturbation.perturb(centre_P, scale_B, ids_B, on_cpu)
    perturbation.perturb(centre_P.to(device), scale_B.to(device), ids_B, on_gpu)
    assert torch.equal(on_gpu.cpu(), on_cpu)
    ids_N, weights_N = np.arange(900) * 7, np.random.default_rng(0).standard_normal(900)
    expected_P = perturbation.weighted_sum(ids_N, weights_N)
    np.testing.assert_allclose(perturbation.weighted_sum(ids_N, weights_N, "cuda"), expected_P, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("rank", [0, -3])
def test_a_rank_below_one_is_refused(rank: int) -> None:
    with pytest.raises(ConfigurationError, match=f"rank must be at least 1; got {rank}"):
        LowRank(NOISE, LAYOUT, rank=rank)


def test_a_table_too_small_for_a_direction_is_refused() -> None:
    layout = Layout(Linear(100, 10))
    with pytest.raises(
        ConfigurationError,
        match=r"table of 239 numbers is too small for directions of rank 1 of a policy of 1,010 parameters, which are "
        r"slices of 120 numbers: set --noise\.size to at least 240, better to 1,200",
    ):
        LowRank(NoiseTable(size=239), layout)
    assert LowRank(NoiseTable(size=240), layout).number_of_directions == 121


def test_nothing_is_read_before_it_is_needed() -> None:
    perturbation = LowRank(NoiseTable(size=2**40), LAYOUT)
    assert perturbation.number_of_directions == 2**40 - perturbation.member_size + 1
    assert len(pickle.dumps(perturbation)) < 20_000


@pytest.mark.parametrize(
    "task",
    [
        {"class_path": "Function", "init_args": {"name": "sphere", "dimension": 6}},
        {"class_path": "Gym", "init_args": {"env": "CartPole-v1", "max_steps": 30, "slots": 4}},
    ],
    ids=["Function", "CartPole"],
)
def test_it_trains_from_yaml(task: dict[str, Any], tmp_path: Path) -> None:
    configuration = {
        "task": task,
        "policy": {"class_path": "MLP", "init_args": {"hidden_sizes": [16, 16]}},
        "strategy": {"class_path": "OpenAIES", "init_args": {"population_size": 16}},
        "perturbation": {"class_path": "LowRank", "init_args": {"rank": 1}},
        "noise": {"size": 2**16},
    }
    (tmp_path / "low_rank.yaml").write_text(json.dumps(configuration))  # JSON is YAML
    flags = ["--workers", "0", "--generations", "3", "--eval_episodes", "1", "--final_episodes", "0", "--seed", "1"]
    hashes = []
    for chunk_size in ("4", "4"):
        run = tmp_path / f"run{len(hashes)}"
        flags_of_run = [*flags, "--run_dir", str(run), "--chunk_size", chunk_size]
        assert main(["--config", str(tmp_path / "low_rank.yaml"), *flags_of_run]) == 0
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        assert len(rows) == 3 and all(np.isfinite(row["fitness/mean"]) for row in rows)
        hashes.append([row["params/sha256"] for row in rows])
    assert hashes[0] == hashes[1] and len(set(hashes[0])) == 3


def test_the_command_line_refuses_a_rank_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--task", "Function", "--perturbation", "LowRank", "--perturbation.rank", "0", "--generations", "1"]
    assert main([*flags, "--workers", "0", "--run_dir", str(tmp_path / "run")]) == 2
    assert "perturbation.rank must be at least 1; got 0" in capsys.readouterr().err
