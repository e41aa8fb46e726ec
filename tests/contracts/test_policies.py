"""Every policy gives the same for a batch of members as for members one by one.

Axes: B members, K rows per member, P parameters.
"""

import itertools
import pickle
import warnings
from collections.abc import Sequence
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from distes.members.members import Forward, Members, population_forward
from distes.noise.table import NoiseTable
from distes.policies.base import StatefulPolicy
from distes.policies.layout import Layout
from distes.policies.virtual_batch_norm import reference_of
from tests.contracts.registry import PERTURBATIONS, POLICIES, subnetwork
from tests.support.policies import OF_KNOWN_LAYERS
from tests.support.policies import THROUGH_VMAP as UNKNOWN_LAYERS
from tests.support.small import gaussian_members

# torch on its own many-member form of nn.GRUCell; ours says what the user needs to know
pytestmark = pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")

B = 7
# Subnetworks of all kinds of layers; the networks have numbers of inputs and outputs of their own.
MASKED = {
    f"Subnetwork of {kind}": (partial(subnetwork, shape, 3, f"tests.support.policies.{kind}", rescale="dynamic"), shape)
    for kind, shape in {
        "Sequences": (3, 11),
        "Discretised": (5,),
        "Nested": (7,),
        "Images": (4, 11, 9),
        "LongShort": (5,),
        "Plain": (5,),
    }.items()
}
MASKED_THROUGH_VMAP = {
    "Subnetwork of Sloped": (partial(subnetwork, (5,), 3, "tests.support.policies.Sloped", mask="bernoulli"), (5,))
}
THROUGH_VMAP = {**UNKNOWN_LAYERS, **MASKED_THROUGH_VMAP}
MODULES = {**POLICIES, **MASKED, **OF_KNOWN_LAYERS, **THROUGH_VMAP}
CASES = [(policy, perturbation) for perturbation in PERTURBATIONS for policy in MODULES]
NOISE = NoiseTable(size=2**17, seed=21)


class Case:
    """A policy, seven members about its initial parameters, and rows for each."""

    def __init__(self, name: str, perturbation: str) -> None:
        make, self.shape = MODULES[name]
        torch.manual_seed(0)
        self.module = make()
        self.layout = Layout(self.module)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore" if name in THROUGH_VMAP else "error")
            self.forward = population_forward(self.module, self.layout, self.shape)
        self.perturbation = PERTURBATIONS[perturbation](NOISE, self.layout)
        # All rows share one product where factors are thin: its last bits depend on how many rows there are.
        self.tolerance = 0.0 if not self.perturbation.row_layout.factors or self.forward.materialises else 1e-5

    def members(self, forward: Forward | None = None) -> Members:
        numbers = np.random.default_rng(1)
        perturbation = self.perturbation
        ids_B, signs_B = numbers.integers(perturbation.number_of_directions, size=B), np.array([1, -1, 1, 1, 0, -1, 1])
        return gaussian_members(
            forward or self.forward, perturbation, self.layout.flatten(self.module), 0.3, ids_B, signs_B
        )

    def inputs(self, rows: int) -> tuple[Tensor, ...]:
        """Observations (B, K, ...), and states (B, K, S) for a policy with memory."""
        generator = torch.Generator().manual_seed(2)
        x_BK = torch.randn(B, rows, *self.shape, generator=generator)
        if not isinstance(self.module, StatefulPolicy):
            return (x_BK,)
        return x_BK, torch.randn(B, rows, self.module.initial_state(1).shape[1], generator=generator)


@pytest.fixture(scope="module", params=CASES, ids=" with ".join)
def case(request: pytest.FixtureRequest) -> Case:
    return Case(*request.param)


def run(members: Members, who: Sequence[int], inputs: Sequence[Tensor]) -> list[Tensor]:
    """What the chosen members answer to their own rows: (B, K, A), and (B, K, S) for a policy with memory."""
    members.select(np.array(who))
    mine = [part[list(who)] for part in inputs]
    with torch.inference_mode():
        return [members(*mine)] if len(mine) == 1 else list(members.step(*mine))


def same(case: Case, left: list[Tensor], right: list[Tensor]) -> bool:
    """To the last bit, or to rounding."""
    if case.tolerance == 0:
        return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))
    return all(torch.allclose(a, b, rtol=case.tolerance, atol=case.tolerance) for a, b in zip(left, right, strict=True))


@pytest.mark.parametrize("rows", [1, 3])
def test_a_batch_of_members_equals_members_one_by_one(case: Case, rows: int) -> None:
    members, inputs = case.members(), case.inputs(rows)
    together = run(members, range(B), inputs)
    for member in range(B):
        alone = run(case.members(), [member], inputs)
        assert same(case, alone, [part[[member]] for part in together]), f"member {member} differs when it runs alone"


@pytest.mark.parametrize("rows", [1, 3])
def test_a_member_equals_the_module_with_its_parameters(case: Case, rows: int) -> None:
    """The module's own forward on each member's rows, with torch's own layers: the same up to rounding."""
    members, inputs = case.members(), case.inputs(rows)
    together = run(members, range(B), inputs)
    parameters_BP = members.parameters()
    for member in range(B):
        case.layout.load(case.module, parameters_BP[member])
        with torch.no_grad():
            expected = case.module(*(part[member] for part in inputs))
        for got, want in zip(together, expected if len(inputs) == 2 else [expected], strict=True):
            torch.testing.assert_close(got[member], want, rtol=1e-4, atol=1e-5)
    case.layout.load(case.module, parameters_BP[4])  # the centre


