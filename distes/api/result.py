"""How a run ended: `result.json` for scripts, and the last line for the user."""

import dataclasses
import json
import math
import shlex

from distes.errors import RunDirectoryError, installation
from distes.runs import atomic_files
from distes.runs.directory import RunDirectory
from distes.runs.monitors.console import duration, number
from distes.training.budget import Result


def write_result(directory: RunDirectory, result: Result) -> str | None:
    """Writes how the run ended to `result.json`, in which null stands for NaN and infinity.

    Returns:
        None, or why the file could not be written, as a sentence.
    """
    values = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in dataclasses.asdict(result).items()
    }
    path = directory.path / "result.json"
    try:
        atomic_files.replace(path, (json.dumps(values, indent=2) + "\n").encode())
    except OSError as error:
        return f"{path} could not be written: {atomic_files.reason(error)}."
    return None


def forget_result(directory: RunDirectory) -> None:
    """Removes the `result.json` of an earlier end of the run.

    Raises:
        RunDirectoryError: The file cannot be removed.
    """
    path = directory.path / "result.json"
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise RunDirectoryError(
            f"{path}, of the run's earlier end, cannot be removed: {atomic_files.reason(error)}."
        ) from error


def summary(result: Result, path: str, resume: str, trusting: str = "", *, saved: bool = True) -> str:
    """The last line that a user sees, with commands that work in the current directory.

    Args:
        result: How the run ended.
        path: The run directory.
        resume: The command that resumes the run.
        trusting: The flag that playing needs if the run names code that is not part of distes.
        saved: Whether the state of the last generation is on disk.
    """
    run = shlex.quote(path)
    done = f"{result.generation:,} generations, {result.timesteps:,} timesteps and {duration(result.seconds)}"
    if result.reason == "interrupted":
        state = "the state is saved" if saved else "the state could not be saved, and the last checkpoint counts"
        return f"Interrupted after {done}; {state}. To go on: {resume}"
    mean = f"{number(result.eval_mean)} ± {number(result.eval_std)} over {result.eval_episodes} episodes"
    mean = f"evaluation {mean}" if result.eval_episodes else "not evaluated"
    return (
        f"Done ({result.reason}) after {done}: {mean}. It lies in {path}. "
        f"To watch: {installation.program('tensorboard')} --logdir {run}. "
        f"To replay: {installation.script('play')} {run}{trusting}"
    )
