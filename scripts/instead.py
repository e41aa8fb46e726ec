"""What to do where a script was started with an interpreter that lacks what distes needs. Imports nothing of distes."""

import os
import shlex
from pathlib import Path


def instead(script: str) -> str:
    """The command that works: with the environment that `make setup` made, or how to make it.

    Args:
        script: The script's `__file__`.
    """
    root = Path(script).resolve().parents[1]
    python = root / ".venv" / "bin" / "python"
    if not python.exists():
        return f"run `make setup` in {root}, and `source .venv/bin/activate`"
    command = " ".join(shlex.quote(os.path.relpath(path)) for path in (python, Path(script).resolve()))
    return f"use {command}, or first `source {shlex.quote(os.path.relpath(python.with_name('activate')))}`"
