"""What a recorded policy reads: the members' rows, the centre and its inputs, which stay; and nothing that is freed.

A CUDA graph knows addresses alone. Here a recorder on the processor does as it would, and notices memory that is gone.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

import distes.members.layers
from distes.members.capture_check import Reads
from distes.members.cuda_graph import WARM_UP, WIDTHS, CudaGraphs, padded
from distes.members.forward import Forward
from distes.members.layers import few_inputs
from distes.members.layers.base import MemberLayer
from distes.members.layers.cells import Cell
from distes.members.members import Members, population_forward
from distes.noise.table import NoiseTable
from distes.perturbations.base import Perturbation
from distes.perturbations.dense import Dense
from distes.perturbations.low_rank import LowRank
from distes.policies.layout import Layout
from tests.support.pointer_graphs import Freed, PointerGraphs
from tests.support.policies import OF_KNOWN_LAYERS, THROUGH_VMAP
from tests.support.small import gaussian_members

NOISE = NoiseTable(size=2**16, seed=41)
ALL = {**OF_KNOWN_LAYERS, **THROUGH_VMAP}
Make = Callable[[NoiseTable, Layout], Perturbation]

pytestmark = pytest.mark.filterwarnings("ignore::distes.errors.DistesWarning")


@pytest.fixture(autouse=True)
def _through_torch_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU: a recorder sees torch's operations, and not a loop that a busy process has compiled meanwhile."""
    monkeypatch.setattr(few_inputs, "WORTH_COMPILING", 10**12)


def made(name: str, make: Make) -> tuple[Forward, Callable[[int], Members], Callable[[Members], Tensor]]:
    """A forward, its members of a generation, and their answers."""
    policy, shape = ALL[name]
    torch.manual_seed(0)
    module = policy()
    layout = Layout(module)
    forward, perturbation, centre_P = (
        population_forward(module, layout, shape),
        make(NOISE, layout),
        layout.flatten(module),
    )
    x_BK = torch.randn(5, 2, *shape)

    def members(generation: int) -> Members:
        ids_B = np.arange(5) * 50 + generation
        chosen = gaussian_members(forward, perturbation, centre_P + generation, 0.1, ids_B, np.resize([1, -1], 5))
        chosen.select(np.arange(5))
        return chosen

    def answers(chosen: Members) -> Tensor:
        start_S = chosen.initial_state()
        with torch.inference_mode():
            got = chosen(x_BK) if start_S is None else torch.cat(chosen.step(x_BK, start_S.repeat(5, 2, 1)), -1)
        return got.clone()

    return forward, members, answers


@pytest.mark.parametrize("make", [Dense, LowRank])
@pytest.mark.parametrize("name", ALL)
def test_a_graph_serves_the_members_of_the_next_chunk(name: str, make: Make) -> None:
    """They have the rows of those before them, and layers that are bound anew."""
    forward, members, answers = made(name, make)
    graphs = PointerGraphs()
    forward._graphs = forward.graphs(after=WARM_UP, record=graphs)
    for generation in range(3):
        chosen = members(generation)
        got = [answers(chosen) for _ in range(WARM_UP + 2)]
        captured, forward._graphs = forward._graphs, None
        expected = answers(chosen)
        forward._graphs = captured
        assert all(torch.equal(one, expected) for one in got)
    assert graphs.graphs == 1 and graphs.replays == 1 + 2 * (WARM_UP + 2)


@pytest.mark.parametrize("make", [Dense, LowRank])
@pytest.mark.parametrize("name", ALL)
def test_few_graphs_serve_all_numbers_of_members(name: str, make: Make) -> None:
    """As episodes end, fewer members run; none is the worse for rows that nobody needs."""
    policy, shape = ALL[name]
    torch.manual_seed(0)
    module = policy()
    layout, most = Layout(module), 20
    forward, perturbation = population_forward(module, layout, shape), make(NOISE, layout)
    graphs = PointerGraphs()
    captured = forward.graphs(after=WARM_UP, record=graphs)
    signs_B = np.resize([1, -1], most)
    members = gaussian_members(forward, perturbation, layout.flatten(module), 0.1, np.arange(most) * 50, signs_B)
    inputs = torch.randn(most, 2, *shape)
    start_S = members.initial_state()

    def answers(count: int, graph: CudaGraphs | None) -> Tensor:
        forward._graphs = graph
        members.select(np.arange(most - count, most))
        x_BK = inputs[most - count :]
        with torch.inference_mode():
            got = members(x_BK) if start_S is None else torch.cat(members.step(x_BK, start_S.repeat(count, 2, 1)), -1)
        assert len(got) == count
        return got.clone()

    counts = list(range(most, 0, -1))
    got = {count: [answers(count, captured) for _ in range(2)] for count in counts}
    assert 0 < graphs.graphs <= WIDTHS and graphs.replays > 0 and forward._members == 3
    for count in counts:
        expected = answers(count, None)
        for one in got[count]:  # a matrix product's last bits depend on its number of rows
            torch.testing.assert_close(one, expected, rtol=1e-5, atol=1e-5)


