"""Random weights that are never trained: a function of a seed and of the network's layers.

Axes: W parameters of a network, L connections of a layer.
"""

import math
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from distes.policies.layout import Layout, Slot
from distes.population import Floats

Weights = Literal["signed_constant", "kaiming_normal", "glorot_normal"]


def frozen_weights(module: nn.Module, layout: Layout, kind: Weights, seed: int) -> tuple[Floats, list[str]]:
    """Draws the weights of a module's layers; biases become 0, and other parameters keep their values.

    Args:
        module: The module; it is not changed.
        layout: The layout of its parameters.
        kind: signed_constant, kaiming_normal or glorot_normal.
        seed: From 0 to 2**64 - 1.

    Returns:
        The parameters, (W,) float32, and the names of the drawn ones, in which no number is 0.
    """
    frozen_W, drawn = layout.flatten(module), []
    for number, slot in enumerate(layout.slots):
        if slot.matrix is not None:
            frozen_W[slot.span] = _weights(slot, kind, seed, number)
            drawn.append(slot.name)
        elif slot.name.rpartition(".")[2].startswith("bias"):
            frozen_W[slot.span] = 0
    return frozen_W, drawn


def _weights(slot: Slot, kind: Weights, seed: int, number: int) -> Floats:
    raw_L = np.random.Philox(key=np.array([seed, number], np.uint64)).random_raw(slot.size)
    fan_in, fan_out = slot.fans
    # He et al. 2015, equation 10; Glorot and Bengio 2010, equation 12, for normal weights
    deviation = math.sqrt(2 / (fan_in + fan_out)) if kind == "glorot_normal" else math.sqrt(2 / fan_in)
    if kind == "signed_constant":  # Ramanujan et al. 2020, arXiv:1911.13299, section 3.3
        signs_L: Floats = np.where(raw_L >> np.uint64(63), np.float32(deviation), np.float32(-deviation))
        return signs_L
    normal_L = torch.special.ndtri(torch.from_numpy(uniform(raw_L))).numpy()
    drawn_L: Floats = (deviation * normal_L).astype(np.float32)
    return drawn_L


def uniform(raw_L: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Returns numbers above 0 and below 1, (L,) float64, from the upper 52 bits of uniform 64-bit draws, (L,)."""
    uniform_L: NDArray[np.float64] = ((raw_L >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
    return uniform_L
