"""Records metrics with MLflow."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from numpy.typing import NDArray

from distes.runs.monitors.base import Metrics, Monitor

LONGEST = 6000  # characters of a parameter's value
MOST = 100  # parameters in one call


class MLflow(Monitor):
    """Logs every metric by generation, and the configuration as parameters.

    MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME have their usual meaning. A resumed run goes on with the run that the
    file `mlflow.id` names. The program's own active run of MLflow is left alone.
    """

    def __init__(self, directory: Path, configuration: Mapping[str, Any]) -> None:
        """Creates the run, or finds that of the run directory.

        Args:
            directory: The run directory.
            configuration: Values by full key.

        Raises:
            Exception: MLflow's, such as one that says that a server does not answer.
        """
        self._client = MlflowClient()
        identity = directory / "mlflow.id"
        if identity.is_file():
            self._id = identity.read_text().strip()
            self._client.update_run(self._id, "RUNNING")
            return
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "distes")
        found = self._client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else self._client.create_experiment(name)
        self._id = self._client.create_run(experiment, run_name=directory.name).info.run_id
        parameters = [Param(key, str(value)[:LONGEST]) for key, value in configuration.items()]
        for start in range(0, len(parameters), MOST):
            self._client.log_batch(self._id, params=parameters[start : start + MOST])
        identity.write_text(f"{self._id}\n")

    def record(self, metrics: Metrics, fitness_N2: NDArray[Any]) -> None:
        """Logs a generation's numbers.

        Args:
            metrics: The generation's metrics by name; texts are not logged.
            fitness_N2: Not recorded.
        """
        del fitness_N2
        now, step = int(time.time() * 1000), int(metrics["generation"])
        numbers = [
            Metric(name, float(value), now, step) for name, value in metrics.items() if not isinstance(value, str)
        ]
        self._client.log_batch(self._id, metrics=numbers)

    def close(self) -> None:
        """Marks the run as finished."""
        self._client.set_terminated(self._id, "FINISHED")
