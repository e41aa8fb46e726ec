"""Children of a parent: Gaussian, and safe ones. Axes: P parameters, B children."""

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from distes.errors import ConfigurationError
from distes.members.genomes import Decoder
from distes.members.initialization import Initialization
from distes.members.mutations import LIMIT, MUTATIONS, Mutation, Parent, SafeByGradient
from distes.members.sensitivity import Sensitivity, safe
from distes.noise.table import NoiseTable
from distes.perturbations.dense import Dense
from distes.policies.layout import Layout
from distes.policies.mlp import MLP
from distes.policies.recurrent import Recurrent

IDS = np.array([7, 100, 31, 7, 5000])
SAFE = [name for name in MUTATIONS if name != "gaussian"]


class Made:
    def __init__(self, name: str, sigma: float, policy: Any = None) -> None:
        torch.manual_seed(0)
        self.policy = MLP(3, 2, hidden_sizes=[8] * 6, output_scale=1.0) if policy is None else policy
        layout = Layout(self.policy)
        self.parent_P = torch.from_numpy(layout.flatten(self.policy))
        self.parent = Parent(self.parent_P)
        self.dense = Dense(NoiseTable(size=2**16, seed=1), layout)
        episode = np.random.default_rng(0).standard_normal((40, 3)).astype(np.float32)
        self.sensitivity = Sensitivity(self.policy, [episode])
        self.mutation: Mutation = MUTATIONS[name](self.dense, sigma, self.sensitivity)

    def children(self, ids_B: NDArray[np.int64] = IDS) -> NDArray[np.float32]:
        out_BP = torch.full((len(ids_B), len(self.parent_P)), np.nan)
        self.mutation.write(self.parent, ids_B, out_BP)
        return out_BP.numpy()


def test_gaussian_ones_are_sigma_times_the_direction_away() -> None:
    made = Made("gaussian", 0.3)
    expected = made.parent_P.numpy() + np.float32(0.3) * made.dense.directions(IDS)
    np.testing.assert_array_equal(made.children(), expected)


@pytest.mark.parametrize("kind", ["sum", "abs"])
def test_by_gradients_each_parameter_goes_as_far_as_the_answers_allow(kind: Any) -> None:
    made = Made(f"sm_g_{kind}", 0.01)
    sensitivity_P = made.sensitivity(made.parent_P.numpy(), kind).astype(np.float64)
    change_BP = (0.01 * made.dense.directions(IDS) / safe(sensitivity_P.astype(np.float32))).clip(-LIMIT, LIMIT)
    np.testing.assert_allclose(made.children(), made.parent_P.numpy() + change_BP, rtol=1e-5, atol=1e-6)
    assert (np.abs(change_BP) == LIMIT).any() and (np.abs(change_BP) < LIMIT / 10).any()


@pytest.mark.parametrize("sigma", [0.003, 0.1])
@pytest.mark.parametrize("policy", [None, Recurrent(3, 2, output_scale=1.0)], ids=["deep", "recurrent"])
def test_by_rescaling_the_answers_change_by_sigma_along_the_direction(sigma: float, policy: Any) -> None:
    made = Made("sm_r", sigma, policy)
    before = made.sensitivity.answers(made.parent_P.numpy()).double()
    for child_P, direction_P in zip(made.children(), made.dense.directions(IDS), strict=True):
        change = (made.sensitivity.answers(child_P).double() - before).square().mean().sqrt()
        assert change.item() == pytest.approx(sigma, rel=0.01)
        change_P = (child_P - made.parent_P.numpy()).astype(np.float64)
        cosine = change_P @ direction_P / np.linalg.norm(change_P) / np.linalg.norm(direction_P)
        assert cosine > 0.999


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_child_does_not_depend_on_those_beside_it_nor_on_where_it_is_made(name: str) -> None:
    made = Made(name, 0.05)
    together, copied = made.children(), Made(name, 0.05)
    copied.mutation = pickle.loads(pickle.dumps(made.mutation))
    assert (together[0] == together[3]).all() and (together[0] != together[1]).any()
    for place in range(len(IDS)):
        assert copied.children(IDS[place : place + 1]).tobytes() == together[place].tobytes()


