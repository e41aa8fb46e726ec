"""What a recorded policy reads: the members' rows, the centre and its inputs, which stay; and nothing that is freed.

A CUDA graph knows addresses alone. Here a recorder on the processor does as it would, and notices memory that is gone.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

import distes.members.layers
from distes.members.cuda_graph import WARM_UP, CudaGraphs, _Reads
from distes.members.forward import Forward
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
    forward._graphs = CudaGraphs(forward, lambda: forward.storage, after=WARM_UP, record=graphs)
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
def test_layers_read_what_is_named_and_nothing_else(name: str, make: Make) -> None:
    forward, members, _ = made(name, make)
    chosen = members(0)
    buffers = [x for module in (forward.module, getattr(forward, "_call", forward.module)) for x in module.buffers()]
    x_BK = torch.randn(5, 2, *ALL[name][1])
    start_S = chosen.initial_state()
    given = [x_BK] if start_S is None else [x_BK, start_S.repeat(5, 2, 1)]
    reads = _Reads([*given, *forward.storage, *buffers])
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
        met |= {type(layer) for layer in population_forward(module, Layout(module), shape)._layers}
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
