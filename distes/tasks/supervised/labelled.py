"""Labelled data: images or vectors, and a class or numbers for each.

Numbers of 8 bits stay numbers of 8 bits until a batch is used.

Axes: n rows, O observation, A numbers of a target.
"""

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Labelled:
    """Inputs and what is to be answered to them.

    Attributes:
        x_nO: uint8 or float32, (n, ...).
        y_n: Classes from 0 on, int64 (n,); or numbers, float32 (n, A).
    """

    x_nO: NDArray[Any]
    y_n: NDArray[Any]


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set.

    Attributes:
        train: What is trained on, unless parts of it are held out.
        test: The test part that the data set comes with; None if it has none of its own.
        brightest: For images, the number that stands for white and becomes 1.
        classes: What the classes are called; empty if they are only numbered, or if there are none.
    """

    train: Labelled
    test: Labelled | None = None
    brightest: int = 255
    classes: tuple[str, ...] = ()
