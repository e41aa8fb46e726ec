"""TensorBoard event files, written through TensorBoard's own protocol buffers.

TensorBoard's and torch's writers hand events to a thread, where the error of a full disk is lost or kills the thread,
and importing them may import TensorFlow, banner and all, where that is installed; its plain record writer imports absl.
An event file is simple: records of (length, checksum, bytes, checksum), each an `Event`. So this file writes it: one
event per generation, at once.
"""

import os
import re
import socket
import struct
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto

from distes.runs.atomic_files import write_all
from distes.runs.monitors.base import Metrics, Monitor

PROGRESS = ("generation", "timesteps", "episodes", "seconds")  # shown together, under progress/
BINS = 30
CASTAGNOLI = 0x82F63B78  # the polynomial of CRC-32C, bits reversed
# TensorBoard shows histograms in single precision.
LARGEST, SMALLEST, LEAST_RANGE = 3.4e38, 1e-30, 1e-5


class TensorBoard(Monitor):
    """Writes every numeric metric under its own name, the histogram of fitness, and the configuration as text.

    The horizontal axis is the generation; `progress/timesteps` has the timesteps of each.
    """

    def __init__(self, directory: Path, *, purge_from: int | None = None, configuration_text: str = "") -> None:
        """Starts a new event file.

        Args:
            directory: Where it goes; TensorBoard is pointed here or at a folder above.
            purge_from: The first generation that a resumed run will record: what earlier event files say of it and of
                later ones is no longer shown. None for a new run.
            configuration_text: The resolved configuration, shown on the page of texts.

        Raises:
            OSError: The file cannot be made.
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
        """Writes one event with everything of this generation; numbers are kept in single precision, as scalars are."""
        with np.errstate(over="ignore"):  # beyond single precision is infinity
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
        """Appends one record, or nothing: readers stop for good at a record that is torn."""
        event.wall_time = time.time()
        data = event.SerializeToString()
        length = struct.pack("<Q", len(data))
        record = length + _checksum(length) + data + _checksum(data)
        size = os.fstat(self._descriptor).st_size
        try:
            write_all(self._descriptor, record)
        except OSError:
            os.ftruncate(self._descriptor, size)
            raise


def _timestamp(directory: Path) -> int:
    """Seconds since 1970, but later than any event file here: TensorBoard reads them in the order of their names."""
    matches = (re.match(r"events\.out\.tfevents\.(\d{10})\.", name) for name in os.listdir(directory))
    return max([int(time.time()), *(int(match[1]) + 1 for match in matches if match)])


def _histogram(fitness_N2: NDArray[Any]) -> HistogramProto | None:
    """The histogram of the finite values, or None without any. What is beyond LARGEST counts as LARGEST."""
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
    """The edges of BINS equal bins from `low` to `high`.

    A range of which BINS parts would not differ in single precision, as ties have it, is widened about its middle to
    LEAST_RANGE times the larger of the two; about 0 it goes from -0.5 to 0.5.
    """
    size = max(abs(low), abs(high))
    if size < SMALLEST:
        low, high = np.float64(-0.5), np.float64(0.5)
    elif high - low < LEAST_RANGE * size:
        middle, half = (low + high) / 2, LEAST_RANGE / 2 * size
        low, high = middle - half, middle + half
    return np.linspace(low, high, BINS + 1)


def _text(tag: str, text: str) -> Summary.Value:
    """A text as TensorBoard's text page wants it: Markdown, with a fence longer than any in the text itself."""
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


@cache
def _table() -> tuple[int, ...]:
    """The CRC-32C of each byte."""
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (CASTAGNOLI if byte & 1 else 0)
        table.append(byte)
    return tuple(table)


def _checksum(data: bytes) -> bytes:
    """CRC-32C, masked as the format wants it: rotated right by 15 bits, plus a constant."""
    table, crc = _table(), 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
