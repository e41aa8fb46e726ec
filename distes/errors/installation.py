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
SCRIPTS = {"train": ["launch.py"], "play": ["play.py"], "resume": ["launch.py", "--resume"]}


def program(name: str) -> str:
    """Returns the command that starts a program of this environment: its name if PATH finds it, otherwise its path.

    Args:
        name: A file in the environment's `bin`, such as `tensorboard` or `python`.
    """
    here = Path(sys.executable).with_name(name)
    if name == "python" and not here.exists():  # there is only python3 or python3.12
        here = Path(sys.executable)
    return _typed(here) if here.exists() else here.name


def command(name: str) -> str:
    """Returns how a command of distes is started here, such as `distes play` or `.venv/bin/distes play`.

    Args:
        name: The command, such as `play`.
    """
    entry = _entry_point()
    if entry is not None:
        return f"{_typed(entry)} {name}"
    script, *flags = SCRIPTS.get(name, [""])
    path = ROOT / "scripts" / script
    if path.is_file():
        return " ".join([program("python"), shlex.quote(nearest(path)), *flags])
    found = not (ROOT / "pyproject.toml").exists()  # in site-packages
    found = found or Path.cwd() == ROOT or str(ROOT) in os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return f"{'' if found else f'PYTHONPATH={shlex.quote(str(ROOT))} '}{program('python')} -m distes {name}"


def typed_command(name: str) -> str:
    """Returns how the user started a command of this process, for the line that begins with `usage:`.

    Args:
        name: The command, such as `play`.
    """
    start = Path(sys.argv[0] if sys.argv else "")
    if start.parent.name == "scripts" and [start.name] == SCRIPTS.get(name):
        return f"python {nearest(start)}"
    return f"python -m distes {name}" if start.name == "__main__.py" else f"distes {name}"


def _entry_point() -> Path | None:
    """Returns the installed program `distes` if it starts this very package, and not another copy; otherwise None."""
    try:
        distribution = importlib.metadata.distribution("distes")
    except importlib.metadata.PackageNotFoundError:
        return None
    origin = json.loads(distribution.read_text("direct_url.json") or "{}")
    editable = origin.get("dir_info", {}).get("editable") and unquote(urlsplit(origin["url"]).path)
    place = Path(editable) if editable else Path(str(distribution.locate_file("")))
    files = [Path(os.path.normpath(str(file.locate()))) for file in distribution.files or [] if file.name == "distes"]
    programs = [path for path in files if path.is_file() and os.access(path, os.X_OK)]
    return programs[0] if programs and place.resolve() == ROOT else None


def _typed(path: Path) -> str:
    """Returns a program's name if PATH finds it, otherwise its path."""
    found = shutil.which(path.name)
    if found is not None and Path(found).parent.resolve() == path.parent.resolve():
        return path.name
    return shlex.quote(nearest(path))


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
