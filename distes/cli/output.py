"""Files that a command line names for results."""

from pathlib import Path

from distes.errors import ConfigurationError
from distes.runs.atomic_files import reason


def require_writable(path: Path, flag: str) -> None:
    """Checks that a file can be written, before the work whose result it is to hold. It is made, empty, if it is new.

    Args:
        path: The file.
        flag: The flag that names it, without dashes.

    Raises:
        ConfigurationError: It cannot.
    """
    try:
        path.open("a").close()
    except OSError as error:
        raise ConfigurationError(f"{flag}: {path} cannot be written: {reason(error)}.") from error


def write_text(path: Path, text: str, flag: str) -> None:
    """Writes a text, in UTF-8.

    Args:
        path: The file.
        text: The text.
        flag: The flag that names the file, without dashes.

    Raises:
        ConfigurationError: It cannot be written.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{flag}: {path} cannot be written: {reason(error)}.") from error
