"""A translation as YAML of ours, with a comment on each line that says what it was."""

from typing import Any

from distes.api.configuration import yaml_text
from distes.api.configuration.classes import CLASSES
from distes.api.translation.translated import LeftOut, Translation, Value, shown


def text(translation: Translation, where: str) -> str:
    """Writes a translation as a configuration.

    Args:
        translation: A translation in which nothing was refused.
        where: The file that it comes from, and what in it.
    """
    lines = [f"# Translated from {translation.source}: {where}. Behind each line stands what it was there."]
    lines += [f"# Means nothing here: {_left(one)}" for one in translation.left_out]
    for section in CLASSES:
        lines += _section(translation, section)
    noise = _within(translation, "noise")
    if noise:
        lines += ["noise:", *(f"  {_line(key, value)}" for key, value in noise.items())]
    lines += [_line(key, value) for key, value in translation.values.items() if "." not in key]
    return "\n".join(lines) + "\n"


def rows(translation: Translation) -> list[tuple[str, str]]:
    """What each key became, as pairs: what it was, and ours."""
    found = [
        (value.was, f"{key}: {yaml_text.inline(value.value)}")
        for key, value in [*translation.classes.items(), *translation.values.items()]
    ]
    return found + [(f"{one.key}: {shown(one.value)}", f"nothing: {one.reason}") for one in translation.left_out]


def _section(translation: Translation, section: str) -> list[str]:
    chosen, values = translation.classes.get(section), _within(translation, section)
    if chosen is None and not values:
        return []
    name = chosen or Value(CLASSES[section][0], "")
    lines = [f"{section}:", f"  {_line('class_path', name)}"]
    if values:
        lines += ["  init_args:", *(f"    {_line(key, value)}" for key, value in values.items())]
    return lines


def _within(translation: Translation, section: str) -> dict[str, Value]:
    start = f"{section}."
    return {key.removeprefix(start): value for key, value in translation.values.items() if key.startswith(start)}


def _line(key: str, value: Value) -> str:
    comment = f"  # {value.was}" if value.was else ""
    return f"{key}: {yaml_text.inline(_plain(value.value))}{comment}"


def _plain(value: Any) -> Any:
    """A value without subclasses of the plain types."""
    return str(value) if isinstance(value, str) else value


def _left(one: LeftOut) -> str:
    return f"{' '.join(one.key.split())}: {shown(one.value)} ({one.reason})"  # their key may have a line break in it
