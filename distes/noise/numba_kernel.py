"""The sum of slices on a CPU, compiled by Numba.

Eight slices in one pass: so the memory has eight streams to deliver, and the sums are read and written an eighth as
often. Compiled at its first use on a machine (about a second), then kept in Numba's cache: beside this file, else in
the user's cache folder, else, where neither can be written, for this process alone.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import overload

SLICES = 8
# A float16's exponent counts from -15, a float32's from -127: its bits, moved there, say 2**112 times too little.
HALF_SCALE = np.float32(2.0**112)
_SIGN_EXPONENT_MANTISSA = np.int32(-0x70002000)  # 0x8FFFE000


# What is summed. Numba compiles for types, and these two differ in type: each is compiled alone, and no loop asks.
PLAIN, SQUARED = None, True


def _number(bits: Any) -> Any:
    """A float32 as it is; a float16, given as int16, as the float32 that is `HALF_SCALE` times smaller.

    Exact for every finite float16, subnormal ones included; in integer arithmetic that every vector unit has.
    """
    raise NotImplementedError  # exists in compiled code alone


def _number_compiled(bits: Any) -> Callable[[Any], Any]:
    if bits == types.float32:
        return lambda bits: bits
    return lambda bits: np.int32((np.int32(bits) << 13) & _SIGN_EXPONENT_MANTISSA).view(np.float32)


def _term(form: Any, bits: Any) -> Any:
    """What a weight multiplies: the number as above, or the rounded square of the whole number, float16's included."""
    raise NotImplementedError  # exists in compiled code alone


def _term_compiled(form: Any, bits: Any) -> Callable[[Any, Any], Any]:
    if form == types.none:
        return lambda form, bits: _number(bits)
    if bits == types.float32:
        return lambda form, bits: bits * bits
    # Scaled before it is squared, which is exact: squares of the small numbers would be no numbers.
    return lambda form, bits: (_number(bits) * HALF_SCALE) * (_number(bits) * HALF_SCALE)


def _add_slices(form: Any, table: Any, starts_N: Any, weights_N: Any, first: int, out: Any) -> None:
    """Adds weights[i] * table[starts[i] + first + j], or its square, to out[j], in the order of i.

    N is a multiple of `SLICES`, and `form` is `PLAIN` or `SQUARED`. Numba neither fuses a product with a sum nor
    reorders sums unless told so: these are the bits of NumPy's arithmetic.
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


def _compiled(function: Callable[..., None]) -> Callable[..., None]:
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:  # "cannot cache function": there is no folder that can be written
        return njit(nogil=True)(function)


overload(_number, strict=False)(_number_compiled)  # not strict: with annotations
overload(_term, strict=False)(_term_compiled)
add_slices = _compiled(_add_slices)
