"""Writes files in a background thread."""

import threading
from collections.abc import Callable


class BackgroundWriter:
    """Writes in a thread of its own, so that training does not wait for the disk.

    Work is handed over under a name ("checkpoint", "best policy"). One piece is being written at a time; of those that
    wait under the same name only the newest is kept. What is handed over must be a private copy that nobody changes.
    """

    def __init__(self) -> None:
        """Starts no thread yet."""
        self._condition = threading.Condition()
        self._waiting: dict[str, Callable[[], None]] = {}
        self._failed: dict[str, Exception] = {}  # by name: the error of the latest attempt, if it failed
        self._unreported: list[Exception] = []
        self._closed = False
        self._thread: threading.Thread | None = None

    def hand_over(self, name: str, write: Callable[[], None]) -> None:
        """Has `write` called soon, instead of an older piece of work that still waits under the same name.

        Args:
            name: What is written.
            write: Writes it; raises CheckpointError if that is impossible.

        Raises:
            CheckpointError: An earlier piece could not be written. The new one is accepted all the same. While the same
                thing goes on failing for the same reason, this is raised once.
        """
        with self._condition:
            if self._closed:
                raise RuntimeError("work was handed to a background writer that is closed")
            self._waiting[name] = write
            if self._thread is None:
                # A daemon: a second Ctrl-C ends the process at once, and what was being written is then just absent.
                self._thread = threading.Thread(target=self._run, name="distes-background-writer", daemon=True)
                self._thread.start()
            self._condition.notify_all()
            if self._unreported:
                raise self._unreported.pop(0)

    def close(self) -> None:
        """Waits until everything is written.

        Raises:
            CheckpointError: The latest piece of work under some name could not be written, reported before or not.
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
            except Exception as error:  # whatever it is, it belongs to the thread that handed the work over
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
    """What makes two failures the same one: not the generation in the sentence, but why."""
    cause = error.__cause__
    return type(error), cause.errno if isinstance(cause, OSError) else str(error)
