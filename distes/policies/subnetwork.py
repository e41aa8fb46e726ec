"""Subnetworks: the weights of a random network stay as they are, and which of them are used is searched.

Zhou, Lan, Liu and Yosinski 2019, "Deconstructing Lottery Tickets: Zeros, Signs, and the Supermask", arXiv:1905.01067;
Ramanujan, Wortsman, Kembhavi, Farhadi and Rastegari 2020, "What's Hidden in a Randomly Weighted Neural Network?",
arXiv:1911.13299.

Axes: B members, P connections, each with a score, W parameters of the network, L connections of a layer.
"""

import copy
import hashlib
import zlib
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from distes.errors import ConfigurationError, did_you_mean
from distes.policies.base import StatefulPolicy
from distes.policies.frozen_weights import Weights, frozen_weights, uniform
from distes.policies.inner import described, made
from distes.policies.parametrized import ParametrizedPolicy

Mask = Literal["threshold", "top_k", "bernoulli"]
CHOICES = {
    "weights": ("signed_constant", "kaiming_normal", "glorot_normal"),
    "mask": ("threshold", "top_k", "bernoulli"),
    "rescale": ("none", "dynamic"),
    "initial_scores": ("zero", "normal"),
}


class Subnetwork(ParametrizedPolicy):
    """A network with frozen random weights, of which a mask keeps some: each connection has a score, which is searched.

    The weights of linear layers, convolutions, embeddings and recurrent cells are drawn from `weights_seed` and never
    change; a connection that the mask drops has the weight 0. All other parameters are frozen, too: biases are 0, and
    norms keep their initial values. A saved policy is the network with its masked weights.

        threshold   A connection is kept if its score is positive. With Gaussian noise of deviation sigma on the scores,
                    a member keeps it with the probability Phi(score / sigma), the probit in place of the sigmoid of
                    Zhou et al.
        top_k       The `density` of each layer's connections with the highest scores are kept (Ramanujan et al.,
                    section 3); equal scores share their fate.
        bernoulli   A connection is kept with the probability sigmoid(score) (Zhou et al., section 5.1). The draw is a
                    function of all the scores, so the same member always has the same mask.

    Attributes:
        mask: Which of these.
        seed: The seed of the weights.
        drawn: The names of the network's parameters that are drawn from it and masked.
        frozen_W: All frozen parameters, (W,).
    """

    frozen_W: Tensor

    def __init__(
        self,
        observation_size: int,
        observation_shape: tuple[int, ...],
        action_size: int,
        *,
        of: dict[str, Any] | None = None,
        weights: Weights = "signed_constant",
        weights_seed: int = 0,
        mask: Mask = "threshold",
        density: float = 0.5,
        rescale: Literal["none", "dynamic"] = "none",
        initial_scores: Literal["zero", "normal"] = "zero",
    ) -> None:
        """Makes the network, draws its weights, and gives each connection a score.

        Args:
            observation_size: Numbers in an observation.
            observation_shape: Shape of an observation.
            action_size: Numbers the task wants.
            of: The network, as `{class_path, init_args}` of a policy; null for MLP.
            weights: How the weights are drawn. kaiming_normal has variance 2 / fan in; signed_constant is its deviation
                with a random sign; glorot_normal has variance 2 / (fan in + fan out).
            weights_seed: The seed of the weights. It is not the run's seed, so runs can search the same network.
            mask: Which connections are kept: threshold, top_k or bernoulli.
            density: For top_k, the share of a layer's connections that is kept.
            rescale: dynamic multiplies the weights of a layer by its number of connections over the number of those
                that are kept (Zhou et al., section 5.2); none does not.
            initial_scores: zero, or normal for standard normal scores, from which genetic algorithms and random search
                take the spread of theirs.
        """
        for name, value in (
            ("weights", weights),
            ("mask", mask),
            ("rescale", rescale),
            ("initial_scores", initial_scores),
        ):
            if value not in (allowed := CHOICES[name]):
                raise ConfigurationError(
                    f"{name} must be one of {', '.join(allowed)}; got {value!r}.{did_you_mean(value, allowed)}",
                    argument=name,
                )
        if not 0 < density <= 1:
            raise ConfigurationError(f"density must be above 0 and at most 1; got {density}.", argument="density")
        if not 0 <= weights_seed < 2**64:
            raise ConfigurationError(
                f"weights_seed must be from 0 to 2**64 - 1; got {weights_seed}.", argument="weights_seed"
            )
        self._of = described(of)
        inner = made(self._of, observation_size, observation_shape, action_size)
        super().__init__(inner)
        self.mask, self.density, self.rescale = mask, density, rescale
        self.seed = weights_seed
        frozen_W, drawn = frozen_weights(inner, self.weights, weights, weights_seed)
        if not drawn:
            raise ConfigurationError(
                f"of: {type(inner).__name__} has no weights of linear layers, convolutions, embeddings or recurrent "
                "cells, whose connections could be chosen."
            )
        self.drawn = frozenset(drawn)
        self.register_buffer("frozen_W", torch.from_numpy(frozen_W))
        self.weights.load(inner, frozen_W)
        inner.requires_grad_(False)
        self.scores = _scores(inner, drawn, normal=initial_scores == "normal")
        of_name = {slot.name: slot for slot in self.weights.slots}
        self._pairs = [(slot, of_name[slot.name.removeprefix("scores.")]) for slot in self._searched.slots]
        if isinstance(inner, StatefulPolicy):
            self.__class__ = _StatefulSubnetwork  # known only once the network has been made

    @property
    def description(self) -> dict[str, Any]:
        """`class_path` and `init_args` of the network."""
        return copy.deepcopy(self._of)

    @property
    def connections(self) -> int:
        """P, the number of connections."""
        return self._searched.size

    def sha256(self) -> str:
        """Returns the SHA-256 of the frozen weights, which no search changes."""
        return hashlib.sha256(self.frozen_W.cpu().numpy().tobytes()).hexdigest()

    def parameters_of(self, searched_BP: Tensor) -> Tensor:
        """Maps scores to weights, of which those of dropped connections are 0: (B, P) -> (B, W).

        A gradient runs straight through the mask (Ramanujan et al., equation 7): that of a score is the gradient of its
        connection's weight times the frozen weight.
        """
        weights_BW = self.weights_of_bits(self.bits(searched_BP.detach()))
        if searched_BP.requires_grad:
            through_BP = searched_BP - searched_BP.detach()  # zeros, with a gradient
            weights_BW = weights_BW.clone()
            for score, weight in self._pairs:
                weights_BW[:, weight.span] += self.frozen_W[weight.span] * through_BP[:, score.span]
        return weights_BW

    def bits(self, scores_BP: Tensor) -> Tensor:
        """Returns which connections the mask keeps, (B, P) bool."""
        if self.mask == "threshold":
            return scores_BP > 0
        if self.mask == "bernoulli":
            return scores_BP > torch.stack([_logistic(row_P, self.seed) for row_P in scores_BP])
        kept = []
        for score, _ in self._pairs:
            scores_BL = scores_BP[:, score.span]
            dropped = score.size - max(1, round(self.density * score.size))
            kept.append(scores_BL >= scores_BL.kthvalue(dropped + 1, 1, keepdim=True).values)
        return torch.cat(kept, 1)

    def weights_of_bits(self, bits_BP: Tensor) -> Tensor:
        """Returns the weights of masked networks, (B, P) bool -> (B, W) float32."""
        weights_BW = self.frozen_W.repeat(len(bits_BP), 1)
        for score, weight in self._pairs:
            bits_BL, part_BL = bits_BP[:, score.span], weights_BW[:, weight.span]
            part_BL.masked_fill_(~bits_BL, 0)
            if self.rescale == "dynamic":
                kept_B1 = bits_BL.sum(1, keepdim=True).clamp_(min=1)
                part_BL *= score.size / kept_B1.to(torch.float32)
        return weights_BW

    def bits_of_weights(self, weights_W: Tensor) -> Tensor:
        """Returns the mask of a network with masked weights, (W,) -> (P,) bool; no frozen weight is 0."""
        return torch.cat([weights_W[weight.span] != 0 for _, weight in self._pairs])


