"""Writes what TensorBoard shows: curves with descriptions, charts of what matters, a table of runs, histograms."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from tensorboard.compat.proto.summary_pb2 import DATA_CLASS_TENSOR, Summary

from distes.runs.metrics_file import read_rows
from distes.runs.monitors.base import Metrics, Monitor
from distes.runs.monitors.event_file import EventFile, set_aside_other_axes
from distes.runs.monitors.glossary import DESCRIPTIONS, FILM, TEST, entry_of
from distes.runs.monitors.histogram import histogram
from distes.runs.monitors.summaries import animation, described, finished, hyperparameters, layout, scalar, yaml_text
from distes.runs.units import UNITS, Units

Axis = Literal["timesteps", "generations"]
COUNTED_BY = {"timesteps": "timesteps", "generations": "generation"}  # axis to metric


class TensorBoard(Monitor):
    """Records the numeric metrics, a histogram of fitness, the configuration as text, and hyperparameters.

    Tags and descriptions are those of `distes.runs.monitors.glossary`. A count of faults, such as `chunks/late`,
    appears from the first generation on in which it is not 0.
    """

    def __init__(
        self,
        directory: Path,
        *,
        axis: Axis = "timesteps",
        resumed_from: Metrics | None = None,
        configuration_text: str = "",
        configuration: Mapping[str, Any] | None = None,
        scalars: Mapping[str, str] | None = None,
        units: Units = UNITS,
    ) -> None:
        """Starts a new event file.

        Args:
            directory: Folder of the file. Start TensorBoard with this folder or one above as its `--logdir`.
            axis: What the horizontal axis counts.
            resumed_from: The `generation` and `timesteps` that a resumed run begins with: TensorBoard hides later
                events of earlier files. If those have another axis, they are renamed to `events.out.other-axis.*`, and
                the directory's `metrics.jsonl` is recorded anew. None for a new run.
            configuration_text: The resolved configuration, shown on the page "Text".
            configuration: Its values by key, a row of the page "HParams"; None for no such row.
            scalars: What the scalars mean that the task reports, by name; None for none.
            units: What the task's steps and episodes are called, for descriptions.

        Raises:
            OSError: The file cannot be created or written.
        """
        self._counted = COUNTED_BY[axis]
        done = 0 if resumed_from is None else int(resumed_from[self._counted])
        again = resumed_from is not None and set_aside_other_axes(directory, axis)
        self._file = EventFile(directory, axis, None if resumed_from is None or again else done + 1)
        self._step, self._described = done, set[str]()
        self._silent: dict[str, tuple[int, float]] = {}  # step and value of counts that have always been 0
        self._scalars, self._units = dict(scalars or {}), units
        beginning = [layout(list(self._scalars), units)]
        if configuration_text:
            beginning.append(yaml_text("configuration", configuration_text))
        if configuration is not None:
            beginning += hyperparameters(configuration, str(directory.resolve()))
        self._file.write(0 if again else done + 1 if resumed_from is not None else 0, beginning)
        if resumed_from is not None and again:
            self._record_again(directory / "metrics.jsonl", int(resumed_from["generation"]))

    def record(self, metrics: Metrics, fitness_N2: NDArray[Any]) -> None:
        """Writes one event with a generation's numeric metrics, in single precision, and the histogram of fitness.

        Args:
            metrics: The generation's metrics by name; texts are not recorded.
            fitness_N2: The fitness of each pair's two members, (N, 2).

        Raises:
            OSError: The file cannot be written; an incomplete record is removed.
        """
        self._step = int(metrics[self._counted])
        values = []
        for key, value in metrics.items():
            if isinstance(value, str):
                continue
            entry = entry_of(key, self._scalars)
            if entry.counts_faults and entry.tag not in self._described:
                if value == 0:
                    self._silent[entry.tag] = self._step, value
                    continue
                self._speak(entry.tag, entry.text)
            values.append(scalar(entry.tag, value, self._once(entry.tag, entry.text)))
        if (counts := histogram(fitness_N2)) is not None:
            tag = "fitness/histogram"
            description = self._once(tag, DESCRIPTIONS[tag])
            metadata = None if description is None else described(description, "histograms", DATA_CLASS_TENSOR)
            values.append(Summary.Value(tag=tag, histo=counts, metadata=metadata))
        self._file.write(self._step, values)

    def film(self, gif: bytes, metrics: Metrics) -> None:
        """Writes a film of the centre, which TensorBoard shows on the page "Images".

        Raises:
            OSError: The file cannot be written.
        """
        self._file.write(int(metrics[self._counted]), [animation(FILM, gif, self._once(FILM, DESCRIPTIONS[FILM]))])

    def finish(self, result: Metrics) -> None:
        """Writes the final score, and that the run has ended.

        Raises:
            OSError: The file cannot be written.
        """
        test: Any = result.get("test", {})
        of_test = [scalar(f"eval/test/{name}", value, f"{TEST}: `{name}`.") for name, value in test.items()]
        self._file.write(self._step, [*finished(float(result.get("eval_mean", math.nan))), *of_test])

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _once(self, tag: str, text: str) -> str | None:
        """Returns a tag's description the first time, then None."""
        if tag in self._described:
            return None
        self._described.add(tag)
        return self._units.say(text)

    def _speak(self, tag: str, text: str) -> None:
        """Writes the latest 0 of a count that will be shown from now on, so that its line rises from there."""
        if tag in self._silent:
            step, value = self._silent.pop(tag)
            self._file.write(step, [scalar(tag, value, self._once(tag, text))])

    def _record_again(self, path: Path, generations: int) -> None:
        """Records the lines of a `metrics.jsonl` up to a generation; there are no histograms of these."""
        for metrics in read_rows(path, damaged=True):
            if metrics["generation"] <= generations:
                self.record(metrics, np.empty((0, 2)))
