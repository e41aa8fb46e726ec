"""The monitors that a configuration names: their short names, and how each is made for a run."""

import importlib.util
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distes.api.configuration.keys import BUDGET_AND_PLACE
from distes.api.configuration.resolution import Configuration, flat
from distes.errors import ConfigurationError, DistesError, did_you_mean, raised
from distes.errors.imports import import_class
from distes.errors.installation import install
from distes.runs.monitors.base import Metrics, Monitor
from distes.runs.units import UNITS, Units

EXTRAS = {"wandb": "wandb", "mlflow": "mlflow"}  # the package that a monitor needs, and the extra that brings it


@dataclass(frozen=True)
class Surroundings:
    """What a monitor may be told about its run; a user's monitor gets the attributes that its constructor declares.

    Attributes:
        directory: The run directory.
        configuration: The resolved configuration.
        configuration_text: The same in YAML.
        resumed_from: What a resumed run has done already, such as `generation` and `timesteps`; None for a new run.
        scalars: What the scalars mean that the task reports (`--task.log_info`), by name.
        units: What the task's steps and episodes are called.
    """

    directory: Path
    configuration: Configuration
    configuration_text: str
    resumed_from: Metrics | None
    scalars: Mapping[str, str] = field(default_factory=dict)
    units: Units = UNITS


def _tensorboard(run: Surroundings) -> Monitor:
    from distes.runs.monitors.tensorboard import TensorBoard

    return TensorBoard(
        run.directory,
        axis=run.configuration["tensorboard_axis"],
        resumed_from=run.resumed_from,
        configuration_text=run.configuration_text,
        configuration={key: value for key, value in flat(run.configuration).items() if key not in BUDGET_AND_PLACE},
        scalars=run.scalars,
        units=run.units,
    )


def _csv(run: Surroundings) -> Monitor:
    from distes.runs.monitors.csv import Csv

    return Csv(run.directory / "metrics.csv", run.directory / "metrics.jsonl")


def _wandb(run: Surroundings) -> Monitor:
    from distes.runs.monitors.wandb import Wandb

    return Wandb(run.directory, flat(run.configuration))


def _mlflow(run: Surroundings) -> Monitor:
    from distes.runs.monitors.mlflow import MLflow

    return MLflow(run.directory, flat(run.configuration))


MONITORS: dict[str, Callable[[Surroundings], Monitor]] = {
    "csv": _csv,
    "mlflow": _mlflow,
    "tensorboard": _tensorboard,
    "wandb": _wandb,
}


def require_installed(names: Sequence[str]) -> None:
    """Checks the names of monitors, before anything expensive starts.

    Args:
        names: Short names and import paths.

    Raises:
        ConfigurationError: A name is unknown, stands twice, or needs a package that is not installed.
    """
    for place, name in enumerate(names):
        if name in names[:place]:
            raise ConfigurationError(f"monitors names {name!r} twice.")
        if name not in MONITORS and "." not in name:
            raise ConfigurationError(
                f"monitors: {name!r} is unknown: choose from {', '.join(MONITORS)}, or give the import path of a class."
                f"{did_you_mean(name, MONITORS)}"
            )
        if name in EXTRAS and importlib.util.find_spec(name) is None:
            raise ConfigurationError(
                f"monitors: {name!r} needs the package {name}, which is not installed: {install(EXTRAS[name])}."
            )
        if name not in MONITORS:
            import_class("monitors", name, "distes.runs.monitors.base.Monitor")


def make_monitor(name: str, run: Surroundings) -> Monitor:
    """Makes a monitor.

    Args:
        name: A short name, or the import path of a subclass of `Monitor`.
        run: What it may be told.

    Raises:
        ConfigurationError: It cannot be made.
    """
    try:
        if name in MONITORS:
            return MONITORS[name](run)
        kind = import_class("monitors", name, "distes.runs.monitors.base.Monitor")
        declared = inspect.signature(kind).parameters.keys()
        arguments: dict[str, Any] = {key: value for key, value in vars(run).items() if key in declared}
        made: Monitor = kind(**arguments)
        return made
    except (DistesError, OSError):
        raise
    except Exception as error:
        raise ConfigurationError(f"monitors: {name} cannot be made: it {raised(error)}.") from error
