"""The population forward beyond the contract of policies: which form is chosen, and what it keeps.

Axes: B members, K rows per member, P parameters.
"""

import copy
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from distes.errors import ConfigurationError, DistesWarning
from distes.members.cuda_graph import CudaGraphs
from distes.members.form import Form
from distes.members.layers import linear
from distes.members.members import Members, population_forward
from distes.members.trial import LEFT_OVER
from distes.noise.table import NoiseTable
from distes.perturbations.base import Perturbation
from distes.perturbations.dense import Dense
from distes.perturbations.low_rank import LowRank
from distes.policies.layout import Layout
from distes.policies.linear import Linear
from distes.policies.mlp import MLP
from distes.policies.recurrent import Recurrent
from tests.support.environments import ReadsWeights
from tests.support.policies import OF_KNOWN_LAYERS, THROUGH_VMAP, Remembers, Sloped
from tests.support.small import gaussian_members

NOISE = NoiseTable(size=2**16, seed=41)


Make = Callable[[NoiseTable, Layout], Perturbation]


def members_of(module: nn.Module, shape: tuple[int, ...], count: int = 5, make: Make = Dense) -> Members:
    layout = Layout(module)
    forward = population_forward(module, layout, shape)
    ids_B = np.arange(count) * 100
    return gaussian_members(forward, make(NOISE, layout), layout.flatten(module), 0.3, ids_B, np.resize([1, -1], count))


def assert_like_the_module(module: nn.Module, shape: tuple[int, ...], rows: int, make: Make = Dense) -> None:
    members, layout = members_of(module, shape, make=make), Layout(module)
    x_BK = torch.randn(5, rows, *shape, generator=torch.Generator().manual_seed(0))
    parameters_BP = members.parameters()
    with torch.inference_mode():
        got = members(x_BK)
    for member in range(5):
        layout.load(module, parameters_BP[member])
        with torch.no_grad():
            torch.testing.assert_close(got[member], module(x_BK[member]), rtol=1e-4, atol=1e-5)


