"""The sum of slices on a CPU: small ones in NumPy, others in compiled code, tile by tile on all cores.

At every coordinate and in the order of the slices a square, where asked for, is rounded, then a product, then its sum,
by NumPy and by the compiled code alike: the bits are the same for both, for tiles of any length and for any number of
threads.
"""

import importlib
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]

# NumPy takes as long to begin with a slice as for some 4,000 numbers of it: 3 microseconds. Below this sum it needs a
# few milliseconds, and Numba (0.5 s to import and load, 1 s to compile once on a machine) is not worth waiting for.
OVERHEAD, WORTH_COMPILING = 4_000, 2**22
# Numbers to be summed before a second thread is worth starting: a millisecond's work.
WORTH_THREADS = 2**22
# Numbers of the sum per tile. The longest are 256 KiB, which stay in the second-level cache, so that runs through the
# table are long; the shortest still have runs of four pages of memory.
LONGEST, SHORTEST = 2**16, 2**12


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def add_slices(table: NDArray[Any], starts_N: Ids, weights_N: Floats, out: Floats, squared: bool) -> None:
    """Adds weights[i] * table[starts[i] + j], or its square, to out[j], which begins as zeros, in the order of i."""
    large = len(starts_N) * (len(out) + OVERHEAD) >= WORTH_COMPILING
    # Compiled code scales the weights of a float16 table up, for which there is room below 2**15 (and none for NaN).
    if large and (table.dtype == np.float32 or squared or np.abs(weights_N).max() < 2.0**15):
        add_compiled(table, starts_N, weights_N, out, squared)
    else:
        add_in_numpy(table, starts_N, weights_N, out, squared)


def add_in_numpy(table: NDArray[Any], starts_N: Ids, weights_N: Floats, out: Floats, squared: bool) -> None:
    """Slice by slice."""
    product = np.empty_like(out)
    for start, weight in zip(starts_N.tolist(), weights_N, strict=True):
        numbers = table[start : start + len(out)]
        if squared:
            numbers = np.square(numbers, out=product, dtype=np.float32)
        np.multiply(numbers, weight, out=product)
        np.add(out, product, out=out)


def add_compiled(table: NDArray[Any], starts_N: Ids, weights_N: Floats, out: Floats, squared: bool) -> None:
    """Eight slices at a time, tiles shared out among threads, which do not hold Python's lock."""
    kernel: Any = importlib.import_module("distes.noise.numba_kernel")  # here, since Numba is slow to import
    if table.dtype == np.float16:
        table, weights_N = table.view(np.int16), weights_N if squared else weights_N * kernel.HALF_SCALE
    missing = -len(starts_N) % kernel.SLICES
    starts_N = np.pad(starts_N, (0, missing), mode="edge")
    weights_N = np.pad(weights_N, (0, missing))  # 0 times a number, added to a sum that began as +0, changes no bit

    form = kernel.SQUARED if squared else kernel.PLAIN

    def add(first: int) -> None:
        kernel.add_slices(form, table, starts_N, weights_N, first, out[first : first + length])

    threads = cores() if len(starts_N) * len(out) >= WORTH_THREADS else 1
    length = min(LONGEST, max(SHORTEST, -(-len(out) // (4 * threads))))  # four tiles a thread: none waits long
    firsts = range(0, len(out), length)
    if threads == 1:
        for first in firsts:
            add(first)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(add, firsts))
