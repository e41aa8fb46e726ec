"""Virtual batch normalisation (Salimans et al. 2016, arXiv:1606.03498, section 3.4).

Salimans et al. 2017, arXiv:1703.03864, section 2.1, need it for Atari: without it, small changes of a deep policy's
parameters often leave its actions as they are. Each layer is normalised by mean and variance of its own activations on
a reference batch, observations that stay the same throughout a run. The statistics are a function of the policy's
parameters, so each member has its own, and they are fixed while it acts.

Axes: K observations of the reference batch, C channels, B members.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from distes.errors import ConfigurationError, raised
from distes.policies.base import StatefulPolicy
from distes.population import Floats

OBSERVATIONS = 128  # of a reference batch, as in Uber's deep-neuroevolution
STATISTICS = ("mean", "variance")
TWICE = "a VirtualBatchNorm is called twice in one forward: use one layer for each place"
NORMALIZATIONS = ("none", "virtual_batch")


class ReferenceBatch:
    """The observations of a reference batch. Copies of a policy share them."""

    def __init__(self, rows_KO: NDArray[np.float32]) -> None:
        """Keeps a copy.

        Args:
            rows_KO: As the policy receives observations, (K, *shape) float32.
        """
        self.rows_KO: Floats = np.array(rows_KO, np.float32, order="C")
        self.rows_KO.setflags(write=False)

    def __deepcopy__(self, memo: object) -> "ReferenceBatch":
        return self

    def digest(self) -> str:
        """Returns the beginning of the SHA-256 of the observations."""
        return hashlib.sha256(self.rows_KO.tobytes()).hexdigest()[:16]


class VirtualBatchNorm(nn.Module):
    """Normalises each channel by its mean and variance on the reference batch, then scales and shifts it.

    y = weight * (x - mean) / sqrt(variance + eps) + bias, where weight and bias are searched. In a run, the reference
    batch comes from the task; a layer without one has mean 0 and variance 1. A forward may call a layer once.

    Attributes:
        mean: Mean of each channel on the reference batch, (C,): a buffer, saved with the module.
        variance: Its variance, with divisor K, or K times the positions of an image.
        reference: The reference batch, or None. It is not saved: a loaded policy needs the statistics alone.
        width: Numbers of one row at this layer, known once the statistics have been measured.
        measured: None, except while statistics are measured.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, features: int, *, eps: float = 1e-3) -> None:
        """Starts with weights of 1, biases of 0, means of 0 and variances of 1.

        Args:
            features: C, channels of an image or numbers of a vector.
            eps: Added to the variance; 1e-3 as in Uber's ESAtariPolicy.
        """
        super().__init__()
        if features < 1:
            raise ConfigurationError(f"features must be at least 1; got {features}.", argument="features")
        if not 0 < eps < float("inf"):
            raise ConfigurationError(f"eps must be a positive number; got {eps}.", argument="eps")
        self.features, self.eps = features, eps
        self.weight, self.bias = nn.Parameter(torch.ones(features)), nn.Parameter(torch.zeros(features))
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("variance", torch.ones(features))
        self.reference: ReferenceBatch | None = None
        self.width = features
        self.measured: tuple[Tensor, ...] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Maps (rows, C) or (rows, C, ...) to the same."""
        mean, variance = self.mean, self.variance
        if self.measured is not None:
            self.measured = mean, variance = self._measure(x)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean * scale
        sides = self.features, *[1] * (x.dim() - 2)
        return torch.addcmul(shift.view(sides), x, scale.view(sides))

    def _measure(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.measured:
            raise ValueError(TWICE)
        require_channels(x, self.features)
        self.width = x.numel() // len(x)
        mean_1C, variance_1C = moments(x.unsqueeze(0))
        return mean_1C[0], variance_1C[0]

    def extra_repr(self) -> str:
        """The arguments, as `print(module)` shows them."""
        return f"{self.features}, eps={self.eps}"


def is_virtual(normalization: str) -> bool:
    """Whether a policy's argument `normalization` asks for virtual batch normalisation.

    Raises:
        ConfigurationError: It is neither `none` nor `virtual_batch`.
    """
    if normalization not in NORMALIZATIONS:
        raise ConfigurationError(
            f"normalization must be one of {', '.join(NORMALIZATIONS)}; got {normalization!r}.",
            argument="normalization",
        )
    return normalization == "virtual_batch"


def require_channels(x: Tensor, features: int) -> None:
    """Checks the form of a layer's input.

    Raises:
        ValueError: It is not (rows, C) or (rows, C, ...).
    """
    if x.dim() < 2 or x.shape[1] != features:
        raise ValueError(f"VirtualBatchNorm({features}) takes (rows, {features}, ...); got {tuple(x.shape)}")


def moments(x_BK: Tensor) -> tuple[Tensor, Tensor]:
    """Returns mean and variance of each channel over rows and positions, (B, C) each, of (B, K, C, ...).

    Each channel's numbers lie side by side while they are summed, so the bits of a member do not depend on the others.
    """
    x_BCX = x_BK.transpose(1, 2).flatten(2).contiguous()
    mean_BC1 = x_BCX.mean(2, keepdim=True)
    return mean_BC1[..., 0], (x_BCX - mean_BC1).square().mean(2)


def layers_of(module: nn.Module) -> dict[str, VirtualBatchNorm]:
    """Returns the module's layers with virtual batch normalisation, by name."""
    return {name: layer for name, layer in module.named_modules() if isinstance(layer, VirtualBatchNorm)}


