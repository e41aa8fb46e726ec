"""The statistics of many members: measured once each, in blocks, whatever runs beside. Axes: B members."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from distes import VirtualBatchNorm
from distes.errors import ConfigurationError
from distes.members import statistics
from distes.members.form import Form
from distes.members.forward import Forward
from distes.members.members import Members, population_forward
from distes.members.sensitivity import Sensitivity
from distes.noise.table import NoiseTable
from distes.perturbations.dense import Dense
from distes.perturbations.low_rank import LowRank
from distes.policies.layout import Layout
from distes.policies.mlp import MLP
from distes.policies.virtual_batch_norm import set_reference
from tests.contracts.registry import referred
from tests.support.small import gaussian_members

NOISE, B = NoiseTable(size=2**16, seed=3), 12


def policy_of(sizes: tuple[int, ...] = (9, 6)) -> nn.Module:
    torch.manual_seed(0)
    return referred(MLP(5, 3, hidden_sizes=sizes, normalization="virtual_batch", output_scale=1.0), (5,), 40)


def members_of(policy: nn.Module, make: Any = Dense, count: int = B) -> Members:
    layout = Layout(policy)
    forward = population_forward(policy, layout, (5,))
    signs_B = np.resize([1, -1], count)
    return gaussian_members(
        forward, make(NOISE, layout), layout.flatten(policy), 0.2, np.arange(count) // 2 * 50, signs_B
    )


def answers(members: Members, who: Any = range(B)) -> torch.Tensor:
    x_BK = torch.from_numpy(np.random.default_rng(1).standard_normal((B, 1, 5), dtype=np.float32))
    members.select(np.array(list(who)))
    with torch.inference_mode():
        return members(x_BK[list(who)]).clone()


@pytest.mark.parametrize("make", [Dense, LowRank])
def test_each_member_is_normalised_by_its_own_activations(make: Any) -> None:
    """Its statistics are neither the centre's nor its neighbour's, and are those of a policy with its parameters."""
    policy = policy_of()
    members = members_of(policy, make)
    layout, y_BKA = Layout(policy), answers(members)
    seen = []
    for member, parameters_P in enumerate(members.parameters()):
        layout.load(policy, parameters_P)  # which measures anew
        seen.append(policy.norms[1].variance.clone())  # type: ignore[union-attr, index]
        x_BK = torch.from_numpy(np.random.default_rng(1).standard_normal((B, 1, 5), dtype=np.float32))
        with torch.no_grad():
            torch.testing.assert_close(y_BKA[member], policy(x_BK[member]), rtol=1e-4, atol=1e-5)
    assert len({tuple(variance_C.tolist()) for variance_C in seen}) == B


def test_the_size_of_blocks_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = answers(members_of(policy_of()))
    assert members_of(policy_of())._forward.statistics[-1].span.stop == 2 * (9 + 6)
    for block in (1, 5, B):
        monkeypatch.setattr(statistics, "block_size", lambda *_, block=block: block)
        assert torch.equal(answers(members_of(policy_of())), expected), f"blocks of {block}"


def test_a_member_is_measured_once_however_often_it_is_selected(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[int] = []
    own = Forward.measured

    def noting(self: Forward, rows_bQ: torch.Tensor, *rest: Any) -> torch.Tensor:
        measured.append(len(rows_bQ))
        return own(self, rows_bQ, *rest)

    members = members_of(policy_of())
    expected = answers(members_of(policy_of()))
    monkeypatch.setattr(Forward, "measured", noting)
    monkeypatch.setattr(statistics, "block_size", lambda *_: 5)
    for who in ([0, 1], [1, 0], [11], range(B), [7, 7, 3], range(B - 1, -1, -1)):
        assert torch.equal(answers(members, who), expected[list(who)])
    assert measured == [5, 2, 5]  # the blocks of the members 0, 11 and 5


def test_blocks_keep_to_the_memory_allowed() -> None:
    forward = members_of(policy_of((9, 60)))._forward
    assert statistics.block_size(forward, 100, torch.device("cpu")) == 2**22 // (40 * 60)
    assert statistics.block_size(forward, 2**20, torch.device("cpu")) == 4  # rows of many parameters
    assert statistics.block_size(forward, 2**30, torch.device("cpu")) == 1


class Frozen(nn.Module):
    """A layer whose scale and shift are not searched is no layer for many members."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.norm, self.answer = nn.Linear(5, 7), VirtualBatchNorm(7), nn.Linear(7, 3)
        self.norm.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.answer(torch.relu(self.norm(self.hidden(x))))
        return y


class Branching(Frozen):
    """Runs member by member."""

    def __init__(self) -> None:
        super().__init__()
        self.norm.requires_grad_(True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = super().forward(x)
        return torch.from_numpy(np.tanh(x.detach().numpy()))


@pytest.mark.parametrize(("make", "form"), [(Frozen, Form.VMAP), (Branching, Form.ROWS)])
def test_slower_forms_normalise_as_well(make: Any, form: Form, recwarn: Any) -> None:
    torch.manual_seed(0)
    policy = referred(make(), (5,), 40)
    members = members_of(policy)
    assert members._forward.form is form
    y_BKA, layout = answers(members), Layout(policy)
    x_BK = torch.from_numpy(np.random.default_rng(1).standard_normal((B, 1, 5), dtype=np.float32))
    for member, parameters_P in enumerate(members.parameters()):
        layout.load(policy, parameters_P)
        with torch.no_grad():
            torch.testing.assert_close(y_BKA[member], policy(x_BK[member]), rtol=1e-4, atol=1e-5)


def test_a_policy_without_a_reference_batch_is_refused() -> None:
    policy = MLP(5, 3, normalization="virtual_batch")
    with pytest.raises(
        ConfigurationError, match=r"MLP has VirtualBatchNorm layers and no reference batch: call .*set_"
    ):
        population_forward(policy, Layout(policy), (5,))


def test_sensitivity_runs_through_the_statistics() -> None:
    """Against differences of the answers, for each of which the statistics are measured anew."""
    torch.manual_seed(0)
    policy = MLP(3, 2, hidden_sizes=[4], normalization="virtual_batch", output_scale=1.0).double()
    single, layout = MLP(3, 2, hidden_sizes=[4], normalization="virtual_batch"), Layout(policy)
    rows_KO = np.random.default_rng(2).standard_normal((20, 3), dtype=np.float32)
    x_XO = np.random.default_rng(3).standard_normal((6, 3), dtype=np.float32)
    single.load_state_dict(policy.float().state_dict())
    set_reference(single, rows_KO)
    at_P = layout.flatten(single)
    got_P = Sensitivity(single, [x_XO])(at_P)

    def mean_A(parameters_P: Any) -> Any:
        layout.load(single, parameters_P.astype(np.float32))
        with torch.no_grad():
            return single(torch.from_numpy(x_XO)).double().mean(0).numpy()

    step = 1e-2
    for place in range(layout.size):
        direction_P = np.zeros(layout.size)
        direction_P[place] = step
        slope_A = (mean_A(at_P + direction_P) - mean_A(at_P - direction_P)) / (2 * step)
        assert got_P[place] == pytest.approx(np.sqrt((slope_A**2).sum()), rel=2e-2, abs=2e-3)
