"""The metrics of a generation, under the names that `metrics.jsonl` and TensorBoard use.

Axes: N pairs, 2 the signs (+, -), E episodes of the centre.
"""

import hashlib
import math
import warnings
from collections.abc import Container, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from distes.errors import DistesWarning
from distes.pools.base import Status
from distes.population import Evaluation, Floats

PERCENTILES = (10, 25, 50, 75, 90)  # of the members' fitness


def of_fitness(evaluation: Evaluation, fitness_E: NDArray[np.float64]) -> dict[str, float | int]:
    """Metrics of the population's fitness, and of the centre's if it was evaluated.

    Args:
        evaluation: The population's evaluation.
        fitness_E: The centre's fitness; empty if it was not evaluated.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # huge numbers are recorded as Infinity or NaN
        return _of_fitness(evaluation, fitness_E)


def _of_fitness(evaluation: Evaluation, fitness_E: NDArray[np.float64]) -> dict[str, float | int]:
    fitness_N2 = evaluation.fitness_N2
    percentiles = np.percentile(fitness_N2, PERCENTILES) if np.isfinite(fitness_N2).all() else [math.nan] * 5
    metrics: dict[str, float | int] = {
        "fitness/mean": float(fitness_N2.mean()),
        "fitness/max": float(fitness_N2.max()),
        "fitness/min": float(fitness_N2.min()),
        "fitness/std": float(fitness_N2.std()),
        **{f"fitness/p{q}": float(value) for q, value in zip(PERCENTILES, percentiles, strict=True)},
        "episode/length": float(evaluation.steps_N2.sum() / evaluation.episodes),
    }
    if len(fitness_E):
        below_E = np.searchsorted(np.sort(fitness_N2, axis=None), fitness_E)
        metrics |= {
            "eval/mean": float(fitness_E.mean()),
            "eval/std": float(fitness_E.std()),
            "eval/min": float(fitness_E.min()),
            "eval/max": float(fitness_E.max()),
            "eval/episodes": len(fitness_E),
            # the share of the population that an episode of the centre surpasses, averaged over episodes: EvalPopRank
            # in the released code of Salimans et al.
            "eval/rank": float(below_E.mean() / fitness_N2.size) if np.isfinite(fitness_E).all() else math.nan,
        }
    return metrics


def of_returns(evaluation: Evaluation) -> dict[str, float | int]:
    """Metrics of the members' returns; none where fitness is the return itself."""
    return_N2 = evaluation.return_N2
    if return_N2 is None:
        return {}
    with np.errstate(over="ignore", invalid="ignore"):
        return {
            "return/mean": float(return_N2.mean()),
            "return/std": float(return_N2.std()),
            "return/min": float(return_N2.min()),
            "return/max": float(return_N2.max()),
        }


def of_cap(evaluation: Evaluation, max_steps: int | None) -> dict[str, float | int]:
    """Metrics of the cap on the members' episodes; none without a cap.

    Args:
        evaluation: The population's evaluation.
        max_steps: The cap.
    """
    if max_steps is None:
        return {}
    return {"episode/cap": max_steps, "episode/capped": evaluation.capped / evaluation.episodes}


def of_time(evaluation: Evaluation, status: Status, phases: Sequence[float]) -> dict[str, float | int | str]:
    """Metrics of speed, workers and traffic.

    Args:
        evaluation: The population's evaluation.
        status: The pool's status.
        phases: Seconds spent on asking, on evaluating (including the centre), on updating (shaping, gradient estimate,
            optimiser), and on recording the previous generation (monitors and checkpoints); and those in which the
            evaluation waited while no worker could evaluate, which do not count as evaluating.
    """
    asking, evaluating, updating, recording, waiting = phases
    return {
        "rate/timesteps": float(evaluation.steps_N2.sum() / evaluating),
        "rate/episodes": evaluation.episodes / evaluating,
        "time/ask": asking,
        "time/evaluate": evaluating,
        "time/update": updating,
        "time/record": recording,
        "time/wait": waiting,
        "workers/place": status.place,
        "workers/alive": status.alive,
        "workers/restarted": status.restarted,
        **({"rows/utilisation": float(evaluation.steps_N2.sum() / evaluation.stepped)} if evaluation.stepped else {}),
        "workers/utilisation": min(1.0, evaluation.busy_seconds / (evaluating * max(status.alive, 1))),
        "chunks/retried": evaluation.retried,
        "chunks/reissued": status.reissued,
        "chunks/late": status.late,
        "chunks/duplicate": status.duplicate,
        "bytes/down": status.bytes_down,
        "bytes/up": status.bytes_up,
    }


def of_strategy(strategy: object, returned: object, taken: Container[str]) -> dict[str, float | int]:
    """The metrics that a strategy's `tell` returned. Those that cannot be recorded are left out, with a warning.

    Args:
        strategy: The strategy, for the warning.
        returned: Metrics by name; a user's strategy may return anything.
        taken: Names that distes itself records.
    """
    name = type(strategy).__name__
    if not isinstance(returned, Mapping):
        _warn(f"{name}.tell must return a dictionary of metrics; it returned a {type(returned).__name__}")
        return {}
    metrics: dict[str, float | int] = {}
    for key, value in returned.items():
        if not isinstance(key, str) or key in taken or key.startswith("eval/"):
            _warn(f"{name}.tell returned the metric {key!r}, and distes records one of that name itself")
        elif isinstance(value, int | float):
            metrics[key] = value
        else:
            try:
                metrics[key] = float(value)  # of NumPy and torch
            except Exception:
                _warn(f"{name}.tell returned the metric {key!r}, which is a {type(value).__name__} and no number")
    return metrics


def digest(centres: Iterable[Floats]) -> str:
    """The SHA-256 of the bytes of all centres, each (P,), in hexadecimal."""
    hashed = hashlib.sha256()
    for centre_P in centres:
        hashed.update(centre_P.data)
    return hashed.hexdigest()


def _warn(sentence: str) -> None:
    warnings.warn(f"{sentence}: it is not recorded.", DistesWarning, stacklevel=3)
