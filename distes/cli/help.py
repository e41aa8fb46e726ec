"""The text of --help, generated from the constructors of the chosen classes."""

import textwrap

from distes.api.configuration import DEFAULTS
from distes.api.keys import CLASSES, chosen_class, schema
from distes.api.signature import Argument, shown
from distes.cli.flags import Flags

USAGE = """\
usage: python scripts/launch.py [--config FILE.yaml] [--key value ...]

Trains a policy by evolution strategies; without any flag, CartPole on this machine.

"""


def format_help(flags: Flags) -> str:
    """The help text, with the arguments of the classes that the command line chooses."""
    classes: dict[str, str] = {}
    for layer in [DEFAULTS, *flags.layers]:
        classes.update(layer.classes)
    if flags.help:
        classes = {flags.help: classes[flags.help]}
    text = ""
    if not flags.help:
        text += USAGE + _entry("config", "FILE", "A YAML file of the same keys; flags win over it.")
        text += _entry("resume", "DIR", "Continue the run in a directory, with a longer budget if given.")
        text += _entry("trust", "", "With --resume: the run may import and call code that is not part of distes.")
        text += _entry(
            "replay", "G[,PAIR,SIGN]", "With --resume: evaluate one member of generation G alone, or its centre."
        )
    sections = ["", *CLASSES, "noise"] if not flags.help else [flags.help]
    known = schema(classes).values()
    for section in sections:
        text += _heading(section, classes.get(section))
        of_section = [argument for argument in known if argument.key.rpartition(".")[0] == section]
        text += "".join(_entry(one.key, one.type_name, one.help, one) for one in of_section)
    return text


def _heading(section: str, path: str | None) -> str:
    if path is None:
        return f"\n{section}:\n" if section else ""
    component = chosen_class(section, path)
    about = (component.__doc__ or "").strip().partition("\n\n")[0]
    lines = textwrap.wrap(f"{section}: {component.__name__}. {about}", 100)
    choices = (
        f"{', '.join(CLASSES[section])}, or the import path of a class. --{section}.help CLASS shows its arguments."
    )
    return "\n" + "\n".join(lines) + "\n" + _entry(section, "CLASS", choices)


def _entry(key: str, kind: str, about: str, argument: Argument | None = None) -> str:
    if argument is not None:
        about += " (required)" if argument.required else f" (default: {shown(argument.fallback())})"
    return f"  --{key} {kind}\n{textwrap.indent(textwrap.fill(about.strip(), 92), ' ' * 8)}\n"
