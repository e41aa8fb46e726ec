"""A Ray cluster of this process's own: it listens on loopback only, and its token and files are closed to others.

What could not work is tried before Ray is started, since Ray then waits for minutes, or ends the process by itself.
"""

import logging
import os
import secrets
import socket
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

import ray

from distes.errors import ClusterError
from distes.pools.on_ray import ray_internals

OBJECT_STORE = 256 * 2**20  # bytes of the object store,
SETS = 6  # and float32 numbers for each parameter: this population's, the last one's, and what an optimiser remembers
# The longest name of a socket (`man 7 unix`), without what Ray appends to its folder.
LONGEST = 107 - len("/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store.1")
SHARED_MEMORY = Path("/dev/shm")


def check_machine() -> None:
    """Tries what Ray cannot do without.

    Raises:
        ClusterError: The loopback interface is down, or shared memory cannot be written.
    """
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname()[:2], timeout=5).close()
    except OSError as error:
        raise ClusterError(
            f"Ray cannot start: this machine's loopback interface, 127.0.0.1, does not answer ({error}). Bring it up "
            "(ip link set lo up), or train in this process with --workers 0."
        ) from error
    if SHARED_MEMORY.is_dir() and not os.access(SHARED_MEMORY, os.W_OK):
        raise ClusterError(
            f"Ray cannot start: {SHARED_MEMORY}, where it keeps its objects, cannot be written. Mount it for writing "
            "(docker run --shm-size=1g), or train in this process with --workers 0."
        )


def folder(say: Callable[[str], None]) -> Path:
    """Makes the folder for Ray's sockets and logs, inside one that is closed to others. Ray opens its own to everybody.

    Args:
        say: Takes a line for the user: the usual place has too long a name.

    Raises:
        ClusterError: No such folder can be made.
    """
    base = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir())
    private = base / f"distes-{os.getuid()}"
    if len(os.fsencode(private / "ray")) > LONGEST:
        base, long = Path("/tmp"), base
        private = base / private.name
        say(f"{long} is too long a name for the sockets of Ray, which keeps its files in {private} instead.")
    try:
        private.mkdir(0o700, exist_ok=True)
        found = private.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            private = Path(tempfile.mkdtemp(prefix="distes-", dir=base))  # somebody else was there first
        elif stat.S_IMODE(found.st_mode) != 0o700:
            private.chmod(0o700)
    except OSError as error:
        raise ClusterError(
            f"Ray needs a folder for its sockets and logs, and {private} cannot be made ({error.strerror}): set TMPDIR "
            "to a folder that you can write."
        ) from error
    return private / "ray"


def start(where: Path, gpus: int | None, parameters: int) -> None:
    """Starts the cluster and connects to it. To be called in a thread that stays: when it ends, so does the cluster.

    Args:
        where: The folder for sockets and logs.
        gpus: Of this machine, as torch counts them; None leaves it to Ray.
        parameters: Of the policy; there is room for several sets of them.
    """
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)  # of this cluster alone, and in no file
    ray_internals.forget_token()
    with ray_internals.isolated_start():
        ray.init(
            "local",
            include_dashboard=False,
            object_store_memory=OBJECT_STORE + SETS * 4 * parameters,
            num_gpus=gpus,
            logging_level=logging.ERROR,
            log_to_driver=False,
            **ray_internals.loopback_arguments(where),
        )
