"""What can go wrong that a user can act on.

Every message is one sentence or two: what was got, what is allowed, what to do. `distes.cli` prints it without a
traceback and exits with 2; any other exception is a bug of ours and exits with 1.
"""

import difflib
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
# Packages whose errors are no user's.
BUILT_ON = {"gymnasium", "jsonargparse", "mujoco", "numba", "numpy", "ray", "rich", "safetensors", "tensorboard"}
BUILT_ON |= {"torch", "triton", "yaml"}
LONGEST_MESSAGE = 1000  # characters; an exception may show a whole array


class DistesError(Exception):
    """Base class of all errors that a user can act on."""


class ConfigurationError(DistesError, ValueError):
    """A value, key, class or combination in the configuration is not allowed. Raised before anything expensive.

    Attributes:
        argument: The constructor's argument that is at fault, or None. The message then begins with its name, and the
            command line adds the section in front: "sigma must be ..." becomes "strategy.sigma must be ...".
    """

    def __init__(self, message: str, argument: str | None = None) -> None:
        super().__init__(message)
        self.argument = argument


class EvaluationError(DistesError):
    """A member could not be evaluated: its environment raised, or its fitness is not a finite number."""


class CheckpointError(DistesError):
    """No checkpoint can be read, or none can be written."""


class RunDirectoryError(DistesError):
    """The run directory is in use, already holds a run, or cannot be made."""


class ClusterError(DistesError):
    """The cluster cannot be reached, or has no room for a worker."""


class DistesWarning(UserWarning):
    """The run continues, but not in the way the user may expect."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Returns `" Did you mean 'x'?"` for the known word nearest to `word`, or `""` where none is near."""
    names = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), names, n=1, cutoff=0.65)
    return f" Did you mean {names[near[0]]!r}?" if near else ""


def require_instance(name: str, value: object, kind: type) -> None:
    """Checks an argument of the Python API, which may be a user's class, function or instance.

    Raises:
        ConfigurationError: It is no instance of that class.
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
    """Returns what was raised and where, such as `"raised TypeError: unhashable type: 'list' (nets.py:12)"`."""
    return f"raised {described(error, longest=longest)}"


def described(error: BaseException, when: str = "", longest: int = LONGEST_MESSAGE) -> str:
    """Returns an exception's type, message and place, such as `"TypeError: unhashable type: 'list' (nets.py:12)"`.

    The place is the innermost line of a user's file, or the innermost line at all where no user's file is involved.
    An exception without a message shows the line's source instead. The result is one line.

    Args:
        error: The exception.
        when: Words after its type, such as " at reset".
        longest: Characters of its message.
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


def blame(error: BaseException) -> str | None:
    """Returns a sentence such as `"my_task.Sine.evaluate, which is not part of distes, raised KeyError: 'x' (...)."`.

    It is for exceptions that are caught in distes, since a traceback begins where the exception is caught: one that
    came through a function of a user's file, called by distes, is the user's to mend. None for any other: a bug.
    """
    users = _users(error)
    if not users:
        return None
    frame, _ = users[0]
    name = f"{frame.f_globals.get('__name__', '')}.{frame.f_code.co_qualname}"
    return f"{name}, which is not part of distes, {raised(error)}."


def is_users(error: BaseException) -> bool:
    """Whether `blame` has a sentence for the exception."""
    return bool(_users(error))


@contextmanager
def users_code(start: str) -> Iterator[None]:
    """Turns what a user's class raises into an EvaluationError; errors of distes pass as they are.

    Args:
        start: Of the sentence, such as "Pairs 0 to 7 could not be evaluated".
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
    """What to do about an array of another process: Ray's shared memory cannot be written to."""
    if "read-only" not in str(error):
        return ""
    return " What comes to a worker through Ray and the records that distes hands over are read-only: write to a copy."


def _users(error: BaseException) -> list[tuple[FrameType, int]]:
    """The functions of users that an exception came through, and the line in each, the innermost last.

    A function of an installed package is a user's where distes called it, perhaps by way of torch's modules, and the
    package is none that distes itself is built on.
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
    """The path, relative where the file lies below the current directory."""
    try:
        return str(Path(filename).relative_to(Path.cwd()))
    except (ValueError, OSError):  # elsewhere; or the current directory is gone
        return filename


def is_ctrl_c() -> bool:
    """Whether a KeyboardInterrupt that was caught can be Ctrl-C, and not raised by somebody's code.

    Python raises it in the main thread alone, and only as long as nobody else listens to the signal.
    """
    main = threading.current_thread() is threading.main_thread()
    return main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
