"""Random numbers on any torch device as a pure function of (key, counter), without a generator's state.

The numbers are those of SplitMix64 (Steele, Lea and Flood 2014, doi:10.1145/2660193.2660195). Its output number n is a
mixing function of seed + n * GOLDEN, so each output can be computed independently of the others.

Axes: R rows, one key each, N numbers per row.
"""

import math

import torch
from torch import Tensor

GOLDEN = 0x9E3779B97F4A7C15 - 2**64  # torch's integers are signed; sums and products wrap around as unsigned ones do
MIX_1 = 0xBF58476D1CE4E5B9 - 2**64
MIX_2 = 0x94D049BB133111EB - 2**64


def uniform(keys_R: Tensor, count: int, first: int | Tensor = 0) -> Tensor:
    """Returns numbers `first` to `first + count - 1` of each key's sequence, (R, N) float64, uniform in [0, 1).

    Args:
        keys_R: The keys, (R,) int64; any values.
        count: N, the numbers per key.
        first: Index of the first number: an integer, or int64 (R,).
    """
    counter_N = torch.arange(1, count + 1, device=keys_R.device)
    if isinstance(first, Tensor):
        counter_RN = counter_N + first.unsqueeze(1)
    else:
        counter_RN = (counter_N + first).unsqueeze(0)
    z = _mix(keys_R).unsqueeze(1) + counter_RN * GOLDEN  # mixed keys: adjacent ones must not give shifted sequences
    return _shift(_mix(z), 11).to(torch.float64) * 2.0**-53


def normal(keys_R: Tensor, count: int, first: int | Tensor = 0) -> Tensor:
    """Returns standard normal numbers, (R, N) float64, by the method of Box and Muller 1958.

    Number n is made of the uniform numbers 2n and 2n + 1 of its key.

    Args:
        keys_R: The keys, (R,) int64; any values.
        count: N, the numbers per key.
        first: Index of the first number: an integer, or int64 (R,).
    """
    u_RN2 = uniform(keys_R, 2 * count, 2 * first).unflatten(1, (count, 2))
    radius_RN = torch.sqrt(-2 * torch.log1p(-u_RN2[..., 0]))
    return radius_RN * torch.cos(2 * math.pi * u_RN2[..., 1])


def _mix(z: Tensor) -> Tensor:
    z = (z ^ _shift(z, 30)) * MIX_1
    z = (z ^ _shift(z, 27)) * MIX_2
    return z ^ _shift(z, 31)


def _shift(z: Tensor, bits: int) -> Tensor:
    """Shifts to the right and fills with zeros; torch's own shift fills with the sign bit."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)
