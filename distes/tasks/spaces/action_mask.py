"""Action masks: which actions a step allows, as the environment's info says.

Numbers of actions that are not allowed become -inf, so that the largest number is one that is allowed.

Axes: R rows, A action numbers.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distes.population import Floats


def mask_of(info: Mapping[str, Any], key: str, size: int) -> NDArray[np.bool_]:
    """Returns the mask of one environment, (A,): True where an action is allowed.

    Args:
        info: The info of its last step or reset.
        key: The key of the mask: an array, or for MultiDiscrete a tuple with an array for each group.
        size: A.

    Raises:
        ValueError: There is no such key, or it holds no mask of this size. The message is part of a sentence.
    """
    if key not in info:
        raise ValueError(f"its info has no action mask {key!r} (it has {', '.join(map(str, info)) or 'no keys'})")
    given = info[key]
    parts = given if isinstance(given, tuple | list) else [given]
    mask_A = np.concatenate([np.ravel(np.asarray(part)) for part in parts]) if len(parts) else np.empty(0)
    if mask_A.shape != (size,) or mask_A.dtype.kind not in "biuf":
        raise ValueError(f"its action mask {key!r} must have {size} numbers, one for each action; it has {mask_A.size}")
    return mask_A.astype(np.bool_)


def masks_of(info: Mapping[str, Any], key: str, rows: int, size: int, device: torch.device) -> Tensor:
    """Returns the masks of all rows of a vector environment, (R, A).

    Args:
        info: The info of its last step or reset; values have a leading axis R.
        key: The key of the masks.
        rows: R.
        size: A.
        device: Where the masks are wanted.

    Raises:
        ValueError: As `mask_of`.
    """
    if key not in info:
        raise ValueError(f"its info has no action mask {key!r} (it has {', '.join(map(str, info)) or 'no keys'})")
    given = info[key]
    if not isinstance(given, Tensor):
        array = np.asarray(given)
        if array.dtype == object and len(array) == rows:  # of rows that are over, there may be none
            array = np.stack([np.ones(size) if one is None else mask_of({key: one}, key, size) for one in array])
        given = torch.as_tensor(array.astype(np.bool_))
    if given.shape[:1] != (rows,) or given.numel() != rows * size:
        raise ValueError(
            f"its action mask {key!r} must have {size} numbers for each of {rows} rows; it has the shape "
            f"{tuple(given.shape)}"
        )
    return given.to(device=device, dtype=torch.bool).reshape(rows, size)


def masked(numbers_RA: Floats, mask_RA: NDArray[np.bool_]) -> Floats:
    """Returns the numbers with -inf for actions that are not allowed."""
    allowed_RA: Floats = np.where(mask_RA, numbers_RA, np.float32(-np.inf))
    return allowed_RA
