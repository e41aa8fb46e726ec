"""The command line: makes a configuration of flags, and runs it.

Exit codes: 0 finished, with the result on disk; 2 an error that the user can act on; 130 interrupted, with the state
saved; 1 a bug. `distes.training.signals.program` makes sure that the process ends with them.
"""

import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from distes.api.signature import Text, typed
from distes.cli.flags import Flags, configure, read_flags
from distes.cli.help import format_help
from distes.errors import ConfigurationError, DistesError, DistesWarning, RunDirectoryError, blame, raised
from distes.errors.trust import only_own
from distes.pools.on_ray.environment import STAYS
from distes.runs.terminal import tell
from distes.training.signals import BEFORE_TRAINING, INTERRUPTED, StopSignals


def _trusted(flags: Flags) -> AbstractContextManager[None]:
    """Limits what a resumed run may import to distes itself, and what the command line or its files name."""
    if flags.resume is None or flags.trust:
        return nullcontext()
    named = set[str]()
    for layer in flags.layers:
        values = [typed(value) if isinstance(value, Text) else value for value in layer.values.values()]
        named.update(layer.classes.values(), _texts(values))
    return only_own(str(Path(flags.resume) / "config.yaml"), named)


def _texts(value: Any) -> Iterator[str]:
    """All texts in nested lists and mappings."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)


@contextmanager
def quiet() -> Iterator[None]:
    """Hides the warnings of libraries, and prints those of distes as one line each."""
    with warnings.catch_warnings():
        if not sys.warnoptions:  # python -W shows them
            warnings.simplefilter("ignore")
            warnings.filterwarnings("default", category=DistesWarning)
            warnings.showwarning = lambda message, *_: tell(f"warning: {message}\n", sys.stderr)
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


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line and returns the exit code. It never raises, and leaves the process as it was.

    It may be called in any thread. The main thread handles signals: before training they end the command with 130,
    during training see `Trainer.run`.

    Args:
        argv: The arguments without the program's name; None takes those of this process.
    """
    debug = False
    with StopSignals("raises") as signals:
        try:
            flags = read_flags(sys.argv[1:] if argv is None else argv)
            debug = flags.layer.values.get("debug", "false") in ("", "true")
            with surroundings(), quiet():
                if flags.help is not None:
                    tell(format_help(flags), sys.stdout)
                    return 0
                with _trusted(flags):
                    configuration = configure(flags)
                    debug = configuration["debug"]
                    from distes.api.launch import train

                    return train(configuration, resumed=flags.resume is not None, replay=flags.replay)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and signals.requested():
                tell(BEFORE_TRAINING, sys.stderr)
                return INTERRUPTED
            code, sentence = judge(error)
            if code == 1 or debug:
                tell("".join(traceback.format_exception(error)), sys.stderr)
            tell(f"error: {sentence}\n", sys.stderr)
            return code


def judge(error: BaseException) -> tuple[int, str]:
    """The exit code of an error (2 if the user can act on it, 1 for a bug), and a sentence about it."""
    if isinstance(error, DistesError):
        hint = " (--help shows all keys)" if isinstance(error, ConfigurationError) else ""
        return 2, f"{' '.join(str(error).split())}{hint}"
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
