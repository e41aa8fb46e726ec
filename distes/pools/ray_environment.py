"""What Ray reads from the environment. Set before Ray is imported, since it looks once; what the user has set stays."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

SETTINGS: Mapping[str, str] = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_worker_niceness": "0",  # Ray starts its workers at nice 15, where they lose against everything else
}


def prepare() -> None:
    """Sets what is not set, and shows a token to the cluster where there is one.

    A cluster that `ray start` made on a machine with a token asks for it, and `ray.init(address="HOST:PORT")` shows it
    only where RAY_AUTH_MODE says so (ray 2.60). A Ray that is imported already has looked: setting it now would have
    the cluster's own processes ask for what this one does not show.
    """
    for key, value in SETTINGS.items():
        os.environ.setdefault(key, value)
    token = (
        "RAY_AUTH_TOKEN" in os.environ
        or Path(os.environ.get("RAY_AUTH_TOKEN_PATH", Path.home() / ".ray" / "auth_token")).is_file()
    )
    if token and "ray" not in sys.modules:
        os.environ.setdefault("RAY_AUTH_MODE", "token")
