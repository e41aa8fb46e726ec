"""What Ray reads from the environment. Set before Ray is imported, since it looks once; what the user has set stays."""

import contextlib
import os
import stat
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from distes.errors import ClusterError

SETTINGS: Mapping[str, str] = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_worker_niceness": "0",  # Ray starts its workers at nice 15, where they lose against everything else
}
# Ray reads this once and keeps to it: a cluster that this process starts later must be told the same, or neither would
# show the other a token (ray 2.60).
STAYS = "RAY_AUTH_MODE"
_ours = dict[str, str]()  # variables that `set_variables` has set, with their values


def set_variables() -> None:
    """Sets what is not set, and shows a token to the cluster where there is one.

    A cluster that `ray start` made on a machine with a token asks for it, and `ray.init(address="HOST:PORT")` shows it
    only where RAY_AUTH_MODE says so (ray 2.60). A Ray that is imported already has looked: setting it now would have
    the cluster's own processes ask for what this one does not show.
    """
    wanted = dict(SETTINGS)
    path = token_path()
    if ("RAY_AUTH_TOKEN" in os.environ or (path is not None and path.is_file())) and "ray" not in sys.modules:
        wanted["RAY_AUTH_MODE"] = "token"
    for key, value in wanted.items():
        if key not in os.environ:
            os.environ[key] = _ours[key] = value


class Environment:
    """Environment variables as they are before Ray starts, to be restored when it has stopped; but for `STAYS`."""

    def __init__(self) -> None:
        """Takes note of all of them, without what `set_variables` has set."""
        self._before = {key: value for key, value in os.environ.items() if _ours.get(key) != value}
        self._changed = dict[str, str | None]()

    def started(self) -> None:
        """Ray has started: takes note of what it has changed."""
        keys = self._before.keys() | os.environ.keys()
        self._changed = {key: os.environ.get(key) for key in keys if os.environ.get(key) != self._before.get(key)}
        self._changed.pop(STAYS, None)

    def restore(self) -> None:
        """Takes these changes back, save where somebody else has changed a variable since."""
        for key, value in self._changed.items():
            if os.environ.get(key) == value:
                os.environ.pop(key, None)
                if key in self._before:
                    os.environ[key] = self._before[key]
        self._changed.clear()


def token_path() -> Path | None:
    """The file in which Ray looks for a token; None for a user without a home directory."""
    if chosen := os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return Path(chosen)
    try:
        return Path.home() / ".ray" / "auth_token"
    except RuntimeError:
        return None


def check_token(say: Callable[[str], None]) -> None:
    """Looks at the token that is going to be shown to a cluster, before Ray does.

    Ray ends the process without a word where a token is no text for a header of HTTP. A token that other users of the
    machine can read lets them run programs as this user.

    Args:
        say: Takes a line for the user: the file was open to others, and is closed now.

    Raises:
        ClusterError: There is a token that cannot be read, that Ray cannot send, or that others can read and that
            cannot be closed to them.
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
            f"Other users of this machine could read the token in {path}; it is readable by you alone now. If somebody "
            "may have read it, make another one: ray get-auth-token --generate."
        )
    elif chosen:
        say(f"Other users of this machine can read the token in {path}, and with it run programs as you.")
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
