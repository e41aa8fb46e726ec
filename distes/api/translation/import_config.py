"""Translates configurations of other libraries, and checks that what comes out can be run."""

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from distes.api.building.build import build
from distes.api.configuration import yaml_text
from distes.api.configuration.layers import DEFAULTS, layer_of
from distes.api.configuration.other_libraries import Source
from distes.api.configuration.resolution import Configuration, resolve
from distes.api.translation import formats, written
from distes.api.translation.formats import Entry
from distes.errors import ConfigurationError
from distes.errors.trust import only_own

NOT_INSTALLED = "needs an extra that is not installed"


@dataclass(frozen=True)
class Imported:
    """A configuration of another library in our terms.

    Attributes:
        text: YAML of ours, with a comment on each line that says what it was.
        configuration: The same, resolved.
        rows: What each key became: pairs of what it was, and ours.
        warning: Why it could not be tried here, though its keys and values are right; or empty.
    """

    text: str
    configuration: Configuration
    rows: list[tuple[str, str]]
    warning: str


@dataclass(frozen=True)
class Tried:
    """One configuration of several.

    Attributes:
        name: The file, and the entry in it.
        problem: Why it is refused; empty if it is translated.
        warning: As in `Imported`.
    """

    name: str
    problem: str
    warning: str


def import_config(
    path: str | Path, source: Source | None = None, name: str | None = None, *, trust: bool = False
) -> Imported:
    """Translates a configuration of OpenAI's, Uber's, RLlib's, rl-zoo's or EvoTorch's into ours.

    The result is built once, with its environment, and so is known to run. Nothing in the file is run.

    Args:
        path: A file.
        source: Where it comes from; None to tell by its content.
        name: The entry, such as an environment of rl-zoo's ars.yml; None if there is one.
        trust: Whether an environment may be imported that is not part of distes or of Gymnasium.

    Raises:
        ConfigurationError: The file is not understood, has several entries, or has keys without a counterpart.
    """
    found = formats.entries(Path(path), source, name)
    if len(found) != 1:
        names = ", ".join(one.name for one in found)
        raise ConfigurationError(f"{path} has {len(found)} entries: choose one with --name: {names}.")
    return _imported(str(path), found[0], trust=trust)


def try_all(
    paths: Iterable[str | Path], source: Source | None = None, name: str | None = None, *, trust: bool = False
) -> list[Tried]:
    """Translates all configurations of several files.

    Args:
        paths: The files.
        source: Where they come from; None to tell by their content.
        name: The entry that is wanted of each; None for all.
        trust: As for `import_config`.
    """
    found: list[Tried] = []
    for path in paths:
        try:
            some = formats.entries(Path(path), source, name)
        except ConfigurationError as error:
            found.append(Tried(str(path), str(error), ""))
            continue
        for entry in some:
            where = f"{path} {entry.name}".rstrip()
            try:
                found.append(Tried(where, "", _imported(str(path), entry, trust=trust).warning))
            except ConfigurationError as error:
                found.append(Tried(where, str(error).removeprefix(f"{_place(str(path), entry)} "), ""))
    return found


def _imported(path: str, entry: Entry, *, trust: bool) -> Imported:
    where = _place(path, entry)
    translation = entry.translate()
    translation.finish()
    if translation.refused:
        raise ConfigurationError(f"{where} has what distes has no counterpart for: {'; '.join(translation.refused)}.")
    text = written.text(translation, " ".join(where.split()))
    try:
        configuration = resolve([DEFAULTS, layer_of(yaml_text.read(text), where)])
        with nullcontext() if trust else only_own("The file"):
            experiment, _ = build(configuration)
        experiment.task.close()
        warning = ""
    except ConfigurationError as error:
        if NOT_INSTALLED not in str(error):
            raise ConfigurationError(f"{where} is translated into what cannot be run: {error}") from error
        warning = f"It was not tried. {error}"
    return Imported(text, configuration, written.rows(translation), warning)


def _place(path: str, entry: Entry) -> str:
    return f"{path}, {entry.name}" if entry.name else path
