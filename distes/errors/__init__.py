"""Errors that a user can act on, and their messages.

Every message has one sentence or two: what was found, what is allowed, what to do. `distes.cli` prints it without a
traceback and exits with 2; any other exception is a bug in distes, and the exit code is 1.
"""

import difflib
import inspect
import linecache
import signal
import sysconfig
import threading
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from types import FrameType

PACKAGE = Path(__file__).parents[1]
STANDARD_LIBRARY = Path(sysconfig.get_path("stdlib"))
PACKAGE_FOLDERS = {"site-packages", "dist-packages"}
# Packages that distes calls; their frames do not count as users' code.
BUILT_ON = {"gymnasium", "jsonargparse", "mujoco", "numba", "numpy", "ray", "rich", "safetensors", "tensorboard"}
BUILT_ON |= {"torch", "triton", "yaml"}
LONGEST_MESSAGE = 1000  # characters; an exception may show a whole array


class DistesError(Exception):
    """Base class of all errors that a user can act on; its message is meant for the user."""


class ConfigurationError(DistesError, ValueError):
    """The configuration holds a value, key, class or combination that is not allowed. Raised before expensive work.

    Attributes:
        argument: The constructor's argument that is wrong, or None. If given, the message begins with its name, and the
            command line prepends the section: "sigma must be ..." becomes "strategy.sigma must be ...".
    """

    def __init__(self, message: str, argument: str | None = None) -> None:
        super().__init__(message)
        self.argument = argument


class OptionError(ConfigurationError):
    """A key or flag is unknown, or its value is none that it can have. Commands then say where all keys are listed."""


class EvaluationError(DistesError):
    """A member could not be evaluated: its environment raised an error, or its fitness is not finite."""


class CheckpointError(DistesError):
    """A checkpoint or a saved policy cannot be read or written, or does not belong to the run."""


class RunDirectoryError(DistesError):
    """The run directory is in use, already holds a run, holds none to resume, or cannot be read or written."""


class ClusterError(DistesError):
    """The cluster cannot be reached or used, has no room for a worker, or has lost all workers."""


class DistesWarning(UserWarning):
    """The run continues, but not in the way the user may expect."""


class DistesNotice(DistesWarning):
    """Something that takes long has begun; nothing is wrong. Commands print it without the word warning."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Returns `" Did you mean 'x'?"` with the known word closest to `word`, or `""` if none is similar."""
    names = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), names, n=1, cutoff=0.65)
    return f" Did you mean {names[near[0]]!r}?" if near else ""


def require_instance(name: str, value: object, kind: type) -> None:
    """Checks the class of an argument of the Python API.

    The message tells an instance of another class from a class and from a function, which users may pass by mistake.

    Args:
        name: The argument's name, with which the message begins.
        value: Its value.
        kind: The class that it must be an instance of.

    Raises:
        ConfigurationError: The value is not an instance of the class.
    """
    if isinstance(value, kind):
        return
    got = f"an instance of {type(value).__module__}.{type(value).__qualname__}"
    if isinstance(value, type):
        got = f"the class {value.__name__}: call it with its arguments"
    elif callable(value):
        got = f"the callable {getattr(value, '__name__', type(value).__name__)}"
    raise ConfigurationError(f"{name} must be an instance of {kind.__module__}.{kind.__qualname__}; got {got}.")


def raised(error: BaseException, longest: int = LONGEST_MESSAGE) -> str:
    """Returns what was raised and where, such as `"raised TypeError: unhashable type: 'list' (nets.py:12)"`.

    Args:
        error: The exception.
        longest: Maximum characters of its message.
    """
    return f"raised {described(error, longest=longest)}"


