"""Writes TensorBoard event files: one event per generation, unbuffered.

Events and records are made by TensorBoard's own protocol buffers and `RecordWriter`. Its `EventFileWriter`, which
torch's `SummaryWriter` uses, is avoided: it passes events to a thread, where the error of a full disk is lost or ends
the thread.
"""

import io
import os
import re
import socket
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.summary.writer.record_writer import RecordWriter

from distes.runs.atomic_files import write_all
from distes.runs.monitors.base import Metrics, Monitor

PROGRESS = ("generation", "timesteps", "episodes", "seconds")  # shown together, under progress/
BINS = 30
# TensorBoard shows histograms in single precision.
LARGEST, SMALLEST, LEAST_RANGE = 3.4e38, 1e-30, 1e-5


class TensorBoard(Monitor):
    """Records every numeric metric under its name, a histogram of fitness, and the configuration as text.

    The horizontal axis is the generation; `progress/timesteps` gives the environment steps at each.
    """

    def __init__(self, directory: Path, *, purge_from: int | None = None, configuration_text: str = "") -> None:
        """Starts a new event file.

        Args:
            directory: Folder of the file. Start TensorBoard with this folder or one above as its `--logdir`.
            purge_from: The first generation that a resumed run will record. TensorBoard then hides the events of this
                and later generations in earlier files. None for a new run.
            configuration_text: The resolved configuration, shown on TensorBoard's Text page.

        Raises:
            OSError: The file cannot be created or written.
        """
        path = directory / f"events.out.tfevents.{_timestamp(directory):010d}.{socket.gethostname()}.{os.getpid()}.0"
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        self._write(Event(file_version="brain.Event:2"))
        if purge_from is not None:
            self._write(Event(step=purge_from, session_log=SessionLog(status=SessionLog.START)))
        if configuration_text:
            text = Summary(value=[_text("configuration", configuration_text)])
            self._write(Event(step=purge_from or 0, summary=text))

    def record(self, metrics: Metrics, fitness_N2: NDArray[Any]) -> None:
        """Writes one event with a generation's numeric metrics, in single precision, and the histogram of fitness.

        Args:
            metrics: The generation's metrics by name; texts are not recorded.
            fitness_N2: The fitness of each pair's two members, (N, 2).

        Raises:
            OSError: The file cannot be written; an incomplete record is removed.
        """
        with np.errstate(over="ignore"):  # values beyond the range of single precision become infinity
            values = [
                Summary.Value(tag=f"progress/{key}" if key in PROGRESS else key, simple_value=float(np.float32(value)))
                for key, value in metrics.items()
                if not isinstance(value, str)
            ]
        if (histogram := _histogram(fitness_N2)) is not None:
            values.append(Summary.Value(tag="fitness/histogram", histo=histogram))
        self._write(Event(step=int(metrics["generation"]), summary=Summary(value=values)))

    def close(self) -> None:
        """Closes the file."""
        os.close(self._descriptor)

    def _write(self, event: Event) -> None:
        """Appends a complete record or nothing, since readers stop at an incomplete record.

        Raises:
            OSError: The file cannot be written.
        """
        event.wall_time = time.time()
        record = io.BytesIO()
        RecordWriter(record).write(event.SerializeToString())
        size = os.fstat(self._descriptor).st_size
        try:
            write_all(self._descriptor, record.getvalue())
        except OSError:
            os.ftruncate(self._descriptor, size)
            raise


def _timestamp(directory: Path) -> int:
    """Returns a Unix time in seconds that is later than in any event file's name in `directory`.

    TensorBoard reads event files in the order of their names.
    """
    matches = (re.match(r"events\.out\.tfevents\.(\d{10})\.", name) for name in os.listdir(directory))
    return max([int(time.time()), *(int(match[1]) + 1 for match in matches if match)])


def _histogram(fitness_N2: NDArray[Any]) -> HistogramProto | None:
    """Returns the histogram of the finite values, clipped to +-LARGEST, or None if there is no finite value."""
    values = np.asarray(fitness_N2, dtype=np.float64).ravel()
    values = np.clip(values[np.isfinite(values)], -LARGEST, LARGEST)
    if values.size == 0:
        return None
    edges = _edges(values.min(), values.max())
    counts, _ = np.histogram(values, bins=edges)
    return HistogramProto(
        min=values.min(),
        max=values.max(),
        num=values.size,
        sum=values.sum(),
        sum_squares=values @ values,
        bucket_limit=edges,  # the upper edges; the first, with an empty bucket, is the lower edge of the second
        bucket=[0, *counts],
    )


def _edges(low: np.float64, high: np.float64) -> NDArray[np.float64]:
    """Returns the edges of BINS equal bins from `low` to `high`, (BINS + 1,).

    A range too small for BINS distinct edges in single precision, as in a tie, is widened about its middle to
    LEAST_RANGE times the larger magnitude, or to [-0.5, 0.5] about 0.
    """
    size = max(abs(low), abs(high))
    if size < SMALLEST:
        low, high = np.float64(-0.5), np.float64(0.5)
    elif high - low < LEAST_RANGE * size:
        middle, half = (low + high) / 2, LEAST_RANGE / 2 * size
        low, high = middle - half, middle + half
    return np.linspace(low, high, BINS + 1)


def _text(tag: str, text: str) -> Summary.Value:
    """Returns a value for TensorBoard's Text page: Markdown, in a code fence longer than any in the text."""
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", text))])
    return Summary.Value(
        tag=f"{tag}/text_summary",
        metadata=SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text")),
        tensor=TensorProto(
            dtype="DT_STRING",
            string_val=[f"{fence}yaml\n{text.rstrip()}\n{fence}".encode()],
            tensor_shape=TensorShapeProto(),  # a single text; anything else is shown as a table
        ),
    )
