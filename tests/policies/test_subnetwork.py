"""Subnetworks: which weights are frozen, which connections a mask keeps, and who is refused.

Axes: B members, P connections, W parameters of the network.
"""

import math
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from distes.errors import ConfigurationError
from distes.members.genomes import Decoder, GenomeRows
from distes.members.initialization import Initialization
from distes.members.members import Members, population_forward
from distes.members.mutations import Gaussian
from distes.noise.table import NoiseTable
from distes.perturbations.dense import Dense
from distes.policies.base import StatefulPolicy
from distes.policies.layout import Layout
from distes.policies.subnetwork import Subnetwork


def made(**arguments: Any) -> Subnetwork:
    of = {"class_path": "MLP", "init_args": {"hidden_sizes": [40]}}
    return Subnetwork(30, (30,), 10, **{"of": of, "initial_scores": "normal", **arguments})


def by_hand(policy: Subnetwork, scores_P: np.ndarray) -> list[torch.Tensor]:
    """The two weights of the MLP, as torch has them, masked by thresholds."""
    weights, start = [], 0
    for name in ("hidden.0.weight", "output.weight"):
        frozen = policy.inner.get_parameter(name).detach()
        scores = torch.from_numpy(scores_P[start : start + frozen.numel()]).view(frozen.T.shape).T
        weights.append(torch.where(scores > 0, frozen, 0.0))
        start += frozen.numel()
    return weights


def test_it_runs_the_weights_whose_scores_are_positive_and_no_biases() -> None:
    torch.manual_seed(1)
    policy, x = made(), torch.randn(7, 30)
    layout = Layout(policy)
    assert layout.size == policy.connections == 30 * 40 + 40 * 10
    first, second = by_hand(policy, layout.flatten(policy))
    with torch.no_grad():
        expected = torch.tanh(x @ first.T) @ second.T
        torch.testing.assert_close(policy(x), expected)
        torch.testing.assert_close(policy.plain()(x), expected)
    assert type(policy.plain()).__name__ == "MLP" and all(one.requires_grad for one in policy.plain().parameters())


@pytest.mark.parametrize(
    ("weights", "deviation"),
    [
        ("signed_constant", math.sqrt(2 / 300)),
        ("kaiming_normal", math.sqrt(2 / 300)),
        ("glorot_normal", math.sqrt(2 / (300 + 400))),
    ],
)
def test_weights_have_the_spread_of_their_name(weights: Any, deviation: float) -> None:
    of = {"class_path": "MLP", "init_args": {"hidden_sizes": [400]}}
    policy = Subnetwork(300, (300,), 10, of=of, weights=weights)
    first = policy.inner.get_parameter("hidden.0.weight").detach().double()
    assert abs(float(first.mean())) < 4 * deviation / math.sqrt(first.numel())
    assert math.isclose(float(first.std()), deviation, rel_tol=0.02)
    assert (len(first.abs().unique()) == 1) == (weights == "signed_constant")
    assert not policy.inner.get_parameter("output.bias").any()


def test_weights_follow_from_their_seed_and_not_from_torch_s() -> None:
    digests = set()
    for torch_seed, weights_seed in ((0, 0), (1, 0), (0, 1)):
        torch.manual_seed(torch_seed)
        digests.add(made(weights_seed=weights_seed).sha256())
    assert len(digests) == 2


def test_the_draw_is_the_same_for_ever() -> None:
    """Exported files rely on it."""
    assert made().sha256() == "8704be9dc598f3419130cec1ff424c8cef184111377a3eda596f8dd881db3f20"