@given(st.integers(1, 10**6), st.integers(1, 10**6))
def test_numbers_of_rows_are_padded_to_one_of_a_few(rows: int, most: int) -> None:
    rows = min(rows, most)
    assert rows <= padded(rows, most) <= most and padded(rows, most) - rows < -(-most // WIDTHS)


@pytest.mark.parametrize("most", [1, 7, 8, 9, 100, 8192])
def test_there_are_few_of_these(most: int) -> None:
    assert len({padded(rows, most) for rows in range(1, most + 1)}) <= WIDTHS


def test_it_looks_where_its_memory_is_once_for_each_choice_of_members() -> None:
    forward, members, answers = made("LayerNorm", Dense)
    graphs, looks = PointerGraphs(), list[int]()

    def storage() -> list[Tensor]:
        looks.append(1)
        return forward.storage

    forward._graphs = forward.graphs(after=WARM_UP, record=graphs)
    forward._graphs._storage = storage
    for generation in range(2):
        chosen = members(generation)
        for _ in range(50):
            answers(chosen)
    assert len(looks) <= 3 and graphs.replays == 99 - WARM_UP


@pytest.mark.parametrize("make", [Dense, LowRank])
@pytest.mark.parametrize("name", ALL)
def test_layers_read_what_is_named_and_nothing_else(name: str, make: Make) -> None:
    forward, members, _ = made(name, make)
    chosen = members(0)
    runs = forward.module if forward.materialises else forward.bound
    buffers = [x for module in (forward.module, runs) for x in module.buffers()]
    x_BK = torch.randn(5, 2, *ALL[name][1])
    start_S = chosen.initial_state()
    given = [x_BK] if start_S is None else [x_BK, start_S.repeat(5, 2, 1)]
    reads = Reads([*given, *forward.storage, *buffers])
    with torch.inference_mode(), reads:
        forward(*given)
    assert [tuple(x.shape) for x in reads.outside] == []


@pytest.mark.parametrize("make", [Dense, LowRank])
@pytest.mark.parametrize("name", ALL)
def test_memory_is_free_at_once_and_not_when_python_looks_for_cycles(name: str, make: Make) -> None:
    forward, members, answers = made(name, make)
    chosen = members(0)
    answers(chosen)
    memory = [StorageWeakRef(x.untyped_storage()) for x in forward.storage]
    forward.free()
    del chosen
    assert memory and all(one.expired() for one in memory)


def kinds(of: type[MemberLayer]) -> Iterator[type[MemberLayer]]:
    for kind in of.__subclasses__():
        if kind is not Cell:
            yield kind
        yield from kinds(kind)


def test_each_layer_is_among_these_policies() -> None:
    for module in pkgutil.iter_modules(distes.members.layers.__path__):
        importlib.import_module(f"distes.members.layers.{module.name}")
    met = set()
    for policy, shape in OF_KNOWN_LAYERS.values():
        module = policy()
        bound = population_forward(module, Layout(module), shape).bound
        met |= {type(layer) for layer in bound.modules() if isinstance(layer, MemberLayer)}
    assert met == set(kinds(MemberLayer))


class Cached(nn.Module):
    """Keeps a mask of as many rows as there were last, as positional encodings are kept."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.mask = nn.Linear(3, 2), torch.ones(0, 1)

    def forward(self, x: Tensor) -> Tensor:
        if self.mask.shape[0] != x.shape[0]:
            self.mask = torch.full((x.shape[0], 1), 2.0)
        answer: Tensor = self.layer(x * self.mask)
        return answer


def test_what_a_policy_keeps_by_itself_lives_as_long_as_the_graph_that_reads_it() -> None:
    module, graphs = Cached(), PointerGraphs()
    captured = CudaGraphs(module, after=WARM_UP, record=graphs)
    with torch.no_grad():
        for rows in (4, 6, 4, 6):
            x = torch.randn(rows, 3)
            for _ in range(WARM_UP + 2):
                assert torch.equal(captured(x), module.layer(x * 2))
    assert graphs.graphs == 2


def test_the_recorder_notices_memory_that_is_gone() -> None:
    held = [torch.ones(3)]
    graphs = PointerGraphs()
    _, replay = graphs(lambda: held[0] + 1)
    replay()
    held.clear()
    with pytest.raises(Freed, match=r"a tensor of shape \(3,\)"):
        replay()