CONVOLUTIONS: dict[str, Callable[[], nn.Module]] = {
    "plain": lambda: nn.Conv2d(4, 6, 3),
    "no bias": lambda: nn.Conv2d(4, 6, 3, bias=False),
    "stride": lambda: nn.Conv2d(4, 6, (3, 2), stride=(2, 1)),
    "a stride that does not divide the kernel": lambda: nn.Conv2d(4, 6, 5, stride=3, padding=1),
    "a stride beyond the kernel": lambda: nn.Conv2d(4, 6, 2, stride=3),
    "padding": lambda: nn.Conv2d(4, 6, 3, padding=(1, 2)),
    "dilation": lambda: nn.Conv2d(4, 6, 3, dilation=(1, 2), padding=2, stride=2),
    "dilation with a stride": lambda: nn.Conv2d(4, 6, 3, dilation=2, padding=2, stride=(2, 3)),
    "a kernel of one": lambda: nn.Conv2d(4, 6, 1),
    "groups": lambda: nn.Conv2d(4, 6, 3, groups=2),
    "depthwise": lambda: nn.Conv2d(4, 8, 3, groups=4, stride=2),
    "same padding": lambda: nn.Conv2d(4, 6, (3, 4), padding="same", dilation=(2, 1)),
    "valid padding": lambda: nn.Conv2d(4, 6, 3, padding="valid"),
    "reflected padding": lambda: nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"),
    "circular padding": lambda: nn.Conv2d(4, 6, 3, padding=(2, 1), padding_mode="circular"),
    "so large that members run one by one": lambda: nn.Conv2d(4, 6, (8, 7), padding=8),
    "large, with groups": lambda: nn.Conv2d(4, 6, (8, 7), padding=8, groups=2),
}


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("make", [Dense, LowRank, partial(LowRank, rank=2)], ids=["Dense", "LowRank", "rank 2"])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_equal_torch_s_own(name: str, make: Make, rows: int) -> None:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DistesWarning)  # none of them needs vmap
        assert_like_the_module(nn.Sequential(CONVOLUTIONS[name](), nn.Tanh(), nn.Flatten()), (4, 10, 9), rows, make)


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_in_groups_equal_torch_s_own(name: str, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The form for GPUs; here it runs on the CPU."""
    monkeypatch.setattr("distes.members.layers.convolution.IN_GROUPS", ("cpu",))
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DistesWarning)
        assert_like_the_module(nn.Sequential(CONVOLUTIONS[name](), nn.Tanh(), nn.Flatten()), (4, 10, 9), rows)


@pytest.mark.parametrize("rows", [3, 70])
@pytest.mark.parametrize("make", [Dense, LowRank], ids=["Dense", "LowRank"])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_of_many_rows_equal_torch_s_own(
    name: str, make: Make, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Member by member in the layer, or from 64 rows on through the whole policy; shared and own rows alike."""
    monkeypatch.setattr("distes.members.layers.convolution.OF_ALL_ROWS", 0)
    torch.manual_seed(0)
    module = nn.Sequential(CONVOLUTIONS[name](), nn.Tanh(), nn.Flatten())
    assert_like_the_module(module, (4, 10, 9), rows, make)
    members = members_of(module, (4, 10, 9), make=make)
    x_K = torch.randn(rows, 4, 10, 9)
    with torch.inference_mode():
        shared = members.shared(x_K)
        assert torch.equal(shared, members(x_K.expand(5, *x_K.shape)))
        members.select([3, 1])
        assert torch.equal(members.shared(x_K), shared[[3, 1]])


@pytest.mark.parametrize("rows", [1, 70])
def test_rows_that_start_apart_are_shared_as_well(rows: int) -> None:
    """Layers that see shared rows again, after a layer with parameters; and sequences, whose rows have another axis."""

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.out = nn.Linear(6, 9), nn.Linear(6, 9), nn.Linear(9, 2)

        def forward(self, x: Tensor) -> Tensor:
            answer: Tensor = self.out(torch.tanh(self.one(x)) * self.two(x))
            return answer

    for module, shape in ((Twice(), (6,)), (nn.Sequential(nn.Linear(4, 6), nn.Flatten(), nn.Linear(18, 2)), (3, 4))):
        for make in (Dense, LowRank, partial(LowRank, rank=2)):
            members, x_K = members_of(module, shape, make=make), torch.randn(rows, *shape)
            assert members._forward.shares
            torch.testing.assert_close(
                members.shared(x_K),
                members(x_K.expand(5, *x_K.shape)),
                rtol=1e-5,
                atol=1e-5 if make is not Dense else 0,
            )


class AddsItsInput(nn.Module):
    """Adds what members have made to what they share, in rows that follow each other: (K, O) + (B * K, O)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.conv(x)).flatten(1)


class Draws(nn.Module):
    """Adds noise, which members must not share."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.layer(x + torch.randn_like(x))
        return answer


@pytest.mark.filterwarnings("ignore::distes.errors.DistesWarning")
@pytest.mark.parametrize(("module", "shape"), [(AddsItsInput(), (2, 5, 5)), (Draws(), (4,)), (Sloped(), (5,))], ids=str)
def test_rows_are_repeated_where_a_module_cannot_share_them(module: nn.Module, shape: tuple[int, ...]) -> None:
    members, x_K = members_of(module, shape), torch.randn(3, *shape)
    assert not members._forward.shares
    torch.manual_seed(1)
    shared = members.shared(x_K)
    torch.manual_seed(1)
    assert torch.equal(shared, members(x_K.expand(5, *x_K.shape)))


@pytest.mark.parametrize("rank", [1, 2])
def test_the_first_product_of_low_rank_is_formed_once_for_shared_rows(
    rank: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distes.members.aligned_rows.LARGE_PAGES", 0)
    module = nn.Sequential(nn.Linear(400, 60), nn.ReLU(), nn.Linear(60, 2))
    members, x_K = members_of(module, (400,), 20, partial(LowRank, rank=rank)), torch.randn(30, 400)
    members.select(np.arange(20))
    with Largest() as seen, torch.inference_mode():
        members.shared(x_K)
    assert seen.size == 20 * 30 * 60  # nothing of (members, rows, inputs)


SEQUENCES: dict[str, Callable[[], nn.Module]] = {
    "plain": lambda: nn.Conv1d(4, 6, 3),
    "stride": lambda: nn.Conv1d(4, 6, 4, stride=2, padding=2, bias=False),
    "dilation, groups": lambda: nn.Conv1d(4, 6, 3, dilation=2, groups=2, padding="same"),
}


@pytest.mark.parametrize("make", [Dense, LowRank], ids=["Dense", "LowRank"])
@pytest.mark.parametrize("name", SEQUENCES)
def test_convolutions_in_one_dimension_equal_torch_s_own(name: str, make: Make) -> None:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_like_the_module(nn.Sequential(SEQUENCES[name](), nn.Tanh(), nn.Flatten()), (4, 11), 2, make)


@pytest.mark.parametrize(
    ("layer", "shape"), [(nn.ConvTranspose2d(4, 6, 3), (4, 6, 6)), (nn.Conv3d(2, 6, 3), (2, 5, 5, 4))], ids=str
)
@pytest.mark.parametrize("make", [Dense, LowRank], ids=["Dense", "LowRank"])
def test_other_convolutions_run_through_vmap(layer: nn.Module, shape: tuple[int, ...], make: Make) -> None:
    with pytest.warns(DistesWarning, match="parameters outside the layers that have a form for many members"):
        assert_like_the_module(nn.Sequential(layer, nn.Tanh(), nn.Flatten()), shape, 2, make)


def test_linear_layers_take_rows_of_any_number_of_axes() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_like_the_module(nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Flatten(), nn.Linear(18, 2)), (3, 4), 2)


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("make", [Dense, LowRank, partial(LowRank, rank=3)], ids=["Dense", "rank 1", "rank 3"])
@pytest.mark.parametrize("module", [lambda: MLP(200, 1), lambda: nn.Linear(9, 1, bias=False)])
def test_products_of_one_row_and_one_column_may_be_sums(
    module: Callable[[], nn.Module], make: Make, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they are on a GPU: there is no such batched product, then."""
    torch.manual_seed(0)
    monkeypatch.setattr(linear, "DOTS", ("cpu",))
    made = module()
    shape = (200,) if isinstance(made, MLP) else (9,)
    assert_like_the_module(made, shape, rows, make)
    members, products = members_of(made, shape, make=make), Products()
    members.select(np.arange(5))
    with torch.inference_mode(), products:
        members(torch.randn(5, rows, *shape))
    assert rows > 1 or products.dots == 0


class Products(TorchDispatchMode):
    """Counts batched products whose result has one number for each member, or as many as the rank."""

    dots = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if "bmm" in func.name() and output.shape[1] == 1 and output.shape[2] <= 3 and args[-1].shape[1] > 3:
            self.dots += 1
        return output


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


class TiedBias(nn.Module):
    """Two layers with one bias."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.bias = self.first.bias

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(x)))


