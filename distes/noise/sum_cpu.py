"""The sum of slices on a CPU: small sums in NumPy, others in compiled code, tile by tile on all cores.

NumPy and the compiled code both add the slices in order, and round the square (if asked for), the product and the sum
of each coordinate separately. So the bits are the same for both, for tiles of any length and for any number of threads.

Axes: N slices, L numbers per slice.
"""

import importlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distes.population import Floats

Ids = NDArray[np.int64]

# NumPy's overhead per slice is 3 microseconds, the time of some 4,000 numbers. Sums smaller than WORTH_COMPILING take
# NumPy a few milliseconds, which does not justify Numba (0.5 s to import and load, 1 s to compile once on a machine).
OVERHEAD, WORTH_COMPILING = 4_000, 2**22
# Numbers to sum, a millisecond's work, from which further threads are worth starting.
WORTH_THREADS = 2**22
# Numbers of the sum per tile. The longest tiles have 256 KiB, which fit into the second-level cache and give long runs
# through the table; the shortest give runs of four memory pages.
LONGEST, SHORTEST = 2**16, 2**12


def cores() -> int:
    """Returns the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def add_slices(table: NDArray[Any], starts_N: Ids, weights_N: Floats, out: Floats, squared: bool) -> None:
    """Adds weights[i] * table[starts[i] + j], or the weighted square, to out[j], in the order of i.

    Args:
        table: The numbers, float32 or float16.
        starts_N: Index of each slice's first number, (N,) int64.
        weights_N: The weights, (N,) float32.
        out: The sum, (L,) float32, initially zeros.
        squared: Whether to sum the squares of the table's numbers.
    """
    large = len(starts_N) * (len(out) + OVERHEAD) >= WORTH_COMPILING
    # For a float16 table, compiled code scales the weights up by 2**112. They must be below 2**15, and not NaN.
    if large and (table.dtype == np.float32 or squared or np.abs(weights_N).max() < 2.0**15):
        add_compiled(table, starts_N, weights_N, out, squared)
    else:
        add_in_numpy(table, starts_N, weights_N, out, squared)


def add_in_numpy(table: NDArray[Any], starts_N: Ids, weights_N: Floats, out: Floats, squared: bool) -> None:
    """Adds slice by slice in NumPy; the arguments are those of `add_slices`."""
    product = np.empty_like(out)
    for start, weight in zip(starts_N.tolist(), weights_N, strict=True):
        numbers = table[start : start + len(out)]
        if squared:
            numbers = np.square(numbers, out=product, dtype=np.float32)
        np.multiply(numbers, weight, out=product)
        np.add(out, product, out=out)


def add_bits(table: NDArray[Any], starts_N: Ids, weights_N: Floats, thresholds: Floats, out: Floats) -> None:
    """Adds weights[i] to out[j] where table[starts[i] + j] > thresholds[j], in the order of i.

    `thresholds` is (L,) float32; the other arguments are those of `add_slices`.
    """
    if len(starts_N) * (len(out) + OVERHEAD) >= WORTH_COMPILING:
        add_bits_compiled(table, starts_N, weights_N, thresholds, out)
    else:
        add_bits_in_numpy(table, starts_N, weights_N, thresholds, out)


def add_bits_in_numpy(table: NDArray[Any], starts_N: Ids, weights_N: Floats, thresholds: Floats, out: Floats) -> None:
    """Adds slice by slice in NumPy; the arguments are those of `add_bits`."""
    bits, product = np.empty(len(out), np.bool_), np.empty_like(out)
    for start, weight in zip(starts_N.tolist(), weights_N, strict=True):
        np.greater(table[start : start + len(out)], thresholds, out=bits)
        np.multiply(bits, weight, out=product)  # exact, and adding 0 to a sum that began as +0 changes no bit
        np.add(out, product, out=out)


def add_bits_compiled(table: NDArray[Any], starts_N: Ids, weights_N: Floats, thresholds: Floats, out: Floats) -> None:
    """Adds eight slices at a time in compiled code; the arguments are those of `add_bits`."""
    kernel: Any = importlib.import_module("distes.noise.numba_kernel")
    scale = 1
    if table.dtype == np.float16:  # numbers are compared as they are read, 2**112 times too small; so are thresholds
        table, scale = table.view(np.int16), kernel.HALF_SCALE
    starts_N, weights_N = _whole_turns(kernel.SLICES, starts_N, weights_N)

    def add(first: int, length: int) -> None:
        part = slice(first, first + length)
        kernel.add_bits(table, starts_N, weights_N, thresholds[part], np.float32(scale), first, out[part])

    _on_all_cores(add, len(starts_N), len(out))


def add_compiled(table: NDArray[Any], starts_N: Ids, weights_N: Floats, out: Floats, squared: bool) -> None:
    """Adds eight slices at a time in compiled code; the arguments are those of `add_slices`.

    Threads share the tiles, and do not hold Python's global interpreter lock.
    """
    kernel: Any = importlib.import_module("distes.noise.numba_kernel")  # here, since Numba is slow to import
    if table.dtype == np.float16:
        table, weights_N = table.view(np.int16), weights_N if squared else weights_N * kernel.HALF_SCALE
    starts_N, weights_N = _whole_turns(kernel.SLICES, starts_N, weights_N)
    form = kernel.SQUARED if squared else kernel.PLAIN

    def add(first: int, length: int) -> None:
        kernel.add_slices(form, table, starts_N, weights_N, first, out[first : first + length])

    _on_all_cores(add, len(starts_N), len(out))


def _whole_turns(slices: int, starts_N: Ids, weights_N: Floats) -> tuple[Ids, Floats]:
    """Pads to a multiple of `slices`, which a kernel adds in one pass.

    The padding has the weight 0: adding 0 times a number to a sum that began as +0 changes no bit.
    """
    missing = -len(starts_N) % slices
    return np.pad(starts_N, (0, missing), mode="edge"), np.pad(weights_N, (0, missing))


def _on_all_cores(add: Callable[[int, int], None], slices: int, numbers: int) -> None:
    """Calls a function with the first number and the length of each tile of the sum."""
    threads = cores() if slices * numbers >= WORTH_THREADS else 1
    length = min(LONGEST, max(SHORTEST, -(-numbers // (4 * threads))))  # four tiles per thread balance the load
    firsts = range(0, numbers, length)
    if threads == 1:
        for first in firsts:
            add(first, length)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(add, firsts, [length] * len(firsts)))
