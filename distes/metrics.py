"""A generation in numbers; the names are those of `metrics.jsonl` and TensorBoard.

Axes: N pairs, 2 the signs (+, -), E episodes of the centre.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from distes.evaluation import Evaluation
from distes.pools.base import Status


def of_fitness(evaluation: Evaluation, fitness_E: NDArray[np.float64]) -> dict[str, float | int]:
    """Of the population, and of the centre where it was evaluated.

    Args:
        evaluation: Of the population.
        fitness_E: The centre's; empty where it was not evaluated.
    """
    fitness_N2 = evaluation.fitness_N2
    metrics: dict[str, float | int] = {
        "fitness/mean": float(fitness_N2.mean()),
        "fitness/max": float(fitness_N2.max()),
        "fitness/min": float(fitness_N2.min()),
        "fitness/std": float(fitness_N2.std()),
        "episode/length": float(evaluation.steps_N2.sum() / evaluation.episodes),
    }
    if len(fitness_E):
        metrics |= {
            "eval/mean": float(fitness_E.mean()),
            "eval/std": float(fitness_E.std()),
            "eval/min": float(fitness_E.min()),
            "eval/max": float(fitness_E.max()),
            "eval/episodes": len(fitness_E),
            # the share of the population that the centre surpasses (Salimans et al.'s EvalPopRank)
            "eval/rank": float((fitness_N2 < fitness_E.mean()).mean()),
        }
    return metrics


def of_time(evaluation: Evaluation, status: Status, phases: Sequence[float]) -> dict[str, float | int]:
    """Of speed and workers.

    Args:
        evaluation: Of the population.
        status: Of the pool.
        phases: Seconds of asking, of evaluating (the centre included), of updating (shaping, gradient estimate,
            optimiser), and of recording the generation before (monitors and checkpoints).
    """
    asking, evaluating, updating, recording = phases
    return {
        "rate/timesteps": float(evaluation.steps_N2.sum() / evaluating),
        "rate/episodes": evaluation.episodes / evaluating,
        "time/ask": asking,
        "time/evaluate": evaluating,
        "time/update": updating,
        "time/record": recording,
        "workers/alive": status.alive,
        "workers/restarted": status.restarted,
        "workers/utilisation": min(1.0, evaluation.busy_seconds / (evaluating * max(status.alive, 1))),
        "chunks/retried": evaluation.retried,
        "chunks/reissued": status.reissued,
        "chunks/late": status.late,
        "chunks/duplicate": status.duplicate,
        "bytes/down": status.bytes_down,
        "bytes/up": status.bytes_up,
    }