class SubLinear(nn.Linear):
    """A layer that is no longer what its base class is."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: nn.Sequential(nn.Linear(4, 3), nn.PReLU()), rf"{LEFT_OVER}: 1 \(PReLU\)\.$"),
        (lambda: nn.Sequential(*(nn.PReLU() for _ in range(5))), rf"{LEFT_OVER}: 0 .*, 2 \(PReLU\) and 2 more\.$"),
        (lambda: nn.PReLU(), rf"{LEFT_OVER}: PReLU\.$"),
        (lambda: nn.Sequential(SubLinear(4, 3)), LEFT_OVER),
        (lambda: ReadsWeights(4), "its forward does not run with its layers replaced"),
        (lambda: Shared(), "its forward does not run with its layers replaced"),
        (lambda: Tied(), LEFT_OVER),
        (lambda: TiedBias(), LEFT_OVER),
    ],
    ids=["PReLU", "five", "alone", "subclass", "reads weights", "shared", "tied", "tied bias"],
)
def test_whatever_cannot_be_replaced_runs_through_vmap_and_says_so(make: Callable[[], nn.Module], reason: str) -> None:
    torch.manual_seed(0)
    module = make()
    with pytest.warns(DistesWarning, match=f"{type(module).__name__} runs through torch.func.vmap.*: {reason}"):
        assert population_forward(module, Layout(module), (4,)).form is Form.VMAP
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert_like_the_module(module, (4,), 1)


def test_it_is_said_once() -> None:
    """When the form is chosen, and not with every call, nor by every worker."""
    module = Sloped()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        members = members_of(module, (5,), make=LowRank)
        for count in (5, 3, 5):
            members.select(np.arange(count))
            members(torch.ones(count, 1, 5))
    assert [one.category for one in seen] == [DistesWarning]


@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
def test_memory_runs_through_vmap_too() -> None:
    with pytest.warns(DistesWarning, match="Remembers runs through"):
        members = members_of(Remembers(), (5,))
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


@pytest.mark.parametrize("module", [Linear(4, 2), Sloped()], ids=["replaced", "vmap"])
@pytest.mark.filterwarnings("ignore::distes.errors.DistesWarning")
def test_a_policy_that_cannot_take_the_observations_is_refused(module: nn.Module) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot take observations of shape \(3, 5\)"):
        population_forward(module, Layout(module), (3, 5))


class Counting(Dense):
    """Counts how often a member is written."""

    written = 0

    def perturb(self, centre_P, scale_B, ids_B, out_BQ) -> None:  # type: ignore[no-untyped-def]
        self.written += len(ids_B)
        super().perturb(centre_P, scale_B, ids_B, out_BQ)


def test_only_members_that_come_anew_are_written() -> None:
    module = Linear(4, 2)
    layout = Layout(module)
    counting = Counting(NOISE, layout)
    forward = population_forward(module, layout, (4,))
    members = gaussian_members(forward, counting, layout.flatten(module), 0.1, np.arange(9), np.ones(9, np.int64))
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


def test_two_sets_of_members_may_take_turns() -> None:
    """They share the forward's memory: who comes back finds it taken, and writes its rows again."""
    module = MLP(4, 2)
    layout = Layout(module)
    forward, centre_P = population_forward(module, layout, (4,)), layout.flatten(module)
    ids_B, signs_B, x_BK = np.arange(5) * 50, np.array([1, -1, 0, 1, -1]), torch.randn(5, 1, 4)
    for make in (Dense, LowRank):
        one, two = (
            gaussian_members(forward, make(NOISE, layout), centre_P + d, 0.1, ids_B + d, signs_B) for d in (0, 1)
        )
        seen = []
        for members, who in (
            (one, [0, 1, 2, 3]),
            (two, [4, 3]),
            (one, [0, 1, 2, 3]),
            (two, [0, 1, 2, 3, 4]),
            (one, [1]),
        ):
            members.select(np.array(who))
            seen.append(members(x_BK[who]))
        assert torch.equal(seen[0], seen[2]) and not torch.allclose(seen[0], seen[3][:4], atol=0.01)
        torch.testing.assert_close(seen[0][[1]], seen[4])
        torch.testing.assert_close(seen[1], seen[3][[4, 3]])


