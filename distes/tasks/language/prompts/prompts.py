"""Prompts for a language model: read from a file or made by a function, and cut into parts. Axis: n rows."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distes.errors import ConfigurationError
from distes.population import Purpose
from distes.tasks.data_task import Shares
from distes.tasks.language.prompts.rows import Row, Source, announce, excerpt, rows_of, shown, text_of
from distes.tasks.mini_batches import permutation


class Prompts:
    """Prompts that are read when they are first needed, and then travel with the instance.

    Rows with the same text always belong to the same part, so that no prompt is both trained on and held out.
    """

    def __init__(
        self,
        prompts: Source,
        prompts_args: Mapping[str, Any] | None = None,
        test_prompts: Source | None = None,
        test_args: Mapping[str, Any] | None = None,
        *,
        validation: float = 0.1,
        test: float = 0.2,
        split: int = 0,
        eval_prompts: int | None = None,
    ) -> None:
        """Reads nothing yet.

        Args:
            prompts: A `.jsonl` file with a prompt per line; or a function that returns a sequence of prompts, or its
                import path. A prompt is a mapping with a `prompt` or with chat `messages`, and any further fields.
            prompts_args: Arguments of the function.
            test_prompts: A file or a function of the test part; None splits it off.
            test_args: Arguments of the test part's function. Without test_prompts, that of prompts is called again,
                with these beside prompts_args.
            validation: Share of the training prompts that validates; 0 for all of them, which then train as well.
            test: Share of all prompts that tests, where they have no test part of their own.
            split: Seed of both.
            eval_prompts: The most prompts of a held-out part that are used, always the same ones; None for all.

        Raises:
            ConfigurationError: An argument is out of its range, or the configuration is not trusted.
        """
        self._shares = Shares(validation, test, split)
        if eval_prompts is not None and eval_prompts < 1:
            raise ConfigurationError(
                f"eval_prompts must be at least 1, or null for all; got {eval_prompts}.", argument="eval_prompts"
            )
        given = dict(prompts_args or {})
        test_given = dict(test_args or {})
        if test_prompts is None and test_args is not None:
            test_prompts, test_given = prompts, {**given, **test_given}
        for name, source, arguments in (("prompts", prompts, given), ("test_prompts", test_prompts, test_given)):
            if source is not None:
                announce(name, source, arguments)
        self._source: tuple[Source, dict[str, Any]] | None = prompts, given
        self._test_source = None if test_prompts is None else (test_prompts, test_given)
        self._shown = shown(prompts)
        self._most = eval_prompts
        self._read: tuple[list[Row], list[Row] | None] | None = None
        self._parts: dict[Purpose, list[Row]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Leaves out the parts, which follow from the rows; and what these were read from, such as a lambda."""
        return {
            **self.__dict__,
            "_parts": {},
            **({} if self._read is None else {"_source": None, "_test_source": None}),
        }

    def __len__(self) -> int:
        """The number of prompts in all parts."""
        train, test = self._rows()
        return len(train) + len(test or ())

    def part(self, purpose: Purpose) -> Sequence[Row]:
        """The prompts for a purpose.

        Raises:
            ConfigurationError: They cannot be read, or a part is empty.
        """
        if not self._parts:
            self._parts = self._cut()
        return self._parts[purpose]

    @property
    def digest(self) -> str:
        """A digest of all rows, in their order; 16 hexadecimal digits.

        Raises:
            ConfigurationError: They cannot be read.
        """
        return digest(self._rows())

    @property
    def digests(self) -> dict[str, str]:
        """Numbers and digests of the rows, in words: of `prompts` and, where they are given, of `test_prompts`.

        Raises:
            ConfigurationError: They cannot be read.
        """
        read = dict(zip(("prompts", "test_prompts"), self._rows(), strict=True))
        return {name: f"{len(rows):,} rows {digest(rows)}" for name, rows in read.items() if rows is not None}

    def _rows(self) -> tuple[list[Row], list[Row] | None]:
        """The rows of the data, and those of their own test part."""
        if self._read is None:
            assert self._source is not None  # it is forgotten once there are rows
            train, test = rows_of("prompts", *self._source), None
            if self._test_source is not None:
                test = rows_of("test_prompts", *self._test_source)
                _require_apart(train, test)
            self._read = train, test
        return self._read

    def _cut(self) -> dict[Purpose, list[Row]]:
        train, test = self._rows()
        groups = _groups(train)
        cut = self._shares.cut(len(groups), has_test=test is not None)
        trained, validated, tested = (_joined(groups, rows_n) for rows_n in cut)
        if test is not None:
            tested = _joined([[row] for row in test], permutation(self._shares.split, len(test)))
        for name, part in (("training", trained), ("test", tested)):
            if not part:
                raise ConfigurationError(
                    f"prompts {self._shown} has {len(groups)} different prompts, of which none is left for the {name} "
                    "part: choose other shares for validation and test, or give test_prompts.",
                    argument="prompts",
                )
        return {
            Purpose.TRAIN: trained,
            Purpose.VALIDATE: validated[: self._most],
            Purpose.TEST: tested[: self._most],
        }


def digest(rows: Any) -> str:
    """Returns a digest of values of JSON types; 16 hexadecimal digits."""
    text = json.dumps(rows, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _groups(rows: Iterable[Row]) -> list[list[Row]]:
    """The rows with the same text, in the order of their first."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(text_of(row), []).append(row)
    return list(groups.values())


def _joined(groups: Sequence[Sequence[Row]], order: NDArray[np.int64]) -> list[Row]:
    return [row for place in order.tolist() for row in groups[place]]


def _require_apart(train: Sequence[Row], test: Sequence[Row]) -> None:
    """Checks that no prompt is in both.

    Raises:
        ConfigurationError: Some are.
    """
    known = {text_of(row) for row in train}
    both = [row for row in test if text_of(row) in known]
    if both:
        raise ConfigurationError(
            f"test_prompts: {len(both)} of {len(test)} prompts are among the training prompts, too, and would not be "
            f"held out; the first is {excerpt(both[0])}. Remove them from one of both.",
            argument="test_prompts",
        )
