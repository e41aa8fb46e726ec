"""What every command shares: signals, warnings, and exit codes with a sentence for each error.

Exit codes: 0 finished, with the result on disk; 2 an error that the user can act on; 130 interrupted, with the state
saved; 1 a bug. `distes.training.signals.program` makes sure that the process ends with them.
"""

import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from distes.errors import (
    DistesError,
    DistesNotice,
    DistesWarning,
    OptionError,
    RunDirectoryError,
    blame,
    raised,
)
from distes.pools.on_ray.environment import STAYS
from distes.runs.terminal import tell, tell_sentence
from distes.training.signals import BEFORE_TRAINING, INTERRUPTED, StopSignals


def guarded(
    work: Callable[[], int], *, debug: Callable[[], bool], interrupted: str = BEFORE_TRAINING, hint: str = ""
) -> int:
    """Does a command's work and returns its exit code. It never raises, and leaves the process as it was.

    It may be called in any thread. The main thread handles signals: the first ends the command with 130, but during
    training see `Trainer.run`.

    Args:
        work: The work, which returns an exit code.
        debug: Whether to print the traceback of an error that the user can act on.
        interrupted: The line to print if a signal ends the work.
        hint: What follows the sentence about a wrong key or value, such as where the keys are listed.
    """
    with StopSignals("raises") as signals:
        try:
            with surroundings(), quiet():
                return work()
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and signals.requested():
                tell(interrupted, sys.stderr)
                return INTERRUPTED
            code, sentence = judge(error, hint)
            if code == 1 or debug():
                tell("".join(traceback.format_exception(error)), sys.stderr)
            tell_sentence(f"error: {sentence}\n", sys.stderr)
            return code


def work_of_command(work: Callable[[], int], *, debug: bool = False) -> int:
    """Does the work of a command that does not train, and whose flags have been read; see `guarded`."""
    return guarded(work, debug=lambda: debug, interrupted="Interrupted.\n")


@contextmanager
def quiet() -> Iterator[None]:
    """Hides the warnings of libraries, and prints those of distes as one line each."""
    with warnings.catch_warnings():
        if not sys.warnoptions:  # python -W shows them
            warnings.simplefilter("ignore")
            warnings.filterwarnings("default", category=DistesWarning)
            warnings.showwarning = lambda message, *_: tell_sentence(
                f"{'' if isinstance(message, DistesNotice) else 'warning: '}{message}\n", sys.stderr
            )
        yield


@contextmanager
def surroundings() -> Iterator[None]:
    """Adds the current directory to the import path; restores path and environment afterwards.

    Raises:
        RunDirectoryError: There is no current directory.
    """
    variables, path = dict(os.environ), list(sys.path)
    try:
        try:
            here = str(Path.cwd())
        except OSError as error:  # oneMKL would also end the process, with a message of its own
            raise RunDirectoryError("The current directory has been removed: change to one that exists.") from error
        if here not in sys.path:
            sys.path.append(here)  # last, so it hides nothing
        yield
    finally:
        sys.path[:] = path
        for name in os.environ.keys() - variables.keys() - {STAYS}:
            del os.environ[name]
        os.environ.update(variables)


def judge(error: BaseException, hint: str) -> tuple[int, str]:
    """The exit code of an error (2 if the user can act on it, 1 for a bug), and a sentence about it."""
    if isinstance(error, DistesError):
        return 2, f"{' '.join(str(error).split())}{hint if isinstance(error, OptionError) else ''}"
    if isinstance(error, OSError | MemoryError):  # a full disk, a machine too small
        return 2, f"{type(error).__name__}: {' '.join(str(error).split())}"
    from distes.errors.cuda import failure, out_of_memory

    if out_of_memory(error):  # in this process: workers have sentences of their own
        return 2, (
            "the update does not fit on the driver's GPU beside what else is there: start fewer --workers on it, "
            "choose a smaller --noise.size, or set --device cpu."
        )
    if isinstance(error, Exception) and (reason := failure(error)):
        return 2, f"the driver's GPU failed: {reason}. --resume goes on from the last checkpoint."
    if sentence := blame(error):
        return 2, f"{sentence} --debug shows the traceback."
    if not isinstance(error, Exception):  # distes itself raises no SystemExit and the like: the code that it calls does
        return 2, f"code that is not part of distes {raised(error)}. --debug shows the traceback."
    return 1, "this is a bug in distes; please report it with the lines above."
