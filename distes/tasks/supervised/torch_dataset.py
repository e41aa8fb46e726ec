"""Reads a torch Dataset of pairs into two arrays."""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from distes.errors import ConfigurationError, raised


def stacked(given: torch.utils.data.Dataset[Any], start: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Returns the inputs and the targets of all rows of a torch Dataset, (n, ...) each.

    Args:
        given: The Dataset.
        start: The beginning of messages: which data it is.

    Raises:
        ConfigurationError: A row cannot be read, or is no pair, or rows differ in shape. The message names the row.
    """
    wanted = f"{start} must be a torch Dataset of pairs, an input and a target"
    if isinstance(given, torch.utils.data.IterableDataset) or not hasattr(given, "__len__"):
        raise ConfigurationError(
            f"{wanted}, with a length; {type(given).__name__} has none. Return a pair of arrays of its rows instead.",
            argument="data",
        )
    pairs: list[tuple[NDArray[Any], NDArray[Any]]] = []
    try:
        for row in itertools.islice(given, len(given)):  # type: ignore[call-overload]
            if isinstance(row, Mapping | str) or len(row) < 2:
                keys = f" with {', '.join(map(str, row))}" if isinstance(row, Mapping) else ""
                raise ConfigurationError(
                    f"{wanted}; row {len(pairs)} is a {type(row).__name__}{keys}.", argument="data"
                )
            if len(row) > 2:
                raise ConfigurationError(
                    f"{wanted}; row {len(pairs)} has {len(row)} items, and only the first two would be used. Weights "
                    "of rows are not supported: return two items.",
                    argument="data",
                )
            pairs.append((np.asarray(row[0]), np.asarray(row[1])))
            for name, first, one in zip(("input", "target"), pairs[0], pairs[-1], strict=True):
                if one.shape != first.shape:
                    raise ConfigurationError(
                        f"{wanted}, all of one shape; the {name} of row 0 has {first.shape}, that of row "
                        f"{len(pairs) - 1} {one.shape}.",
                        argument="data",
                    )
    except ConfigurationError:
        raise
    except Exception as error:
        raise ConfigurationError(f"{wanted}; row {len(pairs)} {raised(error)}.", argument="data") from error
    if not pairs:
        return np.empty((0, 0)), np.empty(0)
    x, y = (np.stack(part) for part in zip(*pairs, strict=True))
    return x, y
