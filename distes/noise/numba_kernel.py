"""The sum of slices on a CPU, compiled by Numba.

The kernel adds eight slices in one pass: the memory delivers eight streams at a time, and the sums are read and written
an eighth as often. It is compiled at its first use on a machine, in about a second, and kept in Numba's cache: beside
this file, or in the user's cache folder, or for this process alone if neither can be written.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import overload

SLICES = 8
# The exponent bias is 15 for float16 and 127 for float32. A float16's bits, shifted to the fields of a float32, encode
# a number 2**112 times too small.
HALF_SCALE = np.float32(2.0**112)
_SIGN_EXPONENT_MANTISSA = np.int32(-0x70002000)  # 0x8FFFE000


# What is summed. The two values differ in type, so Numba compiles each form separately, and no loop has a branch.
PLAIN, SQUARED = None, True


def _number(bits: Any) -> Any:
    """Returns a float32 unchanged, and a float16, given as int16, as the float32 that is `HALF_SCALE` times smaller.

    The conversion is exact for every finite float16, subnormal ones included. It uses integer operations that every
    vector unit has.
    """
    raise NotImplementedError  # exists only in compiled code


def _number_compiled(bits: Any) -> Callable[[Any], Any]:
    if bits == types.float32:
        return lambda bits: bits
    return lambda bits: np.int32((np.int32(bits) << 13) & _SIGN_EXPONENT_MANTISSA).view(np.float32)


def _term(form: Any, bits: Any) -> Any:
    """Returns the factor of a weight: `_number(bits)`, or the rounded square of the unscaled number, by `form`."""
    raise NotImplementedError  # exists only in compiled code


def _term_compiled(form: Any, bits: Any) -> Callable[[Any, Any], Any]:
    if form == types.none:
        return lambda form, bits: _number(bits)
    if bits == types.float32:
        return lambda form, bits: bits * bits
    # Scaled before the square, which is exact; without scaling, the squares would underflow.
    return lambda form, bits: (_number(bits) * HALF_SCALE) * (_number(bits) * HALF_SCALE)


def _add_slices(form: Any, table: Any, starts_N: Any, weights_N: Any, first: int, out: Any) -> None:
    """Adds weights[i] * table[starts[i] + first + j], or the weighted square, to out[j], in the order of i.

    N is a multiple of `SLICES`, and `form` is `PLAIN` or `SQUARED`. By default, Numba neither fuses products with sums
    nor reorders sums, so the result has the bits of NumPy's arithmetic.
    """
    length = len(out)
    for i in range(0, len(starts_N), 8):
        t0 = table[starts_N[i] + first :][:length]
        t1 = table[starts_N[i + 1] + first :][:length]
        t2 = table[starts_N[i + 2] + first :][:length]
        t3 = table[starts_N[i + 3] + first :][:length]
        t4 = table[starts_N[i + 4] + first :][:length]
        t5 = table[starts_N[i + 5] + first :][:length]
        t6 = table[starts_N[i + 6] + first :][:length]
        t7 = table[starts_N[i + 7] + first :][:length]
        w0, w1, w2, w3 = weights_N[i], weights_N[i + 1], weights_N[i + 2], weights_N[i + 3]
        w4, w5, w6, w7 = weights_N[i + 4], weights_N[i + 5], weights_N[i + 6], weights_N[i + 7]
        for j in range(length):
            total = out[j]
            total += w0 * _term(form, t0[j])
            total += w1 * _term(form, t1[j])
            total += w2 * _term(form, t2[j])
            total += w3 * _term(form, t3[j])
            total += w4 * _term(form, t4[j])
            total += w5 * _term(form, t5[j])
            total += w6 * _term(form, t6[j])
            total += w7 * _term(form, t7[j])
            out[j] = total


def _add_bits(table: Any, starts_N: Any, weights_N: Any, thresholds: Any, scale: Any, first: int, out: Any) -> None:
    """Adds weights[i] to out[j] where table[starts[i] + first + j], times `scale`, exceeds thresholds[j].

    N is a multiple of `SLICES`. Scaling is exact: `scale` is 1, or `HALF_SCALE` for a float16 table, given as int16.
    """
    length, zero = len(out), np.float32(0)
    for i in range(0, len(starts_N), 8):
        t0 = table[starts_N[i] + first :][:length]
        t1 = table[starts_N[i + 1] + first :][:length]
        t2 = table[starts_N[i + 2] + first :][:length]
        t3 = table[starts_N[i + 3] + first :][:length]
        t4 = table[starts_N[i + 4] + first :][:length]
        t5 = table[starts_N[i + 5] + first :][:length]
        t6 = table[starts_N[i + 6] + first :][:length]
        t7 = table[starts_N[i + 7] + first :][:length]
        w0, w1, w2, w3 = weights_N[i], weights_N[i + 1], weights_N[i + 2], weights_N[i + 3]
        w4, w5, w6, w7 = weights_N[i + 4], weights_N[i + 5], weights_N[i + 6], weights_N[i + 7]
        for j in range(length):
            total, at = out[j], thresholds[j]
            total += w0 if _number(t0[j]) * scale > at else zero
            total += w1 if _number(t1[j]) * scale > at else zero
            total += w2 if _number(t2[j]) * scale > at else zero
            total += w3 if _number(t3[j]) * scale > at else zero
            total += w4 if _number(t4[j]) * scale > at else zero
            total += w5 if _number(t5[j]) * scale > at else zero
            total += w6 if _number(t6[j]) * scale > at else zero
            total += w7 if _number(t7[j]) * scale > at else zero
            out[j] = total


def _compiled(function: Callable[..., None]) -> Callable[..., None]:
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:  # "cannot cache function": no cache folder can be written
        return njit(nogil=True)(function)


overload(_number, strict=False)(_number_compiled)  # not strict: signatures have annotations
overload(_term, strict=False)(_term_compiled)
add_slices = _compiled(_add_slices)
add_bits = _compiled(_add_bits)