def test_companions_and_places_change_no_bit(case: Case) -> None:
    """All orders of choosing some: the member that is left, or sits elsewhere, answers the same bits."""
    members, inputs = case.members(), case.inputs(1)
    together = run(members, range(B), inputs)
    numbers = np.random.default_rng(3)
    for count in itertools.chain(range(B, 0, -1), range(1, B + 1)):
        who = numbers.permutation(B)[:count].tolist()
        assert same(case, run(members, who, inputs), [part[who] for part in together]), f"differs among {who}"


def test_a_member_may_run_in_several_rows_at_once(case: Case) -> None:
    """As with several episodes per member."""
    members, inputs = case.members(), case.inputs(1)
    assert same(
        case, run(members, [2, 5, 2, 2], inputs), [part[[2, 5, 2, 2]] for part in run(members, range(B), inputs)]
    )


def shared(members: Members, who: Sequence[int], x_K: Tensor) -> list[Tensor]:
    members.select(np.array(who))
    with torch.inference_mode():
        return [members.shared(x_K)]


@pytest.mark.parametrize("rows", [1, 3, 40])
def test_rows_that_all_share_equal_the_same_rows_repeated(case: Case, rows: int) -> None:
    """For any number of members, to the last bit where all parameters are written out."""
    members, (x_BK, *memory) = case.members(), case.inputs(rows)
    if memory:
        with pytest.raises(TypeError, match="has a memory: call members"):
            members.shared(x_BK[0])
        return
    for who in (range(B), [4, 1], [3]):
        repeated = [x_BK[:1].expand(B, *x_BK.shape[1:])]
        assert same(case, shared(members, who, x_BK[0]), run(members, who, repeated)), f"differs for {who}"


def test_who_shares_rows_changes_no_bit(case: Case) -> None:
    members, (x_BK, *memory) = case.members(), case.inputs(40)
    if memory:
        return
    together = shared(members, range(B), x_BK[0])
    numbers = np.random.default_rng(3)
    for count in (6, 3, 2, 1, 5):
        who = numbers.permutation(B)[:count].tolist()
        assert same(case, shared(members, who, x_BK[0]), [part[who] for part in together]), f"differs among {who}"


def test_memory_goes_on_where_it_was(case: Case) -> None:
    """Five steps together equal five steps alone; without memory there is no state at all."""
    members = case.members()
    start_S = members.initial_state()
    assert (start_S is not None) == isinstance(case.module, StatefulPolicy)
    if start_S is None:
        return
    x_BK, _ = case.inputs(1)

    def live(who: list[int]) -> list[Tensor]:
        state, seen = start_S.expand(B, 1, -1), []
        for _ in range(5):
            answers, stepped = run(members, who, [x_BK, state])
            state = state.clone()
            state[who] = stepped
            seen.append(answers)
        return seen

    together = live(list(range(B)))
    assert not torch.equal(together[0], together[4])
    for member in range(B):
        assert same(case, live([member]), [answers[[member]] for answers in together])


def test_members_are_centre_plus_sign_times_sigma_times_direction(case: Case) -> None:
    members = case.members()
    parameters_BP = members.parameters()
    numbers = np.random.default_rng(1)
    ids_B = numbers.integers(case.perturbation.number_of_directions, size=B)
    expected_BP = case.layout.flatten(case.module) + np.array([[1], [-1], [1], [1], [0], [-1], [1]]) * np.float32(
        0.3
    ) * case.perturbation.directions(ids_B)
    np.testing.assert_allclose(parameters_BP, expected_BP, atol=1e-6)
    np.testing.assert_array_equal(parameters_BP[4], case.layout.flatten(case.module))


def test_travels_small_and_answers_the_same(case: Case) -> None:
    """To a worker, even after it has run: the module twice at most, its reference batch once, and nothing bound."""
    inputs = case.inputs(1)
    expected = run(case.members(), range(B), inputs)
    data = pickle.dumps(case.forward)
    reference = reference_of(case.module)
    assert len(data) < 2 * 4 * case.layout.size + (0 if reference is None else reference.rows_KO.nbytes) + 40_000
    assert same(case, run(case.members(pickle.loads(data)), range(B), inputs), expected)


def test_the_layout_holds_all_parameters(case: Case) -> None:
    flat_P = case.layout.flatten(case.module)
    assert flat_P.size == case.layout.size == sum(p.numel() for p in case.module.parameters() if p.requires_grad)
    other = np.random.default_rng(4).standard_normal(case.layout.size, dtype=np.float32)
    case.layout.load(case.module, other)
    np.testing.assert_array_equal(case.layout.flatten(case.module), other)
    case.layout.load(case.module, flat_P)


def test_initial_parameters_are_a_function_of_torch_s_seed(case: Case, request: pytest.FixtureRequest) -> None:
    make, _ = MODULES[request.node.callspec.params["case"][0]]
    torch.manual_seed(0)
    np.testing.assert_array_equal(case.layout.flatten(make()), case.layout.flatten(case.module))
