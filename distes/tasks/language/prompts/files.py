"""Reads files of text that a configuration names, with a sentence where that fails."""

from pathlib import Path

from distes.errors import ConfigurationError, did_you_mean


def read_bytes(path: str, argument: str, hint: str = "") -> bytes:
    """Reads a file.

    Args:
        path: The file; relative to the working directory, with `~` for the home directory.
        argument: The argument of the task that names it, with which messages begin.
        hint: What to say where there is no such file.

    Raises:
        ConfigurationError: It cannot be read.
    """
    file = Path(path).expanduser()
    try:
        return file.read_bytes()
    except OSError as error:
        where = ""
        if isinstance(error, FileNotFoundError):
            where = "" if file.is_absolute() else f" in {Path.cwd()}"
            there = [one.name for one in file.parent.iterdir() if one.is_file()] if file.parent.is_dir() else []
            hint = f"{did_you_mean(file.name, there)}{hint and f' {hint}'}"
        reason = f"{error.strerror or error}{where}.{hint}"
        raise ConfigurationError(f"{argument} {path!r} cannot be read: {reason}", argument=argument) from error
