"""The population forward beyond the contract of policies: which form is chosen, and what it keeps.

Axes: B members, K rows per member, P parameters.
"""

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from distes.batched import Members, population_forward
from distes.errors import ConfigurationError, DistesWarning
from distes.layout import Layout
from distes.noise import NoiseTable
from distes.perturbations.base import Perturbation
from distes.perturbations.dense import Dense
from distes.policies.linear import Linear
from distes.policies.mlp import MLP
from distes.policies.recurrent import Recurrent
from tests.environments import MixesRows, Normed, ReadsWeights, TorchGRU

NOISE = NoiseTable(size=2**16, seed=41)


def members_of(module: nn.Module, shape: tuple[int, ...], count: int = 5) -> Members:
    layout = Layout(module)
    forward = population_forward(module, layout, shape)
    ids_B = np.arange(count) * 100
    return Members(forward, Dense(NOISE, layout), layout.flatten(module), 0.3, ids_B, np.resize([1, -1], count))


def assert_like_the_module(module: nn.Module, shape: tuple[int, ...], rows: int) -> None:
    members, layout = members_of(module, shape), Layout(module)
    x_BK = torch.randn(5, rows, *shape, generator=torch.Generator().manual_seed(0))
    parameters_BP = members.parameters()
    with torch.inference_mode():
        got = members(x_BK)
    for member in range(5):
        layout.load(module, parameters_BP[member])
        with torch.no_grad():
            torch.testing.assert_close(got[member], module(x_BK[member]), rtol=1e-4, atol=1e-5)


CONVOLUTIONS: dict[str, Callable[[], nn.Conv2d]] = {
    "plain": lambda: nn.Conv2d(3, 5, 3),
    "no bias": lambda: nn.Conv2d(3, 5, 3, bias=False),
    "stride": lambda: nn.Conv2d(3, 5, (3, 2), stride=(2, 1)),
    "padding": lambda: nn.Conv2d(3, 5, 3, padding=(1, 2)),
    "dilation": lambda: nn.Conv2d(3, 5, 3, dilation=(1, 2), padding=2, stride=2),
    "a kernel of one": lambda: nn.Conv2d(3, 5, 1),
}
FOREIGN_CONVOLUTIONS: dict[str, Callable[[], nn.Conv2d]] = {
    "groups": lambda: nn.Conv2d(4, 6, 3, groups=2),
    "same padding": lambda: nn.Conv2d(4, 6, 3, padding="same"),
    "reflected padding": lambda: nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"),
}


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_equal_torch_s_own(name: str, rows: int) -> None:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # none of them needs vmap
        assert_like_the_module(nn.Sequential(CONVOLUTIONS[name](), nn.Tanh(), nn.Flatten()), (3, 8, 9), rows)


@pytest.mark.parametrize("name", FOREIGN_CONVOLUTIONS)
def test_other_convolutions_run_through_vmap(name: str) -> None:
    torch.manual_seed(0)
    with pytest.warns(DistesWarning, match="parameters outside Linear and Conv2d"):
        assert_like_the_module(nn.Sequential(FOREIGN_CONVOLUTIONS[name](), nn.Tanh(), nn.Flatten()), (4, 6, 6), 2)


def test_linear_layers_take_rows_of_any_number_of_axes() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_like_the_module(nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Flatten(), nn.Linear(18, 2)), (3, 4), 2)


def test_a_bare_layer_is_a_policy_too() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_like_the_module(nn.Linear(4, 3), (4,), 2)


class Shared(nn.Module):
    """One layer under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = self.first

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(x)))


class Tied(nn.Module):
    """Two layers with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(x)))


