"""A curve of a few characters."""

import math
from collections.abc import Sequence

BLOCKS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], width: int) -> str:
    """Draws values as blocks of different heights, from the lowest value to the highest.

    Args:
        values: The values; NaN and infinities are left out.
        width: Characters, at most. Of more values, the last of each stretch is drawn.
    """
    finite = [value for value in values if math.isfinite(value)]
    if len(finite) > width:
        finite = [finite[(place + 1) * len(finite) // width - 1] for place in range(width)]
    if not finite:
        return ""
    low, high = min(finite), max(finite)
    if not 0 < high - low < math.inf:
        return BLOCKS[0] * len(finite)
    return "".join(BLOCKS[min(7, int(8 * (value - low) / (high - low)))] for value in finite)
