"""Writes files in a background thread."""

import threading
from collections.abc import Callable


class BackgroundWriter:
    """Runs write jobs in a background thread, so that training does not wait for the disk.

    Each job has a name ("checkpoint", "best"). Jobs run one at a time; among the jobs that wait under one name, only
    the newest is kept. A job must own the data that it writes: nothing may change the data after `hand_over`.
    """

    def __init__(self) -> None:
        """Creates the writer; the thread starts with the first job."""
        self._condition = threading.Condition()
        self._waiting: dict[str, Callable[[], None]] = {}
        self._failed: dict[str, Exception] = {}  # by name: the error of the latest job, if that failed
        self._unreported: list[Exception] = []
        self._closed = False
        self._thread: threading.Thread | None = None

    def hand_over(self, name: str, write: Callable[[], None]) -> None:
        """Queues a job. It replaces an older job of the same name that has not started.

        Args:
            name: The name of the job.
            write: The job, called in the background thread; it raises CheckpointError if it cannot write.

        Raises:
            CheckpointError: An earlier job failed. The new job is queued nevertheless. Repeated failures of one name
                for the same reason are raised once.
            RuntimeError: The writer is closed.
        """
        with self._condition:
            if self._closed:
                raise RuntimeError("work was handed to a background writer that is closed")
            self._waiting[name] = write
            if self._thread is None:
                # A daemon, so that a second Ctrl-C ends the process at once; a file half written is then absent.
                self._thread = threading.Thread(target=self._run, name="distes-background-writer", daemon=True)
                self._thread.start()
            self._condition.notify_all()
            if self._unreported:
                raise self._unreported.pop(0)

    def close(self) -> None:
        """Waits until all queued jobs are done, and ends the thread.

        Raises:
            CheckpointError: The latest job of some name failed, whether or not `hand_over` has raised the error before.
        """
        with self._condition:
            self._closed = True
            self._condition.notify_all()
        if self._thread is not None:
            self._thread.join()
        if self._failed:
            raise next(iter(self._failed.values()))

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return
                name = next(iter(self._waiting))
                write = self._waiting.pop(name)
            try:
                write()
            except Exception as error:  # any error is reported to the thread that queued the job
                self._report(name, error)
            else:
                with self._condition:
                    self._failed.pop(name, None)

    def _report(self, name: str, error: Exception) -> None:
        with self._condition:
            earlier = self._failed.get(name)
            self._failed[name] = error
            if earlier is None or _cause(earlier) != _cause(error):
                self._unreported.append(error)


def _cause(error: Exception) -> tuple[type[Exception], int | str | None]:
    """Returns a key that is equal for failures with the same reason, whichever generation their messages name."""
    cause = error.__cause__
    return type(error), cause.errno if isinstance(cause, OSError) else str(error)
