"""The sum of slices on a GPU, compiled by Triton: one kernel that reads the slices in place, in the table.

Each program owns a block of coordinates and adds the slices to it one after another, so the order of additions is fixed
and no two programs write the same number. The loop is unrolled, so that sixteen slices are being loaded before the
first is added; a load takes some hundred times as long as an addition.

Axes: N slices, L numbers per slice.
"""

import triton
import triton.language as tl
from torch import Tensor

# Coordinates per program, warps per program (two coordinates per thread; 1e5 parameters make 782 programs, six for each
# multiprocessor of an H100), slices per turn of the loop, and registers per thread. With 64 registers, the assembler
# issues all loads of a turn before its first addition (seen in the machine code of Triton 3.7 and 3.9); its own limit
# is 32.
BLOCK, WARPS, UNROLL, REGISTERS = 128, 2, 16, 64


# Only constexpr is annotated: Triton's compiler treats names in other annotations as global variables.
def _add_slices(  # type: ignore[no-untyped-def]
    table, starts_N, weights_N, out, n, length, SQUARED: tl.constexpr, BLOCK: tl.constexpr, UNROLL: tl.constexpr
):
    """Adds weights[i] * table[starts[i] + j], or the weighted square, to out[j], in the order of i."""
    j = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = j < length
    total = tl.load(out + j, inside)
    for i in tl.range(n, loop_unroll_factor=UNROLL):
        slice = tl.load(table + (tl.load(starts_N + i) + j), inside)  # int64 starts, so offsets do not overflow
        number = slice.to(tl.float32)
        if SQUARED:
            number = number * number
        total += tl.load(weights_N + i) * number
    tl.store(out + j, total, inside)


def _add_bits(  # type: ignore[no-untyped-def]
    table, starts_N, weights_N, thresholds, out, n, length, BLOCK: tl.constexpr, UNROLL: tl.constexpr
):
    """Adds weights[i] to out[j] where table[starts[i] + j] > thresholds[j], in the order of i."""
    j = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = j < length
    total = tl.load(out + j, inside)
    threshold = tl.load(thresholds + j, inside)
    for i in tl.range(n, loop_unroll_factor=UNROLL):
        slice = tl.load(table + (tl.load(starts_N + i) + j), inside)
        total += tl.where(slice.to(tl.float32) > threshold, tl.load(weights_N + i), 0.0)
    tl.store(out + j, total, inside)


# `out` is not specialised on its alignment: a thread would then own four adjacent coordinates and read them one by one
# from the unaligned slice, using a quarter of each memory transaction.
# Lengths are not specialised either: each of 1, multiples of 16 and others would take a second or two to compile.
_compiled = triton.jit(_add_slices, do_not_specialize=["n", "length"], do_not_specialize_on_alignment=["out"])
_compiled_bits = triton.jit(
    _add_bits, do_not_specialize=["n", "length"], do_not_specialize_on_alignment=["out", "thresholds"]
)


def add_slices(table: Tensor, starts_N: Tensor, weights_N: Tensor, out: Tensor, squared: bool) -> None:
    """Adds weights[i] * table[starts[i] + j], or the weighted square, to out[j], in the order of i.

    The bits are those of `sum_cpu.add_slices`: squares, products and sums are rounded separately and never fused.

    Args:
        table: The numbers, float32 or float16. All tensors are on one CUDA device.
        starts_N: Index of each slice's first number, (N,) int64.
        weights_N: The weights, (N,) float32.
        out: The sum, (L,) float32, initially zeros.
        squared: Whether to sum the squares of the table's numbers.
    """
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


def add_bits(table: Tensor, starts_N: Tensor, weights_N: Tensor, thresholds: Tensor, out: Tensor) -> None:
    """Adds weights[i] to out[j] where table[starts[i] + j] > thresholds[j], in the order of i.

    The bits are those of `sum_cpu.add_bits`. `thresholds` is (L,) float32; the other arguments are those of
    `add_slices`.
    """
    programs = triton.cdiv(len(out), BLOCK)
    _compiled_bits[(programs,)](
        table,
        starts_N,
        weights_N,
        thresholds,
        out,
        len(starts_N),
        len(out),
        BLOCK=BLOCK,
        UNROLL=UNROLL,
        num_warps=WARPS,
        maxnreg=REGISTERS,
        enable_fp_fusion=False,
    )
