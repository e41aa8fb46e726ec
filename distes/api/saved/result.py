"""How a run ended: `result.json` for scripts, and the last lines for the user."""

import dataclasses
import json
import math
import shlex
from collections.abc import Mapping
from typing import Any

from distes.api.configuration import objects
from distes.errors import RunDirectoryError, installation
from distes.runs import atomic_files
from distes.runs.directory import RunDirectory
from distes.runs.monitors.wording import duration, number
from distes.runs.units import UNITS, Units
from distes.training.budget import Result


def write_result(directory: RunDirectory, result: Result) -> str | None:
    """Writes how the run ended to `result.json`, in which null stands for NaN and infinity.

    Returns:
        None, or why the file could not be written, as a sentence.
    """
    values = _finite(dataclasses.asdict(result))
    path = directory.path / "result.json"
    try:
        atomic_files.replace(path, (json.dumps(values, indent=2) + "\n").encode())
    except OSError as error:
        return f"{path} could not be written: {atomic_files.reason(error)}."
    return None


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


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


def summary(
    result: Result,
    path: str,
    resume: str,
    play: str,
    *,
    saved: bool = True,
    units: Units = UNITS,
    playable: bool = True,
) -> str:
    """The last lines that a user sees, with commands that work in the current directory.

    Args:
        result: How the run ended.
        path: The run directory.
        resume: The command that resumes the run.
        play: The command that plays the policy, or measures it.
        saved: Whether the state of the last generation is on disk.
        units: What the task's steps are called.
        playable: Whether the policy can be played.
    """
    run = shlex.quote(path)
    if result.reason == "interrupted":
        steps = f"{result.timesteps:,} {units.step if result.timesteps == 1 else units.steps}"
        done = f"{_counted(result.generation, 'generation')}, {steps}"
        state = "the state is saved" if saved else "the state could not be saved, and the last checkpoint counts"
        return f"Interrupted after {done}, {duration(result.seconds)}; {state}.\n{_row('to go on', resume)}"
    mean = f"evaluation {number(result.eval_mean)} ± {number(result.eval_std)}"
    mean += f" over {_counted(result.eval_episodes, 'episode')}"
    if result.test:
        mean = f"evaluation {number(result.eval_mean)}; test {in_test(result.test)}"
    return "\n".join(
        [
            f"Done ({result.reason}, {duration(result.seconds)}): {mean if result.eval_episodes else 'not evaluated'}",
            _row("saved in", path),
            _row("to watch", f"{installation.program('tensorboard')} --logdir {run}"),
            _row("to play" if playable else "to test", play),
        ]
    )


def in_test(test: Mapping[str, float]) -> str:
    """Returns `Result.test` in words: fitness and the task's scalars, such as `loss 0.10, accuracy 97.50`.

    Fitness is left out where there is a loss, of which it is another form.
    """
    scalars = {name: value for name, value in test.items() if name != "fitness" or "loss" not in test}
    return ", ".join(f"{name} {number(value)}" for name, value in scalars.items())


def playing(path: str, configuration: Mapping[str, Any], trusting: str, *, playable: bool = True) -> str:
    """Returns the command that plays or measures the policy of a run; a call of Python where it consists of objects.

    Args:
        path: The run directory.
        configuration: The run's configuration.
        trusting: The flag that the command needs if the run names code that is not part of distes.
        playable: Whether it can be played; otherwise it is measured.
    """
    parts = {section: configuration[section] for section in ("task", "policy") if section in configuration}
    if given := objects.arguments_of(parts):
        return f"distes.load({path!r}, {', '.join(f'{name}=...' for name in given)}).evaluate() in Python"
    return f"{installation.command('play' if playable else 'evaluate')} {shlex.quote(path)}{trusting}"


def _row(name: str, what: str) -> str:
    return f"  {name:<8}  {what}"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