class _StatefulSubnetwork(Subnetwork, StatefulPolicy):
    """A subnetwork of a policy with memory; `Subnetwork` becomes one by itself."""

    def initial_state(self, rows: int) -> Tensor:
        """Returns the network's own state at the start of an episode, (rows, S)."""
        assert isinstance(self.inner, StatefulPolicy)
        return self.inner.initial_state(rows)


def _logistic(scores_P: Tensor, seed: int) -> Tensor:
    """Draws logistic numbers, (P,): sigmoid(score) is the probability that a score is above its number."""
    on_host = scores_P.cpu().contiguous().numpy()
    key = np.array([seed, zlib.crc32(on_host.tobytes())], np.uint64)
    uniform_P = uniform(np.random.Philox(key=key).random_raw(len(on_host)))
    logistic_P = np.log(uniform_P) - np.log1p(-uniform_P)
    return torch.from_numpy(logistic_P.astype(np.float32)).to(scores_P.device)


def _scores(inner: nn.Module, drawn: list[str], *, normal: bool) -> nn.Module:
    """Modules of the network's names and types that hold the scores: layers with no other parameters."""
    root = nn.Module()
    for name, layer in inner.named_modules():
        own = {key for key, _ in layer.named_parameters(recurse=False) if f"{name}.{key}".removeprefix(".") in drawn}
        if not own:
            continue
        scores: nn.Module = copy.deepcopy(layer)
        for key, parameter in list(scores.named_parameters(recurse=False)):
            value = torch.randn(parameter.shape) if normal else torch.zeros(parameter.shape)
            scores.register_parameter(key, nn.Parameter(value) if key in own else None)
        if not name:
            return scores
        *path, last = name.split(".")
        parent = root
        for part in path:
            if part not in dict(parent.named_children()):
                parent.add_module(part, nn.Module())
            parent = parent.get_submodule(part)
        parent.add_module(last, scores)
    return root