class SubLinear(nn.Linear):
    """A layer that is no longer what its base class is."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Normed(4), "it has parameters outside Linear and Conv2d layers"),
        (lambda: nn.Sequential(SubLinear(4, 3)), "it has parameters outside Linear and Conv2d layers"),
        (lambda: ReadsWeights(4), "its forward does not run with its layers replaced"),
        (lambda: Shared(), "its forward does not run with its layers replaced"),
        (lambda: Tied(), "it has parameters outside Linear and Conv2d layers"),
        (lambda: MixesRows(4), "its forward does not run with its layers replaced"),
    ],
    ids=["LayerNorm", "subclass", "reads weights", "shared", "tied", "mixes rows"],
)
def test_whatever_cannot_be_replaced_runs_through_vmap_and_says_so(make: Callable[[], nn.Module], reason: str) -> None:
    torch.manual_seed(0)
    module = make()
    with pytest.warns(DistesWarning, match=f"{type(module).__name__} runs through torch.func.vmap.*: {reason}"):
        assert population_forward(module, Layout(module), (4,)).vmapped
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert_like_the_module(module, (4,), 1)


def test_it_is_said_once() -> None:
    """When the form is chosen, and not with every call, nor by every worker."""
    module = Normed(4)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        members = members_of(module, (4,))
        for count in (5, 3, 5):
            members.select(np.arange(count))
            members(torch.ones(count, 1, 4))
    assert [one.category for one in seen] == [DistesWarning]


@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
def test_memory_runs_through_vmap_too() -> None:
    with pytest.warns(DistesWarning, match="TorchGRU runs through"):
        members = members_of(TorchGRU(), (5,))
    start_S = members.initial_state()
    assert start_S is not None
    assert start_S.tolist() == [0.25] * 16
    members.select(np.arange(5))
    answers, state = members.step(torch.ones(5, 1, 5), start_S.expand(5, 1, -1))
    assert answers.shape == (5, 1, 3) and state.shape == (5, 1, 16)


def test_the_policy_itself_is_left_alone() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5))
    before = Layout(module).flatten(module)
    members = members_of(module, (4,))
    members.select(np.arange(5))
    members(torch.ones(5, 1, 4))
    np.testing.assert_array_equal(Layout(module).flatten(module), before)
    assert module.training and module[0].weight.requires_grad and type(module[0]) is nn.Linear


def test_members_do_not_drop_out() -> None:
    """A policy acts as in evaluation, whatever mode its module was in."""
    members = members_of(nn.Sequential(nn.Linear(4, 30), nn.Dropout(0.5), nn.Linear(30, 2)), (4,))
    members.select(np.arange(5))
    x_BK = torch.ones(5, 1, 4)
    assert torch.equal(members(x_BK), members(x_BK))


@pytest.mark.parametrize("module", [Linear(4, 2), Normed(4)], ids=["replaced", "vmap"])
@pytest.mark.filterwarnings("ignore::distes.errors.DistesWarning")
def test_a_policy_that_cannot_take_the_observations_is_refused(module: nn.Module) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot take observations of shape \(3, 5\)"):
        population_forward(module, Layout(module), (3, 5))


class Counting(Perturbation):
    """Counts how often a member is written."""

    def __init__(self, dense: Dense) -> None:
        self.dense, self.written = dense, 0

    @property
    def number_of_directions(self) -> int:
        return self.dense.number_of_directions

    def directions(self, ids_N):  # type: ignore[no-untyped-def]
        return self.dense.directions(ids_N)

    def perturb(self, centre_P, scale, id, out_P) -> None:  # type: ignore[no-untyped-def]
        self.written += 1
        self.dense.perturb(centre_P, scale, id, out_P)

    def weighted_sum(self, ids_N, weights_N):  # type: ignore[no-untyped-def]
        return self.dense.weighted_sum(ids_N, weights_N)


def test_only_members_that_come_anew_are_written() -> None:
    module = Linear(4, 2)
    layout = Layout(module)
    counting = Counting(Dense(NOISE, layout))
    forward = population_forward(module, layout, (4,))
    members = Members(forward, counting, layout.flatten(module), 0.1, np.arange(9), np.ones(9, np.int64))
    for chosen, written in (
        ([0, 1, 2, 3], 4),
        ([0, 1, 2, 3], 4),
        ([0, 5, 2, 3], 5),  # one has finished, the next one sits in its place
        ([0, 5, 3], 6),  # the last one has moved into the place of a finished one
        ([0, 5], 6),
        ([0], 6),
    ):
        members.select(np.array(chosen))
        assert counting.written == written, chosen


def test_parameters_are_a_copy() -> None:
    members = members_of(Linear(4, 2), (4,))
    parameters_BP = members.parameters()
    parameters_BP[:] = 0
    assert np.abs(members.parameters()).min() > 0
    assert len(members) == 5


class OverRows(nn.Module):
    """Right on (rows, O), and another function on (B, K, O)."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.layer(x), dim=1)


@pytest.mark.parametrize(
    ("module", "keeps"),
    [(MLP(3, 2), True), (Linear(3, 2), True), (Recurrent(3, 2), True), (OverRows(), False)],
    ids=["MLP", "Linear", "Recurrent", "softmax over axis 1"],
)
def test_axes_are_kept_where_the_module_allows_it(module: nn.Module, keeps: bool) -> None:
    forward = population_forward(module, Layout(module), (3,))
    assert not forward.vmapped
    assert forward.keeps_axes == keeps