def test_memory_stays_in_its_place_from_chunk_to_chunk() -> None:
    """As recorded graphs need it."""
    module = MLP(4, 2)
    layout = Layout(module)
    forward = population_forward(module, layout, (4,))
    low_rank, places = LowRank(NOISE, layout), set()
    for count in (9, 3, 9):
        members = gaussian_members(
            forward, low_rank, layout.flatten(module), 0.1, np.arange(count), np.ones(count, np.int64)
        )
        members.select(np.arange(count))
        places.add(tuple(tensor.data_ptr() for tensor in forward.storage))
        memory = forward._memory.values()
        assert all(tensor.data_ptr() % 64 == 0 and tensor.stride(0) % 16 == 0 for tensor in memory)
    assert len(places) == 1


def test_a_centre_may_come_as_a_tensor_and_sigma_as_a_vector() -> None:
    module = MLP(4, 2)
    layout = Layout(module)
    forward, centre_P = population_forward(module, layout, (4,)), layout.flatten(module)
    sigma_P = np.random.default_rng(0).random(layout.size, dtype=np.float32)
    ids_B, signs_B = np.arange(40) * 50, np.resize([1, -1, 0], 40)
    members = gaussian_members(forward, Dense(NOISE, layout), torch.from_numpy(centre_P), sigma_P, ids_B, signs_B)
    expected_BP = centre_P + signs_B[:, None] * sigma_P * Dense(NOISE, layout).directions(ids_B)
    np.testing.assert_allclose(members.parameters(), expected_BP, rtol=1e-6, atol=1e-6)
    with pytest.raises(ConfigurationError, match="LowRank takes one sigma"):
        gaussian_members(forward, LowRank(NOISE, layout), centre_P, sigma_P, ids_B, signs_B).parameters()


