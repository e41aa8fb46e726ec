"""Records metrics with Weights & Biases, online or offline as its own environment variables say."""

import math
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import wandb
from numpy.typing import NDArray

from distes.runs.monitors.base import Metrics, Monitor


class Wandb(Monitor):
    """Logs every metric with timesteps as the horizontal axis, and the configuration.

    WANDB_MODE=offline writes into the run directory, from where `wandb sync` uploads; WANDB_PROJECT, WANDB_ENTITY and
    WANDB_NAME have their usual meaning. A resumed run goes on with the identity that the file `wandb.id` holds.
    """

    def __init__(self, directory: Path, configuration: Mapping[str, Any]) -> None:
        """Starts wandb's own process.

        Args:
            directory: The run directory.
            configuration: Values by full key.

        Raises:
            Exception: wandb's, such as one that asks for a login.
        """
        identity = directory / "wandb.id"
        known = identity.read_text().strip() if identity.is_file() else secrets.token_hex(4)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "distes"),
            name=os.environ.get("WANDB_NAME", directory.name),
            dir=str(directory),
            id=known,
            resume="allow",
            config=dict(configuration),
            reinit="create_new",
            settings=wandb.Settings(console="off", silent=True),
        )
        identity.write_text(f"{known}\n")
        self._run.define_metric("*", step_metric="timesteps")

    def record(self, metrics: Metrics, fitness_N2: NDArray[Any]) -> None:
        """Logs a generation's numbers, and a histogram of fitness.

        Args:
            metrics: The generation's metrics by name; texts are not logged.
            fitness_N2: The fitness of each pair's two members, (N, 2).
        """
        numbers: dict[str, Any] = {name: value for name, value in metrics.items() if not isinstance(value, str)}
        finite = [value for value in fitness_N2.ravel().tolist() if math.isfinite(value)]
        if finite:
            numbers["fitness/histogram"] = wandb.Histogram(finite)
        self._run.log(numbers, step=int(metrics["generation"]))

    def close(self) -> None:
        """Ends wandb's process, once it has written everything."""
        self._run.finish()
