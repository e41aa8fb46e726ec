"""Run directories as a run leaves them, with metrics that a test chooses."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distes.api.configuration import yaml_text
from distes.runs.units import UNITS, Units


def configuration(seed: int = 0, sigma: float = 0.1, class_path: str = "OpenAIES") -> dict[str, Any]:
    return {
        "seed": seed,
        "generations": 3,
        "workers": 0,
        "task": {"class_path": "Function", "init_args": {"name": "sphere", "dimension": 10}},
        "policy": {"class_path": "Linear", "init_args": {"bias": True}},
        "strategy": {"class_path": class_path, "init_args": {"sigma": sigma, "population_size": 4}},
        "noise": {"size": 1000, "dtype": "float32"},
        "perturbation": {"class_path": "Dense", "init_args": {}},
    }


def record(
    path: Path,
    evaluations: Sequence[float],
    *,
    settings: Mapping[str, Any] | None = None,
    reason: str | None = "generations",
    final: float | None = None,
    episodes: int = 0,
    units: Units | None = None,
) -> Path:
    """Writes a run of ten timesteps and two seconds a generation.

    Args:
        path: The run directory.
        evaluations: `eval/mean` of each generation.
        settings: The configuration; None for that of seed 0.
        reason: Why it ended; None for a run that has not.
        final: The mean of its final episodes.
        episodes: Number of final episodes.
        units: What the task counts; None for a run of an earlier version, which does not say.
    """
    path.mkdir(parents=True)
    (path / "config.yaml").write_text(yaml_text.write(dict(settings or configuration())))
    rows = [
        {
            "generation": number,
            "timesteps": 10 * number,
            "seconds": 2.0 * number,
            "fitness/mean": -1.0,
            "episode/length": 5.0,
            "eval/mean": value if abs(value) < float("inf") else "NaN",
            "params/sha256": "0" * 64,
        }
        for number, value in enumerate(evaluations, 1)
    ]
    if units is not None:
        (path / "environment.json").write_text(json.dumps([{"units": UNITS._asdict()}, {"units": units._asdict()}]))
    (path / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    if reason is not None:
        count = len(rows)
        result = {
            "reason": reason,
            "generation": count,
            "timesteps": 10 * count,
            "seconds": 2.0 * count,
            "eval_mean": final,
            "eval_episodes": episodes,
        }
        (path / "result.json").write_text(json.dumps(result))
    return path
