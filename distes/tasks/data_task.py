"""Tasks on data in three parts: to train on, to validate by, and to test with.

Axis: n rows of data.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

from distes.errors import ConfigurationError
from distes.tasks.base import Task
from distes.tasks.mini_batches import Rows, permutation


class DataTask(Task):
    """A task whose members are evaluated on batches of a training part.

    The centre, without noise, is evaluated on all of the validation part; and the last centre on all of the test part,
    which decides nothing.
    """

    @property
    def held_out(self) -> bool:
        """Whether some data are held out: always, to validate by and to test with."""
        return True

    @property
    def evaluations(self) -> int | None:
        """One: an evaluation of the centre runs over all of a part."""
        return 1

    @property
    def on_device(self) -> bool:
        """Whether it can run on a GPU: always, since there is only the policy's own work."""
        return True


class Cut(NamedTuple):
    """Numbers of rows, int64, for each purpose."""

    train_n: Rows
    validate_n: Rows
    test_n: Rows


@dataclass(frozen=True)
class Shares:
    """Which shares of the data are held out.

    Attributes:
        validation: Share of the training data that validates; 0 for all of them, which then train as well.
        test: Share of all data that tests, where they have no test part of their own.
        split: Seed of both.
    """

    validation: float
    test: float
    split: int

    def __post_init__(self) -> None:
        """Checks the shares.

        Raises:
            ConfigurationError: A number is out of its range.
        """
        for name, share in (("validation", self.validation), ("test", self.test)):
            if not 0 <= share < 1:
                raise ConfigurationError(f"{name} must be a share from 0 to below 1; got {share}.", argument=name)
        if not 0 <= self.split < 2**64:
            raise ConfigurationError(f"split must be from 0 to 2**64 - 1; got {self.split}.", argument="split")

    def cut(self, count: int, *, has_test: bool) -> Cut:
        """Cuts n rows, in random order: first the test part, then the validation part; the rest is for training.

        Args:
            count: n.
            has_test: Whether there is a test part of its own; then none of these rows tests.
        """
        order_n = permutation(self.split, count)
        tested = 0 if has_test else math.ceil(self.test * count)
        test_n, order_n = order_n[:tested], order_n[tested:]
        validated = math.ceil(self.validation * len(order_n))
        train_n = order_n[validated:]
        return Cut(train_n, order_n[:validated] if validated else train_n, test_n)
