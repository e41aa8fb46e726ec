"""Behaviours: what a member did as a few numbers, which novelty search compares (Lehman and Stanley 2011).

Axes: R rows (episodes), O observation, D numbers of a behaviour.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distes.errors import ConfigurationError, described
from distes.errors.imports import import_object
from distes.errors.trust import foreign

FINAL_OBSERVATION, INFO = "final_observation", "info:"


class NoKeyError(ValueError):
    """The info of a step lacks the key to read."""


class Behaviour:
    """Reads an episode's behaviour from its last step."""

    def __init__(self, what: str | Sequence[str] | Callable[..., Any]) -> None:
        """Chooses what to read.

        Args:
            what: `final_observation`; `info:KEY`, a number or a vector in the environment's info; or a callable
                (observation, info) -> numbers, or its import path, whose arguments and answer have a leading axis of
                rows. Several of these texts are read one after the other.

        Raises:
            ConfigurationError: It is none of these.
        """
        self._parts = [] if isinstance(what, str) or not isinstance(what, Sequence) else [Behaviour(x) for x in what]
        self._key: str | None = None
        self._call: Callable[..., Any] | None = None
        if isinstance(what, Sequence) and not isinstance(what, str):
            if not self._parts:
                raise ConfigurationError("behaviour is a list of nothing: name what to compare.", argument="behaviour")
        elif not isinstance(what, str):
            self._call = what
        elif what.startswith(INFO) and len(what) > len(INFO):
            self._key = what.removeprefix(INFO)
        elif what != FINAL_OBSERVATION:
            if "." not in what:
                raise ConfigurationError(
                    f"behaviour must be {FINAL_OBSERVATION}, {INFO}KEY (such as {INFO}position), or the import path of "
                    f"a callable (observation, info); got {what!r}.",
                    argument="behaviour",
                )
            foreign(what, "task.behaviour")
            self._call = import_object("behaviour", what)

    @property
    def needs_info(self) -> bool:
        """Whether the info of a step is read."""
        return self._key is not None or self._call is not None or any(part.needs_info for part in self._parts)

    def __call__(self, seen_RO: Tensor, info: Mapping[str, Any]) -> Tensor:
        """Returns the behaviours of all rows, (R, D), float32, on the device of the observations.

        Args:
            seen_RO: The observations after the step.
            info: The step's info; values have a leading axis R.

        Raises:
            ValueError: The info has no such key, or what it gives is not a row of numbers for each row.
        """
        if self._parts:
            return torch.cat([part(seen_RO, info) for part in self._parts], 1)
        value: Any = seen_RO
        if self._key is not None:
            if self._key not in info:
                raise NoKeyError(f"its info has no key {self._key!r} (it has {', '.join(map(str, info)) or 'none'})")
            value = info[self._key]
        elif self._call is not None:
            try:
                value = self._call(seen_RO, info)
            except Exception as error:
                kind = NoKeyError if isinstance(error, KeyError) else ValueError
                raise kind(f"the callable raised {described(error)}") from error
        try:
            tensor = torch.as_tensor(value, dtype=torch.float32, device=seen_RO.device)
        except (TypeError, ValueError, RuntimeError) as error:
            shown = repr(value[0] if isinstance(value, list) and len(value) == 1 else value)
            raise ValueError(
                f"numbers are wanted, equally many for each row; {self._source} gave "
                f"{shown if len(shown) <= 60 else shown[:57] + '...'}"
            ) from error
        if tensor.dim() == 0 or len(tensor) != len(seen_RO):
            raise ValueError(f"its behaviour has shape {tuple(tensor.shape)} for {len(seen_RO)} rows")
        if not tensor.numel():
            raise ValueError(f"{self._source} gave no numbers, but an array of shape {tuple(tensor.shape[1:])}")
        return tensor.reshape(len(seen_RO), -1)

    @property
    def _source(self) -> str:
        return FINAL_OBSERVATION if not self.needs_info else "the callable" if self._key is None else INFO + self._key

    def of_one(self, seen_O: NDArray[np.float32], info: Mapping[str, Any]) -> Tensor:
        """Returns the behaviour in a single environment, (D,), from its observation and info."""
        if self._parts:
            return torch.cat([part.of_one(seen_O, info) for part in self._parts])
        rows: dict[str, Any] = {}
        for key, value in info.items():
            if self._call is not None or key == self._key:
                array = np.asarray(value)
                rows[key] = torch.from_numpy(array[None].copy()) if array.dtype.kind in "biuf" else [value]
            else:
                rows[key] = value
        return self(torch.from_numpy(seen_O[None].copy()), rows)[0]
