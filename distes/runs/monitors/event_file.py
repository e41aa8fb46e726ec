"""An event file of TensorBoard: complete records, unbuffered, of TensorBoard's own protocol buffers.

Its `EventFileWriter`, which torch's `SummaryWriter` uses, is avoided: it passes events to a thread, where the error of
a full disk is lost or ends the thread.
"""

import io
import os
import re
import socket
import time
from collections.abc import Sequence
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from distes.runs.atomic_files import write_all

EARLIEST_AXIS = "generations"  # of files whose name does not say it


class EventFile:
    """A new file, whose name sorts after those of its directory, since TensorBoard reads them in that order."""

    def __init__(self, directory: Path, axis: str, purge_from: int | None = None) -> None:
        """Creates the file.

        Args:
            directory: The folder of the file.
            axis: What its steps count; the end of its name.
            purge_from: Events of this and later steps in earlier files are hidden. None hides nothing.

        Raises:
            OSError: The file cannot be created or written.
        """
        name = f"events.out.tfevents.{_timestamp(directory):010d}.{socket.gethostname()}.{os.getpid()}.0.{axis}"
        self._descriptor = os.open(directory / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        self._append(Event(file_version="brain.Event:2"))
        if purge_from is not None:
            self._append(Event(step=purge_from, session_log=SessionLog(status=SessionLog.START)))

    def write(self, step: int, values: Sequence[Summary.Value]) -> None:
        """Writes one event, or nothing.

        Raises:
            OSError: The file cannot be written.
        """
        self._append(Event(step=step, summary=Summary(value=values)))

    def close(self) -> None:
        """Closes the file."""
        os.close(self._descriptor)

    def _append(self, event: Event) -> None:
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


def set_aside_other_axes(directory: Path, axis: str) -> bool:
    """Renames event files whose steps count something else, so that TensorBoard does not read them.

    Returns:
        Whether there were any.

    Raises:
        OSError: A file cannot be renamed.
    """
    others = [path for path in directory.glob("events.out.tfevents.*") if _axis_of(path) != axis]
    for path in others:
        path.rename(path.with_name(path.name.replace("tfevents", "other-axis")))
    return bool(others)


def _axis_of(path: Path) -> str:
    return path.suffix.removeprefix(".") if path.suffix in (".timesteps", ".generations") else EARLIEST_AXIS


def _timestamp(directory: Path) -> int:
    """Returns a Unix time in seconds that is later than in any event file's name in `directory`."""
    matches = (re.match(r"events\.out\.tfevents\.(\d{10})\.", name) for name in os.listdir(directory))
    return max([int(time.time()), *(int(match[1]) + 1 for match in matches if match)])