def test_a_gpu_makes_all_children_of_a_parent_by_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch's meta device has all of a GPU but its memory. Together they are what they are one by one."""
    made = Made("sm_g_sum", 0.05)
    alone, called, original = made.children(), list[int](), made.dense.perturb
    assert made.parent.scale_P is not None

    def perturb(centre_P: Any, scale_B: Any, ids_B: Any, out_BQ: Any) -> None:
        called.append(len(ids_B))
        original(centre_P, scale_B, ids_B, out_BQ)

    monkeypatch.setattr(made.dense, "perturb", perturb)
    there = Parent(made.parent_P.to("meta"), made.parent.scale_P.to("meta"))
    made.mutation.write(there, IDS, torch.empty(len(IDS), len(made.parent_P), device="meta"))
    assert called == [len(IDS)]
    together = torch.empty(len(IDS), len(made.parent_P))
    scale_BP = made.parent.scale_P.expand(len(IDS), -1)
    original(torch.zeros_like(made.parent_P), scale_BP, IDS, together)
    assert together.clamp_(-LIMIT, LIMIT).add_(made.parent_P).numpy().tobytes() == alone.tobytes()


def test_a_parent_s_sensitivity_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Made("sm_g_sum", 0.01)
    measured = list[int]()
    original = Sensitivity.__call__
    monkeypatch.setattr(Sensitivity, "__call__", lambda *given: measured.append(1) or original(*given))  # type: ignore[func-returns-value]
    assert isinstance(made.mutation, SafeByGradient)
    first = made.children()
    assert made.children().tobytes() == first.tobytes() and len(measured) == 1
    made.parent = Parent(made.parent_P + 0.1)
    made.children()
    assert len(measured) == 2


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_line_of_mutants_is_the_same_from_a_cold_memory_and_a_warm_one(name: str) -> None:
    made, genome = Made(name, 0.05), (5, 77, 900, 31, 6, 2000, 13)
    first = Initialization("policy", made.dense, made.parent_P.numpy())
    cold, warm = Decoder(first, made.mutation), Decoder(first, Made(name, 0.05).mutation)
    for length in range(1, len(genome) + 1):  # as generation after generation
        warm.expect([genome[:length]])
        last = warm.vector(genome[:length]).clone()
    with torch.inference_mode():  # as in the midst of a rollout
        assert torch.equal(cold.vector(genome), last)


@pytest.mark.parametrize("name", SAFE)
def test_safe_ones_must_know_the_policy(name: str) -> None:
    with pytest.raises(ConfigurationError, match="A safe mutation has to know how sensitive the policy is: hand a"):
        MUTATIONS[name](Made("gaussian", 1.0).dense, 0.1, None)


def test_by_rescaling_the_answers_change_alike_however_wild_the_policy() -> None:
    """Where plain noise of one sigma changes those of a tame one little, and those of a wild one wholly."""
    changes = dict[str, list[float]]()
    for gain in (1.0, 4.0):
        torch.manual_seed(1)
        policy = MLP(3, 2, hidden_sizes=[8] * 6, output_scale=1.0)
        for parameter in policy.parameters():
            parameter.data *= gain
        for name in ("gaussian", "sm_r"):
            made = Made(name, 0.01, policy)
            before = made.sensitivity.answers(made.parent_P.numpy())
            moved = [(made.sensitivity.answers(child_P) - before).std().item() for child_P in made.children()]
            changes.setdefault(name, []).append(float(np.median(moved)))
    ratio = {name: wild / tame for name, (tame, wild) in changes.items()}
    assert ratio["gaussian"] > 5 and ratio["sm_r"] < 2
