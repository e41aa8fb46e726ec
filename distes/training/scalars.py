"""The numbers that a task reports beside fitness: recorded, and never learnt from.

Axes: N pairs, 2 the signs (+, -), E episodes of the centre, V scalars that the task names, X any episodes.
"""

import math
import warnings
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from distes.errors import ConfigurationError, DistesWarning
from distes.population import Evaluation, Floats, Population
from distes.tasks.base import Task


class Scalars:
    """The scalars of a task, which are looked for until an episode has shown each."""

    def __init__(self, task: Task) -> None:
        """Reads nothing yet."""
        self._task = task
        self._unseen: dict[str, str] | None = None  # since the first generation of this process: names, and why

    @property
    def meanings(self) -> dict[str, str]:
        """What each scalar means, by name."""
        return {name: self._task.meaning(name) for name in self._task.scalars}

    def require(self, population: Population, evaluation: Evaluation) -> None:
        """Checks that the first evaluation has all scalars that the task names, so that a wrong name is found at once.

        Where a scalar may come later, as in a resumed run, a missing one is a warning.

        Raises:
            ConfigurationError: No member and no episode of the centre has one of them, and none ever will.
        """
        if self._unseen is not None:
            self._unseen = {name: why for name, why in self._unseen.items() if name in evaluation.missing}
            return
        self._unseen = dict(evaluation.missing)
        if not self._unseen:
            return
        sentences = " ".join(self._unseen.values())
        if population.generation > 0:
            warnings.warn(sentences, DistesWarning, stacklevel=2)
        elif self._task.occasional_scalars:
            warnings.warn(f"{sentences} It is recorded once an episode has it.", DistesWarning, stacklevel=2)
        else:
            raise ConfigurationError(sentences)

    def warn_of_unseen(self) -> None:
        """Warns of scalars that no generation of this process had, at its end."""
        for name, why in (self._unseen or {}).items():
            warnings.warn(f"No episode of this run had a value for info/{name}. {why}", DistesWarning, stacklevel=2)

    def metrics(self, evaluation: Evaluation, scalars_EV: Floats | None) -> dict[str, float | int]:
        """The metrics of a generation; see `of_scalars`."""
        return of_scalars(self._task.scalars, evaluation.scalars_N2V, scalars_EV, self._task.centre_scalars)


def of_test(task: Task, evaluation: Evaluation | None) -> dict[str, float]:
    """Means over an evaluation of the centre: `fitness`, and the task's scalars by name; empty for no evaluation."""
    if evaluation is None:
        return {}
    means = {"fitness": float(evaluation.eval_fitness_E.mean())}
    if evaluation.eval_scalars_EV is not None:
        flat_EV = evaluation.eval_scalars_EV.astype(np.float64)
        means |= {name: _mean(flat_EV[:, place]) for place, name in enumerate(task.scalars)}
    return means


def of_scalars(
    names: Sequence[str],
    scalars_N2V: Floats | None,
    eval_scalars_EV: Floats | None,
    only_centre: Collection[str] = (),
) -> dict[str, float | int]:
    """Metrics of the scalars that a task names: `info/NAME`, the mean of members, and `eval/info/NAME`, of the centre.

    Members and episodes without a value (NaN) do not count. Where none has one, the mean is NaN.

    Args:
        names: The scalars' names.
        scalars_N2V: Those of the members, float32; None for none.
        eval_scalars_EV: Those of the centre's episodes, float32; None, or (0, V), if it was not evaluated.
        only_centre: The names of those that members never have.
    """
    metrics: dict[str, float | int] = {}
    for start, scalars in (("info", scalars_N2V), ("eval/info", eval_scalars_EV)):
        if scalars is not None and scalars.size:
            flat_XV = scalars.reshape(-1, len(names)).astype(np.float64)
            has = [one for one in names if start == "eval/info" or one not in only_centre]
            metrics |= {f"{start}/{name}": _mean(flat_XV[:, names.index(name)]) for name in has}
    return metrics


def _mean(values_X: NDArray[np.float64]) -> float:
    """The mean of those values that are not NaN; NaN if all are."""
    known = values_X[~np.isnan(values_X)]
    with np.errstate(invalid="ignore"):  # of infinities
        return float(known.mean()) if len(known) else math.nan
