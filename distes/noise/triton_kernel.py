"""The sum of slices on a GPU, compiled by Triton: one kernel that reads them in the table, where they lie.

A program owns a block of coordinates and adds slice after slice to it: the order of additions is fixed, and no two
programs write the same number. The loop is unrolled, so that sixteen slices are on their way from memory, which takes
some hundred times as long as an addition, before the first is added.
"""

import triton
import triton.language as tl
from torch import Tensor

# Coordinates of a program, warps that share them (two coordinates a thread; 1e5 parameters make 782 programs, six for
# each multiprocessor of an H100), and slices under way. Allowed 64 registers a thread, the assembler issues all loads
# of a turn before its first addition (seen in the machine code of Triton 3.7 and 3.9); by itself it keeps to 32.
BLOCK, WARPS, UNROLL, REGISTERS = 128, 2, 16, 64


# No annotations but constexpr: Triton's compiler takes names in them for global variables.
def _add_slices(  # type: ignore[no-untyped-def]
    table, starts_N, weights_N, out, n, length, SQUARED: tl.constexpr, BLOCK: tl.constexpr, UNROLL: tl.constexpr
):
    """Adds weights[i] * table[starts[i] + j], or its square, to out[j], in the order of i."""
    j = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = j < length
    total = tl.load(out + j, inside)
    for i in tl.range(n, loop_unroll_factor=UNROLL):
        slice = tl.load(table + (tl.load(starts_N + i) + j), inside)  # a start is an int64, so the offset is, too
        number = slice.to(tl.float32)
        if SQUARED:
            number = number * number
        total += tl.load(weights_N + i) * number
    tl.store(out + j, total, inside)


# Were the alignment of `out` known, a thread would take four neighbours of it, and read them one by one from the
# unaligned slice, a quarter of each memory transaction at a time.
# And lengths are compiled for in general: else each of 1, of multiples of 16 and of others takes a second or two.
_compiled = triton.jit(_add_slices, do_not_specialize=["n", "length"], do_not_specialize_on_alignment=["out"])


def add_slices(table: Tensor, starts_N: Tensor, weights_N: Tensor, out: Tensor, squared: bool) -> None:
    """The same bits as `sum_cpu.add_slices`: squares, products and sums are rounded one by one, never fused."""
    programs = triton.cdiv(len(out), BLOCK)
    _compiled[(programs,)](
        table,
        starts_N,
        weights_N,
        out,
        len(starts_N),
        len(out),
        SQUARED=squared,
        BLOCK=BLOCK,
        UNROLL=UNROLL,
        num_warps=WARPS,
        maxnreg=REGISTERS,
        enable_fp_fusion=False,
    )
