"""Commands that work where they are shown, however distes was installed: for messages."""

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
    """How to start a program of this environment from the current directory: by its name where that finds it.

    Args:
        name: A file in the environment's `bin`, such as `tensorboard` or `python`.
    """
    here = Path(sys.executable).with_name(name)
    if name == "python" and not here.exists():  # only python3 or python3.12 is there
        here = Path(sys.executable)
    found = shutil.which(here.name)
    if not here.exists() or (found is not None and Path(found).parent.resolve() == here.parent.resolve()):
        return here.name
    return shlex.quote(nearest(here))


def script(name: str) -> str:
    """How to start one of `scripts/` from the current directory.

    Args:
        name: `launch` or `play`.
    """
    path = ROOT / "scripts" / f"{name}.py"
    if path.is_file():
        return f"{program('python')} {shlex.quote(nearest(path))}"
    return f"{program('python')} -m distes{'' if name == 'launch' else f'.cli.{name}'}"


def install(extra: str) -> str:
    """The command that adds an extra to this installation.

    Args:
        extra: One of pyproject.toml's, such as `mujoco`.
    """
    return f"{program('python')} -m pip install {_requirement(extra)}"


def nearest(path: Path) -> str:
    """A path relative to the current directory where it lies in or beside it, otherwise absolute."""
    try:
        relative = os.path.relpath(path)
    except (OSError, ValueError):  # the current directory is gone, or on another drive
        return str(path)
    return str(path) if relative.startswith(os.path.join("..", "..")) else relative


def _requirement(extra: str) -> str:
    """What pip calls distes with the extra: a folder, an address, or the name under which an index has it."""
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
