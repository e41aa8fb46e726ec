"""Labelled data whose rows carry their own number, and a task that notes which rows are used for what."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from distes.members.members import Members
from distes.population import Purpose
from distes.tasks.base import Outcome, Request
from distes.tasks.supervised.supervised import Supervised

ROWS = 200
SEEN: list[tuple[Purpose, bool, tuple[int, ...]]] = []  # purpose, whether of members, the numbers of the rows


def numbered(rows: int = ROWS, first: int = 0, classes: int = 3) -> tuple[NDArray[Any], NDArray[Any]]:
    """Inputs (number of the row, two noisy copies of its class), and the classes."""
    numbers = np.random.default_rng(first)
    y_n = numbers.integers(classes, size=rows)
    copies_n2 = y_n[:, None] + numbers.normal(0, 0.5, (rows, 2))
    return np.column_stack([np.arange(first, first + rows), copies_n2]).astype(np.float32), y_n


PAIR = numbered()


def regression(rows: int = 60) -> tuple[NDArray[Any], NDArray[Any]]:
    """Two numbers, and twice their sum."""
    x_n2 = np.random.default_rng(0).normal(size=(rows, 2))
    return x_n2, 2 * x_n2.sum(1)


class Rows(torch.utils.data.Dataset[tuple[Any, int]]):
    """The same as a torch Dataset, row by row."""

    def __init__(self, rows: int = ROWS, first: int = 0) -> None:
        self.x, self.y = numbered(rows, first)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, row: int) -> tuple[Any, int]:
        return torch.from_numpy(self.x[row]), int(self.y[row])


def endless(size: int) -> Any:
    raise MemoryError(f"{size} is too much")


def only_inputs() -> Any:
    return np.zeros((3, 2))


def negative() -> Any:
    return np.zeros((3, 2)), np.array([0, -1, 1])


def not_finite() -> Any:
    return np.array([[0.0, np.nan]]), np.array([0])


def distance(answers: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Minus the distance of the first answer from the class."""
    return -(answers[..., 0] - targets).abs()


class Watched(Supervised):
    """Notes the rows that members and centres are given, by the numbers that the policy finds in its inputs."""

    def evaluate(self, members: Members, request: Request) -> Outcome:
        """Evaluates as ever."""
        Blind.rows.clear()
        outcome = super().evaluate(members, request)
        SEEN.append((request.purpose, request.training, tuple(numbers())))
        return outcome


def numbers() -> list[int]:
    """The numbers of all rows that the policy has seen since `Blind.rows` was cleared."""
    return [number for rows in Blind.rows for number in rows.flatten().int().tolist()]


class Blind(nn.Module):
    """A linear policy that does not look at the row's number, and writes it down."""

    rows: list[torch.Tensor] = []  # noqa: RUF012

    def __init__(self, observation_size: int, action_size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(2, action_size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (rows, 3) to (rows, A)."""
        Blind.rows.append(x[..., 0].detach().clone())
        return self.linear(x[..., 1:])  # type: ignore[no-any-return]
