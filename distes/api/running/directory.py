"""The directory of a run: a new name, its first files, and how they are removed where the run cannot start."""

import contextlib
import itertools
import re
from datetime import datetime
from pathlib import Path

from distes.api.configuration import yaml_text
from distes.api.configuration.resolution import Configuration
from distes.api.running.probe import FILE
from distes.runs.directory import RunDirectory


def new_run_dir(task: str) -> str:
    """A name for a run directory that does not exist yet: `runs/<task>-<date>-<time>`."""
    name = re.sub(r"[^\w.-]+", "-", task).strip("-.") or "task"
    start = f"runs/{name}-{datetime.now():%Y%m%d-%H%M%S}"
    candidates = (start if count == 1 else f"{start}-{count}" for count in itertools.count(1))
    return next(path for path in candidates if not Path(path).exists())


def as_text(configuration: Configuration) -> str:
    """The configuration in YAML without `run_dir`, so that --config takes it as it is."""
    return yaml_text.write({**configuration, "run_dir": None})


def open_directory(path: str, configuration: Configuration, *, resumed: bool, only_replays: bool) -> RunDirectory:
    """Opens a run's directory, or makes it.

    Args:
        path: The directory.
        configuration: Written into a new directory.
        resumed: Whether it holds a run to continue.
        only_replays: Whether it is only read; another process may then hold it.

    Raises:
        RunDirectoryError: It cannot be opened or made, or holds a run that is not to be continued.
    """
    if only_replays:
        return RunDirectory(path)
    return RunDirectory.open(path) if resumed else RunDirectory.create(path, as_text(configuration))


def discard(directory: RunDirectory) -> None:
    """Removes what makes a directory a run, so that the user can try again with the same `run_dir`."""
    directory.config.unlink(missing_ok=True)
    (directory.path / FILE).unlink(missing_ok=True)
    for folder in (directory.checkpoints, directory.policy):
        with contextlib.suppress(OSError):
            folder.rmdir()