def described(error: BaseException, when: str = "", longest: int = LONGEST_MESSAGE) -> str:
    """Returns an exception's type, message and place, such as `"TypeError: unhashable type: 'list' (nets.py:12)"`.

    The place is the innermost line in a user's file, or the innermost line of all if no user's file is involved. If the
    exception has no message, the line's source is shown instead. The result is one line.

    Args:
        error: The exception.
        when: Words to insert after its type, such as " at reset".
        longest: Maximum characters of its message.
    """
    name, frames = type(error).__name__, list(traceback.walk_tb(error.__traceback__))
    frames = [place for place in frames if not place[0].f_code.co_filename.startswith("<frozen ")]  # importlib's
    place = (_users(error) or frames)[-1] if frames else None
    try:
        message = " ".join(str(error).split())
    except Exception as second:
        message = f"a message that cannot be read, since its __str__ raises {type(second).__name__}"
    if len(message) > longest:
        message = f"{message[:longest]}..."
    source = where = ""
    if place is not None:
        filename, line = place[0].f_code.co_filename, place[1]
        source, where = linecache.getline(filename, line).strip(), f" ({_shown(filename)}:{line})"
    what = f": {message}" if message else f" in {source!r}" if source else ""
    return f"{name}{when}{what}{where}"


def place_of(function: object) -> str | None:
    """Returns where a function or method is defined, such as `"envs.py:12"`; None where no file is known.

    Args:
        function: The function.
    """
    code = getattr(inspect.unwrap(getattr(function, "__func__", function)), "__code__", None)  # type: ignore[arg-type]
    return None if code is None else f"{_shown(code.co_filename)}:{code.co_firstlineno}"


def blame(error: BaseException) -> str | None:
    """Returns a sentence such as `"my_task.Sine.evaluate, which is not part of distes, raised KeyError: 'x' (...)."`.

    Call it for exceptions caught in distes: a traceback begins where the exception is caught. An exception that passed
    through a function of a user's file, called by distes, is the user's to fix. For any other, which is a bug in
    distes, the result is None.
    """
    users = _users(error)
    if not users:
        return None
    frame, _ = users[0]
    name = f"{frame.f_globals.get('__name__', '')}.{frame.f_code.co_qualname}"
    return f"{name}, which is not part of distes, {raised(error)}."


def is_users(error: BaseException) -> bool:
    """Returns whether the exception passed through a user's code, so that `blame` returns a sentence."""
    return bool(_users(error))


@contextmanager
def users_code(start: str) -> Iterator[None]:
    """Turns exceptions of users' code within the block into an EvaluationError; other exceptions pass unchanged.

    Args:
        start: The beginning of the message, such as "Pairs 0 to 7 could not be evaluated".

    Raises:
        EvaluationError: A user's code raised an exception that is not a DistesError.
    """
    try:
        yield
    except DistesError:
        raise
    except Exception as error:
        sentence = blame(error)
        if sentence is None:
            raise
        raise EvaluationError(f"{start}: {sentence}{_advice(error)}") from error


def _advice(error: Exception) -> str:
    """Returns advice, after a space, for an error of writing to a read-only array, such as Ray's; otherwise empty."""
    if "read-only" not in str(error):
        return ""
    return " What comes to a worker through Ray and the records that distes hands over are read-only: write to a copy."


def _users(error: BaseException) -> list[tuple[FrameType, int]]:
    """Returns the frames and lines of users' code that an exception passed through, the innermost last.

    A function of an installed package counts as a user's if distes called it, directly or through torch, and the
    package is not one that distes itself is built on.
    """
    users, by_distes = [], True
    for frame, line in traceback.walk_tb(error.__traceback__):
        path = Path(frame.f_code.co_filename)
        package = next((part for folder, part in pairwise(path.parts) if folder in PACKAGE_FOLDERS), None)
        if PACKAGE in path.parents:
            by_distes = True
        elif package is not None:
            package = package.removesuffix(".py")
            if by_distes and package not in BUILT_ON:
                users.append((frame, line))
            by_distes = by_distes and package == "torch"
        elif path.is_absolute() and STANDARD_LIBRARY not in path.parents:
            users.append((frame, line))
            by_distes = False
    return users


def _shown(filename: str) -> str:
    """Returns the path of a file, relative to the current directory if the file is below it."""
    try:
        return str(Path(filename).relative_to(Path.cwd()))
    except (ValueError, OSError):  # not below the current directory, or that is gone
        return filename


def is_ctrl_c() -> bool:
    """Returns whether a KeyboardInterrupt that was caught can come from Ctrl-C, and not from code that raises it.

    Python raises it for Ctrl-C only in the main thread, and only while SIGINT has Python's default handler.
    """
    main = threading.current_thread() is threading.main_thread()
    return main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
