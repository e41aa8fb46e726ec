"""A product of few numbers in and many out for many members on a CPU, in a loop compiled by Numba."""

from typing import Any

from distes.noise.numba_operations import compiled, fma


@compiled
def sum_of_rows(x_BKI: Any, weights: Any, weight_stride: int, biases: Any, bias_stride: int, y_BKO: Any) -> None:
    """Writes b + x_1 W_1 + x_2 W_2 + ..., each term added with one rounding, as torch's addcmul does.

    Args:
        x_BKI: Contiguous.
        weights: One row of numbers, with the (I, O) of each member.
        weight_stride: From one member's weights to the next's.
        biases: As `weights`, with the (O,) of each member.
        bias_stride: From one member's biases to the next's.
        y_BKO: Contiguous; it is written.
    """
    members, rows, inputs = x_BKI.shape
    outputs = y_BKO.shape[2]
    for member in range(members):
        bias = biases[member * bias_stride :][:outputs]
        for row in range(rows):
            y = y_BKO[member, row]
            number, weight = x_BKI[member, row, 0], weights[member * weight_stride :][:outputs]
            for j in range(outputs):
                y[j] = fma(number, weight[j], bias[j])
            for i in range(1, inputs):
                number = x_BKI[member, row, i]
                weight = weights[member * weight_stride + i * outputs :][:outputs]
                for j in range(outputs):
                    y[j] = fma(number, weight[j], y[j])
