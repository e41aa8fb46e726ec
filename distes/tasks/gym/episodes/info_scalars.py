"""Numbers from the infos of environments: one per key and episode, recorded and never learnt from.

Axes: R rows in use, J episodes, V scalars. Sums are formed in float64 and step by step, so that an episode's number
does not depend on who runs beside it.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distes.errors import ConfigurationError, did_you_mean
from distes.population import Floats

MEANINGS = {
    "last": "at an episode's end",
    "mean": "mean over an episode's steps",
    "sum": "sum over an episode's steps",
    "min": "smallest of an episode's steps",
    "max": "largest of an episode's steps",
}
MOST_KEYS = 30  # of an info, that a message lists


class NotANumberError(ValueError):
    """An info holds something else than a number; the message is part of a sentence.

    Attributes:
        row: The row of a single environment's info; 0 for those of vector environments.
    """

    row = 0


class InfoScalars:
    """Which numbers of infos are wanted.

    Attributes:
        names: The scalars' names: `distance` for the last value, `distance/mean` for another reduction.
        keys: Their keys in the info.
        reductions: What is made of an episode's values, one of `MEANINGS`.
    """

    def __init__(self, wanted: Sequence[str]) -> None:
        """Reads the wishes.

        Args:
            wanted: Each `KEY`, the value at the episode's end, or `KEY:REDUCTION`.

        Raises:
            ConfigurationError: One is empty, has an unknown reduction, or stands twice.
        """
        pairs = [_parsed(one) for one in wanted]
        self.keys, self.reductions = [key for key, _ in pairs], [reduction for _, reduction in pairs]
        self.names = tuple(key if reduction == "last" else f"{key}/{reduction}" for key, reduction in pairs)
        if twice := next((name for place, name in enumerate(self.names) if name in self.names[:place]), None):
            raise ConfigurationError(f"log_info names {twice.replace('/', ':')!r} twice.", argument="log_info")

    def __len__(self) -> int:
        return len(self.names)

    def meaning(self, name: str) -> str:
        """What a scalar means, part of a sentence."""
        place = self.names.index(name)
        return f"`{self.keys[place]}` of the environment's info, {MEANINGS[self.reductions[place]]}"

    def missing(self, occurred_V: Sequence[bool], seen: Iterable[str]) -> dict[str, str]:
        """The scalars whose keys no info had, each with a sentence that says what there was.

        Args:
            occurred_V: Which keys occurred.
            seen: The keys that infos had.
        """
        known = sorted(key for key in seen if not (key.startswith("_") and key[1:] in seen))
        shown = ", ".join([*known[:MOST_KEYS], "..."] if len(known) > MOST_KEYS else known)
        what = f"are {shown}" if known else "are no keys at all"
        return {
            name: f"task.log_info: no info of a step has the key {key!r}; there {what}.{did_you_mean(key, known)}"
            for name, key, occurred in zip(self.names, self.keys, occurred_V, strict=True)
            if not occurred
        }


class Scalars:
    """The numbers of episodes that are running, one row each.

    A key that a step's info lacks counts as no value; `last` is then NaN, and the others skip the step. An episode
    without any value has NaN.
    """

    def __init__(self, wanted: InfoScalars, rows: int, device: torch.device | str = "cpu") -> None:
        """Starts an episode in each row.

        Args:
            wanted: Which numbers.
            rows: R.
            device: Of the tensors.
        """
        self._wanted = wanted
        self._value_RV = torch.full((rows, len(wanted)), torch.nan, dtype=torch.float64, device=device)
        self._count_RV = torch.zeros(rows, len(wanted), dtype=torch.int64, device=device)
        self._occurred_V = torch.zeros(len(wanted), dtype=torch.bool, device=device)
        self.seen = set[str]()

    def start(self, row: int) -> None:
        """Starts another episode in a row."""
        self._value_RV[row], self._count_RV[row] = torch.nan, 0

    def renew(self, new_R: Tensor) -> None:
        """Starts other episodes in some rows, a mask."""
        self._value_RV.masked_fill_(new_R.unsqueeze(1), torch.nan)
        self._count_RV.masked_fill_(new_R.unsqueeze(1), 0)

    def add(self, value_RV: Tensor, there_RV: Tensor, running_R: Tensor | None = None) -> None:
        """Takes a step of the first rows.

        Args:
            value_RV: The step's values, float64.
            there_RV: Where there is one, bool.
            running_R: Which rows have an episode that runs; None for all.
        """
        rows = len(value_RV)
        old_RV, count_RV = self._value_RV[:rows], self._count_RV[:rows]
        new_RV = value_RV.clone()
        first_RV = count_RV == 0
        for place, reduction in enumerate(self._wanted.reductions):
            old_R, new_R = old_RV[:, place], value_RV[:, place]
            if reduction in ("sum", "mean"):
                new_RV[:, place] = torch.where(first_RV[:, place], new_R, old_R + new_R)
            elif reduction != "last":
                pick = torch.minimum if reduction == "min" else torch.maximum
                new_RV[:, place] = torch.where(first_RV[:, place], new_R, pick(old_R, new_R))
            kept_R = torch.full_like(old_R, torch.nan) if reduction == "last" else old_R
            new_RV[:, place] = torch.where(there_RV[:, place], new_RV[:, place], kept_R)
        if running_R is not None:
            new_RV = torch.where(running_R.unsqueeze(1), new_RV, old_RV)
            there_RV = there_RV & running_R.unsqueeze(1)
        old_RV.copy_(new_RV)
        count_RV.add_(there_RV)
        self._occurred_V |= there_RV.any(0)

    def add_infos(self, infos: Sequence[Mapping[str, Any]]) -> None:
        """Takes a step of the first rows from the infos of single environments, one per row.

        Raises:
            NotANumberError: A value is no number.
        """
        value_RV = np.zeros((len(infos), len(self._wanted)))
        there_RV = np.zeros(value_RV.shape, np.bool_)
        for row, info in enumerate(infos):
            for place, key in enumerate(self._wanted.keys):
                if key in info:
                    try:
                        value_RV[row, place], there_RV[row, place] = _number(key, info[key]), True
                    except NotANumberError as error:
                        error.row = row
                        raise
        if not self.complete:
            for info in infos:
                self.seen.update(map(str, info))
        self.add(torch.from_numpy(value_RV), torch.from_numpy(there_RV))

    def read(self, info: Mapping[str, Any], rows: int) -> tuple[Tensor, Tensor]:
        """The values and where there are any, of all rows of a vector environment; see `add`.

        Args:
            info: Values have a leading axis of rows. A mask `_KEY` says which rows have the key, as Gymnasium's vector
                environments give it.
            rows: R.

        Raises:
            NotANumberError: A value is not a number per row.
        """
        device = self._value_RV.device
        value_RV = torch.zeros(rows, len(self._wanted), dtype=torch.float64, device=device)
        there_RV = torch.zeros(rows, len(self._wanted), dtype=torch.bool, device=device)
        for place, key in enumerate(self._wanted.keys):
            if key in info:
                mask_R = info.get(f"_{key}")
                there_R = None if mask_R is None else torch.as_tensor(mask_R)
                if there_R is None:
                    there_RV[:, place].fill_(True)  # an assignment would wait for a GPU
                else:
                    there_RV[:, place] = there_R.to(device)
                value_RV[:, place] = _numbers(key, info[key], rows, there_R).to(device)
        self.seen.update(map(str, info))
        return value_RV, there_RV

    @property
    def complete(self) -> bool:
        """Whether every key has occurred."""
        return bool(self._occurred_V.all())

    @property
    def missing(self) -> dict[str, str]:
        """As `InfoScalars.missing`, of all episodes so far."""
        return self._wanted.missing(self._occurred_V.tolist(), self.seen)

    def values(self, rows: int) -> Tensor:
        """The numbers of the episodes in the first rows, as they are after the latest step, (R, V), float64."""
        value_RV = self._value_RV[:rows].clone()
        for place, reduction in enumerate(self._wanted.reductions):
            if reduction == "mean":
                value_RV[:, place] /= self._count_RV[:rows, place]  # NaN where there is no value
        return value_RV

    def move(self, source: int, target: int) -> None:
        """Moves a row into the place of another."""
        for array in (self._value_RV, self._count_RV):
            array[target] = array[source]

    def keep(self, rows: Tensor) -> None:
        """Keeps only these rows, int64, in this order."""
        self._value_RV, self._count_RV = self._value_RV[rows], self._count_RV[rows]


def means_of_episodes(value_JV: NDArray[np.float64], per_member: int) -> Floats:
    """The mean of each scalar over each member's episodes, (B, V), float32; NaN where an episode has none.

    Args:
        value_JV: Those of all episodes, one member after the other.
        per_member: Episodes of a member.
    """
    with np.errstate(invalid="ignore", over="ignore"):  # of infinities, and of what is too large for float32
        means_BV: Floats = value_JV.reshape(-1, per_member, value_JV.shape[1]).mean(1).astype(np.float32)
    return means_BV


def _parsed(wanted: str) -> tuple[str, str]:
    key, colon, reduction = wanted.rpartition(":")
    if not colon:
        key, reduction = wanted, "last"
    if not key:
        raise ConfigurationError(
            f"log_info must name keys of the environment's info, such as is_success or distance:mean; got {wanted!r}.",
            argument="log_info",
        )
    if reduction not in MEANINGS:
        raise ConfigurationError(
            f"log_info: {wanted!r} ends with {reduction!r}; what follows a colon is one of {', '.join(MEANINGS)}, the "
            f"way from an episode's values to one number.{did_you_mean(reduction, MEANINGS)}",
            argument="log_info",
        )
    return key, reduction


def _number(key: str, value: Any) -> float:
    if type(value) in (float, int, bool):
        return float(value)
    array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
    if array.dtype.kind not in "biuf" or array.size != 1:
        raise _no_number(key, value, array)
    return float(array.reshape(()))


def _numbers(key: str, values: Any, rows: int, there_R: Tensor | None) -> Tensor:
    """One float64 per row; rows without a value, by the mask, may hold anything."""
    if isinstance(values, Tensor):
        tensor = values
    else:
        array = np.asarray(values)
        if array.dtype == object and array.shape[:1] == (rows,):
            has_R = [True] * rows if there_R is None else there_R.tolist()
            array = np.array([_number(key, one) if has else 0.0 for one, has in zip(array, has_R, strict=True)])
        if array.dtype.kind not in "biuf":
            raise _no_number(key, values, array)
        tensor = torch.from_numpy(np.ascontiguousarray(array))
    if tensor.shape[:1] != (rows,) or tensor.numel() != rows:
        raise NotANumberError(
            f"its info's {key!r} cannot be logged: one number for each of {rows} rows is wanted, and it has "
            f"the shape {tuple(tensor.shape)}"
        )
    return tensor.reshape(-1).double()


def _no_number(key: str, value: Any, array: Any) -> NotANumberError:
    shown = repr(value)
    what = f"an array of shape {array.shape}" if array.size != 1 and array.shape else shown[:60]
    return NotANumberError(f"its info's {key!r} cannot be logged: a number is wanted, and it is {what}")
