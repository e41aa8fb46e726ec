"""`distes completion bash|zsh|fish`: prints a script that completes commands, keys, classes and configurations."""

import argparse
import sys
from collections.abc import Sequence

from distes.api import shipped
from distes.api.classes import CLASSES
from distes.api.key_table import described, noise, top_level
from distes.cli.flags import NEEDS, SWITCHES
from distes.cli.guard import guarded
from distes.errors.installation import typed_command
from distes.runs.terminal import tell

BASH = """\
# To use it now: source <(distes completion bash). For good: put that line into ~/.bashrc.
_distes() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W "@commands@" -- "$word"))
        return
    fi
    case $before in
@values@
    esac
    case ${COMP_WORDS[1]} in
        train|resume)
            if [[ $word == --* || ${COMP_WORDS[1]} == train ]]; then
                COMPREPLY=($(compgen -W "@keys@" -- "$word"))
                return
            fi ;;
        completion) COMPREPLY=($(compgen -W "bash zsh fish" -- "$word")); return ;;
    esac
    COMPREPLY=($(compgen -f -- "$word"))
}
complete -o filenames -F _distes distes
"""
ZSH = "#compdef distes\nautoload -U +X bashcompinit && bashcompinit\n"  # zsh runs the functions of bash


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `distes completion` and returns the exit code, as `guarded` does.

    Args:
        argv: The arguments after `completion`; None takes those of this process.
    """
    parser = argparse.ArgumentParser(
        prog=typed_command("completion"), description="Prints a script that completes distes' command line."
    )
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="the shell that is to run the script")
    flags = parser.parse_args(argv)

    def work() -> int:
        tell({"bash": bash, "zsh": lambda: ZSH + bash(), "fish": fish}[flags.shell](), sys.stdout)
        return 0

    return guarded(work, debug=lambda: False)


def values() -> dict[str, list[str]]:
    """The values of each key that takes few; an empty list for any other."""
    found = {"config": shipped.names(), **CLASSES}
    found["help"] = ["all", "config", *CLASSES]
    found.update({name: [] for name in (*NEEDS, *SWITCHES) if name not in found})
    keys = [*top_level(), *noise()]
    keys += [key for section, names in CLASSES.items() for name in names for key in described(section, name).keys]
    for key in keys:
        found[key.name] = list(dict.fromkeys([*found.get(key.name, []), *key.choices]))
    return found


def bash() -> str:
    """The script for bash."""
    from distes.cli import COMMANDS

    known = values()
    cases = []
    for name, choices in known.items():
        if choices:
            files = ' $(compgen -f -- "$word")' if name == "config" else ""
            words = f'COMPREPLY=($(compgen -W "{" ".join(choices)}" -- "$word"){files}); return ;;'
            cases.append(f"        --{name}) {words}")
    return (
        BASH.replace("@commands@", " ".join(COMMANDS))
        .replace("@values@", "\n".join(cases))
        .replace("@keys@", " ".join(f"--{name}" for name in known))
    )


def fish() -> str:
    """The script for fish."""
    from distes.cli import COMMANDS

    lines = ["# To use it: distes completion fish > ~/.config/fish/completions/distes.fish"]
    for name, about in COMMANDS.items():
        quoted = about.replace("'", "\\'")
        lines.append(f"complete -c distes -n __fish_use_subcommand -f -a {name} -d '{quoted}'")
    for name, choices in values().items():
        end = "" if name in SWITCHES else f" -x -a '{' '.join(choices)}'" if choices else " -r"
        end = end.replace(" -x", " -r") if name == "config" else end
        lines.append(f"complete -c distes -n '__fish_seen_subcommand_from train resume' -l {name}{end}")
    lines.append("complete -c distes -n '__fish_seen_subcommand_from completion' -f -a 'bash zsh fish'")
    return "\n".join(lines) + "\n"
