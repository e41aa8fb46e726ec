"""A run that goes on until a signal ends it: `python -m tests.support.long_run RUN_DIR [--hang]`; or goes on.

The tests call `run` in their own process, too, to see what would have become of it.
"""

import sys
from pathlib import Path
from typing import Any

from distes.runs.directory import RunDirectory
from distes.runs.monitors.base import Monitor
from distes.runs.monitors.jsonl import Jsonl
from distes.training.budget import Result
from tests.support.small import archive, drift, trainer


def run(path: Path, generations: int, seconds: float = 0.0, **environment: Any) -> Result:
    """Begins a run, or goes on with it, up to a number of generations."""
    parts = drift(env_kwargs={"seconds": seconds, **environment})
    new = not (path / "config.yaml").exists()
    monitors: list[Monitor] = []  # filled once going back has shortened the file of metrics
    with RunDirectory.create(path, "") if new else RunDirectory.open(path) as directory:
        made = trainer(parts, generations=generations, monitors=monitors, archive=archive(directory, parts))
        if not new:
            made.restore()
            directory.truncate_metrics(made.generation)
        monitors.append(Jsonl(directory.metrics))
        return made.run()


if __name__ == "__main__":
    hang = "--hang" in sys.argv
    print(run(Path(sys.argv[1]), 10**9, seconds=600 if hang else 0.001, announce=hang).reason)