def test_top_k_keeps_the_highest_scores_of_each_layer() -> None:
    policy = made(mask="top_k", density=0.1)
    scores_BP = torch.randn(3, policy.connections, generator=torch.Generator().manual_seed(0))
    bits_BP = policy.bits(scores_BP)
    for layer in (slice(1200), slice(1200, None)):
        scores, bits = scores_BP[:, layer], bits_BP[:, layer]
        assert bits.sum(1).tolist() == [scores.shape[1] // 10] * 3
        for b in range(3):
            assert scores[b][bits[b]].min() > scores[b][~bits[b]].max()


def test_a_bernoulli_mask_is_drawn_by_the_sigmoid_of_its_score_and_stays_the_same() -> None:
    policy = made(mask="bernoulli")
    scores_BP = torch.linspace(-2, 2, 9).repeat_interleave(40).repeat(200, 5)[:, : policy.connections]
    scores_BP = scores_BP + 1e-3 * torch.arange(200).unsqueeze(1)
    bits_BP = policy.bits(scores_BP)
    assert torch.equal(policy.bits(scores_BP), bits_BP) and torch.equal(policy.bits(scores_BP[[7]]), bits_BP[[7]])
    assert not torch.equal(bits_BP[0], bits_BP[1])
    for score in scores_BP[0].unique():
        drawn = bits_BP[:, scores_BP[0] == score].double()
        expected = torch.sigmoid(score.double() + 0.1)  # the mean over the rows
        assert abs(float(drawn.mean() - expected)) < 4 * math.sqrt(0.25 / drawn.numel()) + 0.002


def test_dynamic_rescaling_makes_up_for_what_is_dropped() -> None:
    policy = made(rescale="dynamic")
    bits_BP = torch.zeros(2, policy.connections, dtype=torch.bool)
    bits_BP[0, :300] = True  # a quarter of the first layer; nothing of the second, and nothing at all of the other
    weights_BW = policy.weights_of_bits(bits_BP)
    frozen = policy.inner.get_parameter("hidden.0.weight").detach().T.reshape(-1)
    torch.testing.assert_close(weights_BW[0, :300], 4 * frozen[:300])
    assert not weights_BW[0, 300:1200].any() and not weights_BW[1].any()


@pytest.mark.parametrize("mask", ["threshold", "top_k", "bernoulli"])
def test_genomes_are_masks_too(mask: Any) -> None:
    """A child's weights are those of its scores by hand."""
    policy = made(mask=mask)
    layout, noise = Layout(policy), NoiseTable(size=2**16, seed=3)
    dense, forward = Dense(noise, layout), population_forward(policy, layout, (30,))
    decoder = Decoder(Initialization("policy", dense, layout.flatten(policy)), Gaussian(dense, 0.3))
    rows = GenomeRows(
        decoder, [(5,), (9, 2)], np.array([0, 1, -1], np.int32), np.array([11, 12, 13]), np.array([True, True, False])
    )
    members, x_K = Members(forward, dense, np.empty(0, np.float32), rows), torch.randn(4, 30)
    scores_BP = members.parameters()
    with torch.inference_mode():
        got = members.shared(x_K)
    for scores_P, answers in zip(scores_BP, got, strict=True):
        layout.load(policy, scores_P)
        with torch.no_grad():
            torch.testing.assert_close(answers, policy(x_K))
    assert set(np.unique(np.abs(forward.weights_of(torch.from_numpy(scores_BP)).numpy()))) == {
        0.0,
        *(np.float32(math.sqrt(2 / n)) for n in (30, 40)),
    }


def test_gradients_run_straight_through_the_mask() -> None:
    """As edge-popup's do: that of a score is the gradient of its weight, times the frozen weight."""
    policy, x = made(), torch.randn(7, 30)
    policy(x).square().sum().backward()
    plain = policy.plain()
    plain(x).square().sum().backward()
    frozen = policy.inner.get_parameter("output.weight").detach()
    expected = plain.get_parameter("output.weight").grad
    assert expected is not None
    torch.testing.assert_close(policy.get_parameter("scores.output.weight").grad, expected * frozen)
    assert policy.inner.get_parameter("output.weight").grad is None


def test_a_network_with_memory_makes_a_policy_with_memory() -> None:
    policy = Subnetwork(5, (5,), 2, of={"class_path": "Recurrent", "init_args": {"hidden_size": 6}})
    assert isinstance(policy, StatefulPolicy) and policy.initial_state(3).shape == (3, 6)
    again = pickle.loads(pickle.dumps(policy))
    assert isinstance(again, StatefulPolicy) and again.sha256() == policy.sha256()


class Weightless(nn.Module):
    """A scale for each input."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(30))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mask": "treshold"}, r"mask must be one of threshold, top_k, bernoulli; got 'treshold'\. Did you mean"),
        ({"weights": "normal"}, "weights must be one of signed_constant"),
        ({"rescale": "yes"}, "rescale must be one of none, dynamic"),
        ({"initial_scores": "one"}, "initial_scores must be one of zero, normal"),
        ({"density": 0.0}, r"density must be above 0 and at most 1; got 0\.0"),
        ({"weights_seed": -1}, "weights_seed must be from 0"),
        ({"of": "MLP"}, r"of must be a policy as \{class_path: MLP"),
        ({"of": {"class_path": "MLP", "init_arg": {}}}, "of must be a policy as"),
        ({"of": {"class_path": "MPL"}}, r"of 'MPL' is unknown.*Did you mean"),
        (
            {"of": {"class_path": "MLP", "init_args": {"hidden": [3]}}},
            r"of: MLP has no argument 'hidden'\. Did you mean",
        ),
        ({"of": {"class_path": "MLP", "init_args": {"hidden_sizes": [0]}}}, "of: hidden_sizes must all be at least 1"),
        ({"of": {"class_path": "CNN"}}, "of: CNN needs images"),
        ({"of": {"class_path": "MLP", "init_args": {"hidden_sizes": ["a"]}}}, "of: MLP cannot be made: it raised"),
        ({"of": {"class_path": "Subnetwork"}}, "of: Subnetwork has no weights of its own"),
        (
            {"of": {"class_path": "tests.policies.test_subnetwork.Weightless"}},
            "of: Weightless has no weights of linear layers",
        ),
    ],
)
def test_what_makes_no_subnetwork_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        made(**arguments)
