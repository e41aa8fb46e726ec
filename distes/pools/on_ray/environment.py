"""Environment variables that Ray reads. They are set before Ray is imported, since it reads them only once.

Variables that the user has set are left alone.
"""

import contextlib
import os
import stat
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from distes.errors import ClusterError
from distes.errors.messages import warning

SETTINGS: Mapping[str, str] = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_worker_niceness": "0",  # Ray starts its workers at nice 15, below all other processes
}
# Ray reads this variable only once. A cluster that this process starts later must be given the same value, or neither
# would show the other a token (ray 2.60).
STAYS = "RAY_AUTH_MODE"
_ours = dict[str, str]()  # variables that `set_variables` has set, with their values


def set_variables() -> None:
    """Sets variables that are not set, including RAY_AUTH_MODE if there is a token to show to the cluster.

    A cluster made by `ray start` on a machine with a token asks for it, but `ray.init(address="HOST:PORT")` shows it
    only if RAY_AUTH_MODE is `token` (ray 2.60). If Ray is imported already, it has read the variable: setting it now
    would make the cluster's own processes ask for a token that this process does not show.
    """
    wanted = dict(SETTINGS)
    path = token_path()
    if ("RAY_AUTH_TOKEN" in os.environ or (path is not None and path.is_file())) and "ray" not in sys.modules:
        wanted["RAY_AUTH_MODE"] = "token"
    for key, value in wanted.items():
        if key not in os.environ:
            os.environ[key] = _ours[key] = value


class Environment:
    """Remembers the environment variables before Ray starts, and restores all but `STAYS` after it has stopped."""

    def __init__(self) -> None:
        """Copies all variables except those that `set_variables` has set."""
        self._before = {key: value for key, value in os.environ.items() if _ours.get(key) != value}
        self._changed = dict[str, str | None]()

    def started(self) -> None:
        """Records which variables have changed; to be called once Ray has started."""
        keys = self._before.keys() | os.environ.keys()
        self._changed = {key: os.environ.get(key) for key in keys if os.environ.get(key) != self._before.get(key)}
        self._changed.pop(STAYS, None)

    def restore(self) -> None:
        """Undoes these changes, except for variables that were changed again since."""
        for key, value in self._changed.items():
            if os.environ.get(key) == value:
                os.environ.pop(key, None)
                if key in self._before:
                    os.environ[key] = self._before[key]
        self._changed.clear()


def token_path() -> Path | None:
    """Returns the file in which Ray looks for a token; None for a user without a home directory."""
    if chosen := os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return Path(chosen)
    try:
        return Path.home() / ".ray" / "auth_token"
    except RuntimeError:
        return None


def check_token(say: Callable[[str], None]) -> None:
    """Checks the token that will be shown to a cluster, before Ray reads it.

    Ray ends the process without a message if a token is not valid in an HTTP header. If other users of the machine can
    read the token, they can run programs as this user.

    Args:
        say: Takes a line for the user if the file was readable for others and its permissions were corrected.

    Raises:
        ClusterError: The token cannot be read, Ray cannot send it, or others can read it and its permissions cannot be
            corrected.
    """
    path, chosen = token_path(), "RAY_AUTH_TOKEN_PATH" in os.environ
    if token := os.environb.get(b"RAY_AUTH_TOKEN"):
        _require_text(token, "RAY_AUTH_TOKEN")
        return
    if path is None or not (chosen or path.exists()):
        return
    try:
        found, token = path.stat(), path.read_bytes()
    except OSError as error:
        raise ClusterError(
            f"The token in {path} cannot be read ({error.strerror}): {_hint(chosen)}, or set RAY_AUTH_TOKEN."
        ) from error
    _require_text(token.strip(), str(path))
    if not stat.S_IMODE(found.st_mode) & 0o077:
        return
    with contextlib.suppress(OSError):
        path.chmod(0o600)
    if not stat.S_IMODE(path.stat().st_mode) & 0o077:
        say(
            warning(
                f"Other users of this machine could read the token in {path}; it is readable by you alone now. If "
                "somebody may have read it, make another one: ray get-auth-token --generate."
            )
        )
    elif chosen:
        say(warning(f"Other users of this machine can read the token in {path}, and with it run programs as you."))
    else:
        raise ClusterError(f"Other users of this machine can read the token in {path}: close it (chmod 600 {path}).")


def _hint(chosen: bool) -> str:
    return "RAY_AUTH_TOKEN_PATH must name a file that you can read" if chosen else "make it readable for you"


def _require_text(token: bytes, where: str) -> None:
    if not token or not token.isascii() or not token.decode().isprintable():
        raise ClusterError(
            f"The token in {where} is no token: it must be one line of printable ASCII characters. To make one: "
            "ray get-auth-token --generate."
        )
