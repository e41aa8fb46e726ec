"""The policies that the steps of `check.py` try for many members, and what is compared of them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from step import Case, Figures
from torch import Tensor, nn

from distes.members.cuda_graph import WARM_UP, CudaGraphs
from distes.members.gaussian import GaussianRows
from distes.members.members import Forward, Members, population_forward
from distes.noise.table import NoiseTable
from distes.perturbations.base import Perturbation
from distes.perturbations.dense import Dense
from distes.perturbations.low_rank import LowRank
from distes.policies.cnn import CNN
from distes.policies.layout import Layout
from distes.policies.mlp import MLP
from distes.policies.recurrent import Recurrent

Made = tuple[Forward, Perturbation, Any]


class Bins(nn.Module):
    """An embedding, whose table is read by numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.answer = nn.Embedding(12, 9), nn.Linear(5 * 9, 3)

    def forward(self, x: Tensor) -> Tensor:
        bins = (x.clamp(-2.9, 2.9) * 2 + 6).long()
        answer: Tensor = self.answer(torch.tanh(self.table(bins)).flatten(-2))
        return answer


POLICIES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "embedding": (Bins, (5,)),
    "mlp": (lambda: MLP(17, 6), (17,)),
    "norm": (lambda: nn.Sequential(nn.Linear(7, 16), nn.LayerNorm(16), nn.Tanh(), nn.Linear(16, 3)), (7,)),
    "gru": (lambda: Recurrent(5, 3, hidden_size=8), (5,)),
    "cnn": (lambda: CNN((4, 20, 20), 6, channels=[8, 5], kernels=[5, 3], strides=[2, 1]), (4, 20, 20)),
}
FORMS: dict[str, Callable[[NoiseTable, Layout], Perturbation]] = {"dense": Dense, "low-rank": LowRank}


def many(module: nn.Module, shape: tuple[int, ...], form: str, device: torch.device) -> Made:
    """A module for many members, their perturbation, and the centre.

    Args:
        module: Its parameters are the centre.
        shape: Of an observation.
        form: A key of `FORMS`.
        device: Where members run.
    """
    layout = Layout(module)
    forward = population_forward(module, layout, shape).to(device)
    return forward, FORMS[form](NoiseTable(size=2**20, seed=41), layout), layout.flatten(module)


def forward_of(name: str, form: str, device: torch.device) -> Made:
    """The same for one of `POLICIES`."""
    make, shape = POLICIES[name]
    torch.manual_seed(0)
    return many(make(), shape, form, device)


def members_of(made: Made, count: int, kind: torch.device | str, ids_B: Any = None) -> Members:
    """Members about the centre, plus and minus in turn; none is selected yet."""
    forward, perturbation, centre_P = made
    ids_B = np.arange(count) if ids_B is None else ids_B
    rows = GaussianRows(perturbation, 0.1, ids_B, np.resize([1, -1], count))
    return Members(forward, perturbation, centre_P, rows, kind)


def answers(forward: Forward, members: Members, x_BK: Tensor) -> Tensor:
    """What the selected members answer, as `run` makes it."""
    start_S = members.initial_state()
    with torch.inference_mode():
        if start_S is None:
            return members(x_BK).clone()
        return members.step(x_BK, start_S.repeat(*x_BK.shape[:2], 1))[0].clone()


def in_chunks(name: str, form: str, case: Case, count: int = 64) -> Figures:
    """Chunks of members, one after the other, through one graph: the bits of the layers, and nearly those of the CPU.

    Raises:
        AssertionError: They are not.
    """
    device = case.ready()
    made = {kind: forward_of(name, form, torch.device(kind)) for kind in dict.fromkeys(("cpu", device.type))}
    forward = made[device.type][0]
    captured = CudaGraphs(forward, lambda: forward.storage, after=WARM_UP)
    x_BK = torch.randn(count, 2, *POLICIES[name][1], generator=torch.Generator().manual_seed(1))
    largest = 0.0
    for generation in range(3):
        got: dict[str, Tensor] = {}
        for kind, (own, perturbation, centre_P) in made.items():
            ids_B = np.arange(count) * 50 + generation
            members = members_of((own, perturbation, centre_P + generation), count, kind, ids_B)
            members.select(np.arange(count))
            own._graphs = None
            got[kind] = answers(own, members, x_BK.to(kind))
            if kind == "cuda":
                own._graphs = captured
                for _ in range(WARM_UP + 3):
                    assert torch.equal(answers(own, members, x_BK.to(kind)), got[kind]), "a graph has other bits"
        difference = float((got[device.type].cpu() - got["cpu"]).abs().max())
        assert difference < 1e-3, f"{name}, {form}: GPU and CPU differ by {difference}"
        largest = max(largest, difference)
    assert device.type == "cpu" or len(captured._graphs) >= 1, f"{name}, {form}: nothing was recorded"
    return {"difference": largest, "graphs": len(captured._graphs)}
