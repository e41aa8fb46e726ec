"""The process that runs a worker's rewards: what it does from its start to its end.

Its main thread runs the rewards, so that these may use signals (as math-verify does). It ends with the worker, however
that ends. GPUs are hidden from it, and Ctrl-C is none of its business. It imports no more of distes than it needs.
"""

import fcntl
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any

from distes.errors import ConfigurationError, described
from distes.errors.imports import import_object
from distes.tasks.language.rewards.board import Board
from distes.tasks.language.rewards.values import NotAReward, values_of

POLL = 1.0  # seconds between looks whether the worker lives, where its end raises no signal


def serve(connection: int, lifeline: int, board: int, worker: int) -> None:
    """Rates batches of answers until the worker ends.

    Args:
        connection: The descriptor of a socket to the worker.
        lifeline: The descriptor of a pipe's end to read from. Only the worker has the other end, and never writes.
        board: The descriptor of a file that `board.new_file` made.
        worker: The worker's process id.
    """
    _end_with(lifeline, worker)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])  # a worker's thread may block some, which a child inherits
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel, shared = Connection(connection), Board(board)
    os.close(board)
    try:
        given = pickle.loads(channel.recv_bytes())
        try:
            reward = function_of(given["path"], given["pickled"])
        except ConfigurationError as error:
            channel.send_bytes(str(error).encode(errors="replace"))
            return
        channel.send_bytes(b"")
        while True:
            prompts, which, answers = pickle.loads(channel.recv_bytes())
            _rate(reward, given["arguments"], given["scores"], prompts, which, answers, shared)
            channel.send_bytes(b"")
    except (EOFError, OSError):  # the worker has ended, or has no more to be rated
        return


def function_of(path: str | None, pickled: bytes = b"") -> Callable[..., Any]:
    """Returns a reward by its import path or from a pickle.

    Args:
        path: The import path, or None.
        pickled: The pickle, where there is no path.

    Raises:
        ConfigurationError: It cannot be imported or read, or is no function.
    """
    if path is None:
        try:
            found = pickle.loads(pickled)
        except BaseException as error:
            raise ConfigurationError(
                f"reward cannot be read by the process that runs it: {described(error)}."
            ) from error
    else:
        found = import_object("reward", path)
    if not callable(found):
        raise ConfigurationError(
            f"reward {path!r} cannot be called: it is of type {type(found).__name__}.", argument="reward"
        )
    called: Callable[..., Any] = found
    return called


def failure_of(error: BaseException) -> str:
    """What happened, from the verb on: what was returned, or raised."""
    return str(error) if isinstance(error, NotAReward) else f"raised {described(error)}"


def _end_with(lifeline: int, worker: int) -> None:
    """Makes sure that neither this process nor the processes that rewards start survive the worker.

    On Linux, the kernel kills the group once the pipe has nobody to write to it, even while a reward holds Python's
    lock. The descriptor must stay open for it.
    """
    if hasattr(fcntl, "F_SETSIG"):
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
        if os.getppid() != worker:  # it ended before
            os._exit(0)
    else:
        threading.Thread(target=_watch, args=(worker,), daemon=True).start()


def _watch(worker: int) -> None:
    while os.getppid() == worker:
        time.sleep(POLL)
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _rate(
    reward: Callable[..., Any],
    arguments: Mapping[str, Any],
    scores: Sequence[str],
    prompts: Sequence[bytes],
    which: Sequence[int],
    answers: Sequence[str],
    board: Board,
) -> None:
    """Rates answers one after the other; each gets a prompt of its own, which the reward may change."""
    columns, failed, clock, loads = 1 + len(scores), False, time.monotonic, pickle.loads
    start, place, results = board.start, board.place, board.results
    for row, (prompt, answer) in enumerate(zip(which, answers, strict=True)):
        start[0] = clock()  # before the place, since the worker reads the place first
        place[0] = row
        try:
            values = values_of(reward(loads(prompts[prompt]), answer, **arguments), scores)
        except BaseException as error:
            if not failed:
                board.failure, failed = failure_of(error), True
            continue
        for column, value in enumerate(values, row * columns):
            results[column] = value
