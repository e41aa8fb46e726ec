"""What can go wrong that a user can act on.

Every message is one sentence or two: what was got, what is allowed, what to do. `distes.cli` prints it without a
traceback and exits with 2; any other exception is a bug of ours and exits with 1.
"""

import difflib
from collections.abc import Iterable


class DistesError(Exception):
    """The base of all errors that a user can act on."""


class ConfigurationError(DistesError, ValueError):
    """A value, key, class or combination in the configuration is not allowed. Raised before anything expensive."""


class EvaluationError(DistesError):
    """A member could not be evaluated: its environment raised, or its fitness is not a finite number."""


class CheckpointError(DistesError):
    """No checkpoint can be read, or none can be written."""


class RunDirectoryError(DistesError):
    """The run directory is in use, already holds a run, or cannot be made."""


class ClusterError(DistesError):
    """The cluster cannot be reached, or has no room for a worker."""


class DistesWarning(UserWarning):
    """Something that goes on, but not as the user may think."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Returns `" Did you mean 'x'?"` for the known word nearest to `word`, or `""` where none is near."""
    names = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), names, n=1, cutoff=0.65)
    return f" Did you mean {names[near[0]]!r}?" if near else ""