def reference_of(module: nn.Module) -> ReferenceBatch | None:
    """Returns the module's reference batch; None if it needs none, or has none yet."""
    return next((layer.reference for layer in layers_of(module).values()), None)


def set_reference(module: nn.Module, rows_KO: NDArray[np.float32]) -> None:
    """Gives a module its reference batch, and measures its statistics. A module without such layers stays as it is.

    Args:
        module: The policy.
        rows_KO: Observations, (K, *shape) float32, as it receives them.

    Raises:
        ConfigurationError: The module cannot run on them.
    """
    reference = ReferenceBatch(rows_KO)
    for layer in layers_of(module).values():
        layer.reference = reference
    try:
        measure(module)
    except Exception as error:
        raise ConfigurationError(
            f"The policy {type(module).__name__} has VirtualBatchNorm layers, and cannot run on their reference batch, "
            f"{len(rows_KO)} observations at once: it {raised(error)}."
        ) from error


def measure(module: nn.Module) -> None:
    """Measures the statistics of a module with its present parameters, if it has a reference batch."""
    reference = reference_of(module)
    if reference is None:
        return
    with torch.no_grad():
        for name, value in statistics(module, lambda: module(*inputs_of(module, reference))).items():
            module.get_buffer(name).copy_(value)


def inputs_of(module: nn.Module, reference: ReferenceBatch) -> tuple[Tensor, ...]:
    """Returns what the module is called with: the reference batch and, for a policy with memory, its initial state."""
    x_K = torch.tensor(reference.rows_KO)
    return (x_K, module.initial_state(len(x_K))) if isinstance(module, StatefulPolicy) else (x_K,)


def statistics(module: nn.Module, call: Callable[[], object]) -> dict[str, Tensor]:
    """Calls a module, whose layers measure their statistics from the input that they get, one layer after the other.

    Args:
        module: The module; its buffers keep their values.
        call: Calls it on the reference batch.

    Returns:
        New values of the buffers `mean` and `variance`, by name.

    Raises:
        ValueError: A layer is not called.
    """
    with _measuring(module) as layers:
        call()
        found = {}
        for name, layer in layers.items():
            if not layer.measured:
                raise ValueError(f"its VirtualBatchNorm {name!r} is not called")
            for statistic, value in zip(STATISTICS, layer.measured, strict=True):
                found[f"{name}.{statistic}".removeprefix(".")] = value
        return found


@contextmanager
def _measuring(module: nn.Module) -> Iterator[dict[str, VirtualBatchNorm]]:
    layers = layers_of(module)
    try:
        for layer in layers.values():
            layer.measured = ()
        yield layers
    finally:
        for layer in layers.values():
            layer.measured = None
