"""Packages of environments that need MuJoCo below 4.0, while distes' own twins of MuJoCo's tasks need 4.0."""

import importlib.metadata
import traceback
from contextlib import suppress
from pathlib import PurePath

# The folder of a package, and its name for people.
PACKAGES = {"gymnasium_robotics": "Gymnasium-Robotics", "metaworld": "Meta-World", "dm_control": "dm_control"}
WHERE = "docs/environments.md has the commands"


def advice(error: BaseException) -> str:
    """What to do about an error if MuJoCo is too new for the package that raised it; empty otherwise.

    Args:
        error: What making an environment raised, with its traceback.
    """
    found = version()
    if found is None or int(found.partition(".")[0]) < 4:
        return ""
    folders = [part for frame in traceback.extract_tb(error.__traceback__) for part in PurePath(frame.filename).parts]
    name = next((PACKAGES[folder] for folder in reversed(folders) if folder in PACKAGES), None)
    if name is None:
        return ""
    return (
        f" {name} needs mujoco below 4.0, and {found} is installed here, which the batched twins of distes need: give "
        f"{name} an environment of its own, with pip install 'mujoco<4' ({WHERE})."
    )


def version() -> str | None:
    """The version of MuJoCo that is installed, or None."""
    with suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version("mujoco")
    return None
