"""Commands for messages, which work in the user's current directory however distes was installed."""

import importlib.metadata
import json
import os
import shlex
import shutil
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parents[2]


def program(name: str) -> str:
    """Returns the command that starts a program of this environment: its name if PATH finds it, otherwise its path.

    Args:
        name: A file in the environment's `bin`, such as `tensorboard` or `python`.
    """
    here = Path(sys.executable).with_name(name)
    if name == "python" and not here.exists():  # there is only python3 or python3.12
        here = Path(sys.executable)
    found = shutil.which(here.name)
    if not here.exists() or (found is not None and Path(found).parent.resolve() == here.parent.resolve()):
        return here.name
    return shlex.quote(nearest(here))


def script(name: str) -> str:
    """Returns the command that starts one of `scripts/`, or its module if distes was installed without `scripts/`.

    Args:
        name: "launch" or "play".
    """
    path = ROOT / "scripts" / f"{name}.py"
    if path.is_file():
        return f"{program('python')} {shlex.quote(nearest(path))}"
    return f"{program('python')} -m distes{'' if name == 'launch' else f'.cli.{name}'}"


def install(extra: str) -> str:
    """Returns the command that adds an extra to this installation.

    Args:
        extra: The name of an extra in pyproject.toml, such as `mujoco`.
    """
    return f"{program('python')} -m pip install {_requirement(extra)}"


def nearest(path: Path) -> str:
    """Returns a path relative to the current directory if it is inside it or its parent; otherwise unchanged."""
    try:
        relative = os.path.relpath(path)
    except (OSError, ValueError):  # the current directory is gone, or on another drive
        return str(path)
    return str(path) if relative.startswith(os.path.join("..", "..")) else relative


def _requirement(extra: str) -> str:
    """Returns distes with the extra as arguments of pip: a folder, a URL, or the name in a package index."""
    try:
        text = importlib.metadata.distribution("distes").read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:
        return f"-e {shlex.quote(f'{nearest(ROOT)}[{extra}]')}"
    origin = json.loads(text) if text else {}
    url = str(origin.get("url", ""))
    if url.startswith("file://"):
        place = nearest(Path(unquote(urlsplit(url).path)))
        editable = "-e " if origin.get("dir_info", {}).get("editable") else ""
        return f"{editable}{shlex.quote(f'{place}[{extra}]')}"
    if "vcs_info" in origin:
        url = f"{origin['vcs_info']['vcs']}+{url}@{origin['vcs_info']['commit_id']}"
    return shlex.quote(f"distes[{extra}] @ {url}" if url else f"distes[{extra}]")