@pytest.mark.filterwarnings("ignore::distes.errors.DistesWarning")
def test_members_run_inside_and_outside_inference_mode() -> None:
    members, x_BK = members_of(Sloped(), (5,), make=LowRank), torch.ones(5, 1, 5)
    with torch.inference_mode():
        members.select(np.arange(5))
        inside = members(x_BK)
    members.select(np.arange(4))
    members.select(np.array([0, 4, 2, 1, 3]))
    torch.testing.assert_close(members(x_BK)[[0, 3, 2, 4, 1]], inside.clone())


class Largest(TorchDispatchMode):
    """Notes the largest tensor that any operation makes."""

    def __init__(self) -> None:
        super().__init__()
        self.size = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for one in made if isinstance(made, tuple | list) else (made,):
            fresh = isinstance(one, Tensor) and one.untyped_storage().nbytes() // 4
            self.size = max(self.size, fresh or 0)
        return made


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("rank", [1, 2])
def test_low_rank_weights_are_never_formed(rows: int, rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither when members are made nor when they run: the largest thing is the rows of thin factors."""
    monkeypatch.setattr("distes.members.aligned_rows.LARGE_PAGES", 0)
    module = nn.Sequential(nn.Unflatten(-1, (4, 10, 10)), nn.Conv2d(4, 40, 5), nn.Flatten(), nn.Linear(1440, 60))
    members = members_of(module, (400,), 20, partial(LowRank, rank=rank))
    x_BK = torch.randn(20, rows, 400)
    with Largest() as seen, torch.inference_mode():
        members.select(np.arange(20))
        members(x_BK)
    images = 20 * rows * 5 * 5 * rank * 100
    assert 0 < seen.size <= max(images, 20 * rows * 1440, 20 * rank * 1800, Layout(module).size + 64)
    assert seen.size < 20 * Layout(module).size / 4


@pytest.mark.gpu
@pytest.mark.parametrize("make", [Dense, LowRank], ids=["Dense", "LowRank"])
@pytest.mark.parametrize("name", [*OF_KNOWN_LAYERS, *THROUGH_VMAP])
@pytest.mark.filterwarnings("ignore::distes.errors.DistesWarning")
def test_members_on_a_gpu_equal_those_on_the_cpu(name: str, make: Make) -> None:
    """However they are chosen: all, some in the places of others, fewer."""
    policy, shape = {**OF_KNOWN_LAYERS, **THROUGH_VMAP}[name]
    torch.manual_seed(0)
    module = policy()
    layout = Layout(module)
    forward, centre_P = population_forward(module, layout, shape), layout.flatten(module)
    ids_B, signs_B, perturbation = np.arange(9) * 50, np.resize([1, -1, 0], 9), make(NOISE, layout)
    cpu = gaussian_members(forward, perturbation, centre_P, 0.1, ids_B, signs_B)
    there = copy.deepcopy(forward).to("cuda")
    gpu = gaussian_members(there, perturbation, centre_P, 0.1, ids_B, signs_B, device="cuda")
    equal = np.testing.assert_array_equal if make is Dense else np.testing.assert_allclose  # a product may be fused
    equal(gpu.parameters(), cpu.parameters(), **({} if make is Dense else {"rtol": 1e-5, "atol": 1e-6}))
    x_BK = torch.randn(9, 2, *shape)
    start_S = cpu.initial_state()
    for who in ([0, 1, 2, 3, 4, 5], [0, 7, 2, 8, 4, 5], [6, 7, 2]):
        inputs = [x_BK[who]] if start_S is None else [x_BK[who], start_S.expand(len(who), 2, -1)]
        answers = []
        for members in (cpu, gpu):
            members.select(np.array(who))
            moved = [part.to(members.device) for part in inputs]
            got = members(*moved) if start_S is None else torch.cat(members.step(*moved), -1)
            answers.append(got.cpu())
        torch.testing.assert_close(answers[1], answers[0], rtol=1e-4, atol=1e-4)


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
    assert forward.form is Form.LAYERS
    assert forward.keeps_axes == keeps


def recorded(members: Members, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Has the members' forward recorded as on a GPU, though nothing is saved here by it; where each record was made."""
    forward, records = members._forward, list[tuple[int, ...]]()

    def record(call: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
        records.append(tuple(tensor.data_ptr() for tensor in forward.storage))
        output = call()
        return output, lambda: output.copy_(call())

    monkeypatch.setattr(forward, "_graphs", CudaGraphs(forward, lambda: forward.storage, after=3, record=record))
    return records


@pytest.mark.parametrize("make", [Dense, LowRank])
def test_what_was_recorded_gives_the_same_for_other_members_and_another_centre(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, x_BK = MLP(17, 6), torch.randn(5, 1, 17, generator=torch.Generator().manual_seed(1))
    first = members_of(module, (17,), make=make)
    records = recorded(first, monkeypatch)
    for centre_P in (first._centre_P, first._centre_P + 1, torch.from_numpy(first._centre_P) + 2):
        members = gaussian_members(
            first._forward, first._perturbation, centre_P, 0.3, np.arange(5) * 100 + 7, np.resize([1, -1], 5)
        )
        for indices in (np.arange(5), np.arange(5)[::-1], np.array([3, 4, 0, 1, 2])):
            members.select(indices)
            with torch.inference_mode():
                for _ in range(6):
                    assert torch.equal(members(x_BK), members._forward(x_BK))
    assert len(records) == 2  # the centre that came as a tensor lies elsewhere


def test_large_populations_are_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distes.members.forward.LAUNCH_BOUND", 1000)
    members = members_of(MLP(17, 6), (17,))
    records = recorded(members, monkeypatch)
    members.select(np.arange(5))
    for _ in range(10):
        members(torch.zeros(5, 1, 17))
    assert records == []


@pytest.mark.gpu
@pytest.mark.parametrize("make", [Dense, LowRank])
def test_a_graph_gives_the_bits_of_the_layers(make: Make) -> None:
    module = MLP(17, 6)
    layout = Layout(module)
    forward = population_forward(module, layout, (17,)).to("cuda")
    members = gaussian_members(
        forward, make(NOISE, layout), layout.flatten(module), 0.3, np.arange(64), np.ones(64), "cuda"
    )
    members.select(np.arange(64))
    with torch.inference_mode():
        for _ in range(120):
            x_BK = torch.randn(64, 1, 17, device="cuda")
            assert torch.equal(members(x_BK), forward(x_BK))
    assert forward._graphs is not None and len(forward._graphs._graphs) == 1
