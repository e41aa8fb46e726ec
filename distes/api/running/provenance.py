"""What a run was made with, in `environment.json`: versions, the commit, the command line, the machine. No secret.

It also holds what the task calls its steps and episodes, which plots and comparisons show.
"""

import contextlib
import importlib.metadata
import json
import platform
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from distes import __version__
from distes.errors.installation import ROOT
from distes.noise.sum_cpu import cores
from distes.runs import atomic_files
from distes.runs.units import Units

PACKAGES = ("torch", "numpy", "numba", "ray", "gymnasium", "mujoco", "ale-py", "envpool", "safetensors")
SECONDS = 5.0  # that git and nvidia-smi may take
HIDDEN = "[hidden]"
_SECRET = re.compile(r"token|secret|passw|passphrase|credential|api_?-?key|private_?-?key|\bauth\b|\.auth$", re.I)
# What looks like a key wherever it stands: GitHub's, Hugging Face's, OpenAI's, AWS's, Slack's; 32 hexadecimal digits.
_KEY = re.compile(
    r"\b(?:gh[pousr]_\w{20,}|github_pat_\w+|hf_\w{20,}|sk-[\w-]{16,}|AKIA\w{12,}|xox[abprs]-[\w-]+|[0-9a-f]{32,})\b"
)
_USER = re.compile(r"(\w+://)[^/@\s]+@")  # name and password within an address
_WITHIN = re.compile(
    r"""(["']?[\w.-]*(?:token|secret|passw|credential|api_?-?key)[\w.-]*["']?\s*[:=]\s*)("[^"]*"|'[^']*'|[^\s,}]+)""",
    re.I,
)


def record_environment(directory: Path, units: Units, *, resumed: bool) -> str | None:
    """Appends this process's entry to the list in `environment.json`; a new run begins the list.

    Args:
        directory: The run directory.
        units: What the task's steps and episodes are called.
        resumed: Whether the run had begun before.

    Returns:
        None, or why the file could not be written, as a sentence.
    """
    path = directory / "environment.json"
    before: list[Any] = []
    try:
        if resumed and path.exists():
            found = json.loads(atomic_files.read(path))
            before = found if isinstance(found, list) else []
    except (OSError, ValueError, RecursionError):
        before = []  # damaged: it says nothing any more
    try:
        entry = {**environment(), "units": units._asdict()}
        atomic_files.replace(path, (json.dumps([*before, entry], indent=2) + "\n").encode())
    except OSError as error:
        return f"{path} could not be written: {atomic_files.reason(error)}. The run goes on without it."
    return None


def record_workers(directory: Path, history: Sequence[tuple[int, str]]) -> None:
    """Adds to this process's entry in `environment.json` who evaluated, if that was decided while it ran.

    A file that cannot be read or written stays as it is: `metrics.jsonl` says the same in `workers/place`.

    Args:
        directory: The run directory.
        history: From which generation on, counted from 1, and who.
    """
    path = directory / "environment.json"
    with contextlib.suppress(OSError, ValueError, RecursionError):
        entries = json.loads(atomic_files.read(path))
        if isinstance(entries, list) and entries and isinstance(entries[-1], dict):
            entries[-1]["workers"] = [{"from_generation": number, "evaluated_by": who} for number, who in history]
            atomic_files.replace(path, (json.dumps(entries, indent=2) + "\n").encode())


def environment() -> dict[str, Any]:
    """Returns what this process runs with."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": without_secrets(sys.argv),
        "distes": __version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name)) is not None},
        "host": socket.gethostname(),
        "system": platform.platform(),
        "processor": _processor(),
        "cores": cores(),
        "gpus": _gpus(),
    }


def without_secrets(arguments: Sequence[str]) -> list[str]:
    """Returns a command line in which values that may be secret are replaced by `[hidden]`.

    A value is hidden if its flag's name says token, password, secret, key or the like, if it looks like a key of a
    known service, or if it is the user's part of an address.

    Args:
        arguments: The words of the command line.
    """
    shown, hide = [], False
    for word in arguments:
        flag, equals, _ = word.partition("=")
        secret = word.startswith("-") and _SECRET.search(flag) is not None
        if hide and not word.startswith("--"):
            shown.append(HIDDEN)
        elif secret and equals:
            shown.append(f"{flag}={HIDDEN}")
        else:
            word = _WITHIN.sub(rf"\1{HIDDEN}", word)
            shown.append(_KEY.sub(HIDDEN, _USER.sub(rf"\1{HIDDEN}@", word)))
        hide = secret and not equals
    return shown


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the checkout that distes was imported from, with `+changes` if files differ; None without one."""
    if not (ROOT / ".git").exists():
        return None
    commit = _output("git", "-C", str(ROOT), "rev-parse", "HEAD")
    changed = _output("git", "-C", str(ROOT), "status", "--porcelain", "--untracked-files=no", "--", "distes")
    return f"{commit}+changes" if commit and changed else commit or None


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _gpus() -> list[str]:
    """The names of this machine's GPUs; asks the driver's own program, since torch would start CUDA."""
    lines = _output("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
    return [line.strip() for line in lines.splitlines() if line.strip()]


def _output(program: str, *arguments: str) -> str:
    """What a program prints; empty if it is not there, fails, or takes too long."""
    if shutil.which(program) is None:
        return ""
    try:
        done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=SECONDS)
    except (OSError, subprocess.SubprocessError, ValueError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
