"""A run that was trained, as Python sees it: its policy, its history, its picture."""

import json
import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from distes.api.configuration.objects import Objects
from distes.api.saved.history import as_html, as_table, in_words
from distes.api.saved.result import in_test
from distes.errors import RunDirectoryError
from distes.runs import atomic_files
from distes.runs.metrics_file import read_rows
from distes.training.budget import Result

if TYPE_CHECKING:
    from distes.api.saved.policy import Policy


class Run:
    """A run directory. `distes.train` returns one, and `distes.Run(run_dir)` opens one of an earlier program.

    Attributes:
        directory: The run directory.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        result: Result | None = None,
        objects: Objects | None = None,
        trust: bool = False,
    ) -> None:
        """Reads nothing yet.

        Args:
            directory: The run directory.
            result: How the run ended; None reads `result.json`.
            objects: The objects that the run was given.
            trust: Whether its policy may import and call code that is not part of distes.

        Raises:
            RunDirectoryError: The directory holds no run.
        """
        self.directory = Path(directory)
        if not (self.directory / "config.yaml").is_file():
            raise RunDirectoryError(f"{self.directory} holds no run: there is no config.yaml in it.")
        self._result, self._objects, self._trust = result, objects or Objects(), trust

    @property
    def result(self) -> Result | None:
        """How the run ended; None if it has not, or was interrupted before its first end."""
        if self._result is not None:
            return self._result
        path = self.directory / "result.json"
        if not path.exists():
            return None
        try:
            values = json.loads(atomic_files.read(path))
            names = Result.__dataclass_fields__.keys() & values.keys()
            known: dict[str, Any] = {name: float("nan") if values[name] is None else values[name] for name in names}
            return Result(**known)
        except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise RunDirectoryError(f"{path} cannot be read: {error}.") from error

    @cached_property
    def policy(self) -> "Policy":
        """The best policy; the last one if no evaluation has chosen a best."""
        best = (self.directory / "policy" / "best.safetensors").exists()
        return self.load("best" if best else "last")

    def load(self, which: Literal["best", "last"] = "best") -> "Policy":
        """Returns a saved policy.

        Args:
            which: The centre with the best evaluation, or the last one.

        Raises:
            DistesError: There is none, or it cannot be made.
        """
        from distes.api.saved.load import read

        with self._objects.offered():
            return read(self.directory, which, trust=self._trust)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The metrics of each generation by name, the first generation first."""
        return read_rows(self.directory / "metrics.jsonl")

    @property
    def history(self) -> Any:
        """The metrics of each generation: a pandas DataFrame where pandas is installed, otherwise `rows`."""
        return as_table(self.rows)

    def plot(self, x: str = "timesteps") -> Any:
        """Draws the learning curve; needs the extra `plots`.

        Args:
            x: What the horizontal axis counts: timesteps (in the task's unit), seconds or generations.

        Returns:
            A matplotlib Figure.

        Raises:
            ConfigurationError: matplotlib is not installed.
        """
        from distes.runs.plots.curves import plot_curves  # type: ignore[import-not-found,unused-ignore]

        return plot_curves([self.directory], x=x)

    def __repr__(self) -> str:
        return f"Run({str(self.directory)!r}: {', '.join(f'{name} {value}' for name, value in self._facts().items())})"

    def _repr_html_(self) -> str:
        return as_html(str(self.directory), self._facts())

    def _facts(self) -> dict[str, Any]:
        result = self.result
        if result is None:
            return {"state": "not ended"}
        return {
            "ended by": result.reason,
            "generations": f"{result.generation:,}",
            "timesteps": f"{result.timesteps:,}",
            "seconds": f"{result.seconds:.1f}",
            "evaluation": in_words(result.eval_mean, result.eval_std, result.eval_episodes),
            **({"test": in_test(result.test)} if result.test else {}),
        }
