"""A worker's hold on the process that runs its rewards: to start it, to hand it answers, to kill it.

Axes: R rows of a batch, C numbers of a row: the reward and the scores.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from multiprocessing.connection import Pipe
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distes.errors import EvaluationError
from distes.tasks.base import Stopped
from distes.tasks.language.rewards.board import Board, new_file

POLL = 0.2  # seconds between looks whether the evaluation is to stop, and whether the process lives
GRACE = 2.0  # seconds in which a process that has hung up should end
# The process has the worker's import path, whatever that has been changed to, before it imports anything of ours.
CODE = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); places = [int(one) for one in sys.argv[2:]]; "
    "sys.argv[:] = ['']; from distes.tasks.language.rewards.process import serve; serve(*places)"
)


class Rated(NamedTuple):
    """What came of a batch.

    Attributes:
        values_RC: The numbers of each row; NaN where it failed or was not reached.
        reached: Number of rows that were rated, or that the process ended at; all of them if it lives.
        failure: What happened at the first row that failed, from the verb on; empty if none did.
        ended: What happened at the last row reached, at which the process ended; empty if it lives.
    """

    values_RC: NDArray[np.float64]
    reached: int
    failure: str
    ended: str


class Child:
    """One process, which runs until it is closed, exceeds a time, or ends itself.

    Attributes:
        refusal: Why it cannot run the reward, a sentence; empty if it can.
    """

    def __init__(self, given: bytes, columns: int, stop: Callable[[], bool]) -> None:
        """Starts the process, and waits until it has imported the reward.

        Args:
            given: What `process.serve` reads first, pickled.
            columns: C.
            stop: Whether to give up; see `Request.stop`.

        Raises:
            EvaluationError: It cannot be started, or ends.
            Stopped: `stop` returned True.
        """
        self._columns, memory = columns, new_file(columns)
        self._connection, theirs = Pipe()
        read, lifeline = os.pipe()
        try:
            self._board = Board(memory)
            self._process = _started(theirs.fileno(), read, memory)
        except OSError as error:
            os.close(lifeline)
            raise EvaluationError(f"The process that runs rewards cannot be started: {error}.") from error
        finally:
            theirs.close()
            for descriptor in (read, memory):
                os.close(descriptor)
        # also at the end of the program; not in processes that are forked off this one
        self._end = weakref.finalize(self, _end, self._process, self._connection, lifeline, os.getpid())
        try:
            self._connection.send_bytes(given)
            while (message := self._message()) is None:
                self._stop(stop)
        except (EOFError, OSError):
            ended = self._ended()
            raise EvaluationError(f"The process that runs rewards {ended} while it imported the reward.") from None
        except BaseException:
            self.close()
            raise
        self.refusal = message.decode()

    def rate(self, batch: bytes, rows: int, seconds: float, stop: Callable[[], bool]) -> Rated:
        """Has a batch rated. The process is closed if a row takes too long, or if it ends itself.

        Args:
            batch: The rows as `process.serve` reads them, pickled.
            rows: R.
            seconds: The time that each may take.
            stop: Whether to give up.

        Raises:
            Stopped: `stop` returned True.
        """
        board = self._board
        values: NDArray[np.float64] = np.frombuffer(board.results, np.float64, rows * self._columns)
        values[:], board.place[0], board.failure, ended = np.nan, -1, "", ""
        try:
            self._connection.send_bytes(batch)
            while self._message(self._left(seconds)) is None:
                place = board.place[0]
                if self._left(seconds) <= 0:
                    self.close()
                    values[place * self._columns] = np.nan  # it may have ended a moment ago, too late
                    board.place[0], ended = place, f"took more than {seconds:g} s"
                    break
                self._stop(stop)
        except (EOFError, OSError):
            ended = self._ended()
        except BaseException:  # such as Ctrl-C: what it is at would be taken for the next batch's
            self.close()
            raise
        reached = board.place[0] + 1 if ended else rows
        return Rated(values.reshape(rows, self._columns).copy(), reached, board.failure, ended)

    def close(self) -> None:
        """Kills the process, and the processes that it has started."""
        self._end()

    def _ended(self) -> str:
        """How the process has ended, from the verb on."""
        try:
            self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            code = None
        else:
            code = self._process.returncode
        self.close()
        return "closed its connection to the worker" if code is None else _in_words(code)

    @property
    def alive(self) -> bool:
        """Whether the process can rate a further batch."""
        return self._end.alive and self._process.poll() is None

    def _left(self, seconds: float) -> float:
        """What the current row has left of its time."""
        place = self._board.place[0]  # read first: the row's start is then no older than the row
        return seconds if place < 0 else self._board.start[0] + seconds - time.monotonic()

    def _message(self, wait: float = POLL) -> bytes | None:
        """The next message of the process; None if none came.

        Raises:
            EOFError: It has ended.
            OSError: The same.
        """
        if self._connection.poll(min(POLL, max(0.0, wait))):
            return self._connection.recv_bytes()
        if self._process.poll() is not None:  # a process that it has forked may hold its end of the connection
            raise EOFError
        return None

    def _stop(self, stop: Callable[[], bool]) -> None:
        if stop():
            self.close()
            raise Stopped


def _started(connection: int, lifeline: int, board: int) -> subprocess.Popen[bytes]:
    """The process, in a session of its own, safe from Ctrl-C, and in a group that can be killed whole."""
    environment = {
        "OMP_NUM_THREADS": "1",  # there are as many workers as cores
        "PYTHONHASHSEED": "0",  # a reward that goes through a set answers the same in all workers
        **os.environ,
        "CUDA_VISIBLE_DEVICES": "",
    }
    path = json.dumps([one for one in sys.path if isinstance(one, str)])
    places = [str(one) for one in (connection, lifeline, board, os.getpid())]
    return subprocess.Popen(
        [sys.executable, "-c", CODE, path, *places],
        stdin=subprocess.DEVNULL,
        env=environment,
        pass_fds=(connection, lifeline, board),
        start_new_session=True,
    )


def _end(process: subprocess.Popen[bytes], connection: Any, lifeline: int, owner: int) -> None:
    if os.getpid() == owner:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # it has ended, as all that it has started
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    connection.close()
    os.close(lifeline)


def _in_words(code: int) -> str:
    if code >= 0:
        return f"ended its process with the exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
    hint = ", as a machine does that runs out of memory" if -code == signal.SIGKILL else ""
    return f"ended its process by the signal {name}{hint}"
