"""The configurations that come with distes, which a user may choose by name: `--config halfcheetah`."""

from itertools import takewhile
from pathlib import Path

from distes.errors import ConfigurationError, did_you_mean
from distes.errors.installation import nearest

FOLDER = Path(__file__).resolve().parents[2] / "configs"  # in the repository a link to its top level


def names() -> list[str]:
    """The names of the configurations, in alphabetical order."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def about(name: str) -> str:
    """The comment at the beginning of a configuration: what it trains, and what to expect.

    Args:
        name: One of `names()`.
    """
    lines = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    comment = takewhile(lambda line: line.startswith("#"), lines)
    return " ".join(line.removeprefix("#").strip() for line in comment)


def locate(given: str) -> str:
    """Returns the path of a configuration. A file of that path wins over a configuration that comes with distes.

    Args:
        given: A path, or one of `names()`, with or without `.yaml`.

    Raises:
        ConfigurationError: There is no such file, and no such name.
    """
    name = given.removesuffix(".yaml")
    try:
        if Path(given).exists() and not (Path(given).is_dir() and name in names()):
            return given
    except (OSError, ValueError):  # the path is too long, or contains a character that paths cannot have
        return given  # reading it says so
    if name in names():
        return nearest(FOLDER.resolve() / f"{name}.yaml")
    known = did_you_mean(Path(name).name, names())
    raise ConfigurationError(
        f"The configuration {given} cannot be read: there is no such file, and none of that name comes with "
        f"distes.{known} Choose a YAML file, or one of these: {', '.join(names())}."
    )
