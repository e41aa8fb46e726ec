"""Starts a Ray cluster for this process alone. It listens on loopback only, and other users cannot read its files.

Requirements are checked before Ray is started: if one is missing, Ray waits for minutes or ends the process.
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

OBJECT_STORE = 256 * 2**20  # bytes of the object store, beside the room for `SETS`
SETS = 6  # float32 numbers per parameter: in this population, the previous one, and the optimiser's state
# The greatest length of a folder's path: a socket's path has 107 bytes (`man 7 unix`), of which Ray appends some.
LONGEST = 107 - len("/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store.1")
SHARED_MEMORY = Path("/dev/shm")


def check_machine() -> None:
    """Checks what Ray requires of the machine.

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
    """Makes the folder for Ray's sockets and logs, inside one that only this user can enter.

    Ray itself gives all users access to its folder.

    Args:
        say: Takes a line for the user if the path of the usual place is too long.

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
            private = Path(tempfile.mkdtemp(prefix="distes-", dir=base))  # the path is taken, perhaps by another user
        elif stat.S_IMODE(found.st_mode) != 0o700:
            private.chmod(0o700)
    except OSError as error:
        raise ClusterError(
            f"Ray needs a folder for its sockets and logs, and {private} cannot be made ({error.strerror}): set TMPDIR "
            "to a folder that you can write."
        ) from error
    return private / "ray"


def start(where: Path, gpus: int | None, parameters: int) -> None:
    """Starts the cluster and connects to it. The cluster ends with the thread that calls this.

    Args:
        where: The folder for sockets and logs.
        gpus: Number of GPUs of this machine, as torch counts them; None leaves it to Ray.
        parameters: Number of the policy's parameters; the object store has room for `SETS` sets of them.
    """
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)  # for this cluster alone, and never written to a file
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
