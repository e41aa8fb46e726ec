"""`distes completion bash|zsh|fish`: prints a script that completes commands, options, keys, their values."""

import sys
from collections.abc import Sequence

from distes.api.configuration import shipped
from distes.api.configuration.classes import CLASSES
from distes.api.configuration.key_table import described, noise, top_level
from distes.cli.flags import NEEDS, SWITCHES
from distes.cli.guard import work_of_command
from distes.cli.options import EVERY, OPTIONS, Values
from distes.cli.parser import Parser
from distes.runs.terminal import tell

BASH = """\
# To use it now: source <(distes completion bash). For good: put that line into ~/.bashrc.
_distes() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}
    if [ "$word" = "=" ]; then word=; fi
    if [ "$before" = "=" ]; then before=${COMP_WORDS[COMP_CWORD-2]}; fi
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W "@commands@" -- "$word"))
        return
    fi
    case ${COMP_WORDS[1]} in
@options@
        train|resume|sweep|doctor)
            if [[ ${COMP_WORDS[1]} == sweep && $before == --seeds ]]; then return; fi
            case $before in
                @switches@) ;;
@values@
                --*) COMPREPLY=($(compgen -f -- "$word")); return ;;
            esac
            if [[ $word != -* && ${COMP_WORDS[1]} == resume && $COMP_CWORD -eq 2 ]]; then
                COMPREPLY=($(compgen -d -- "$word"))
                return
            fi
            COMPREPLY=($(compgen -W "@keys@" -- "$word")) ;;
        completion) COMPREPLY=($(compgen -W "bash zsh fish" -- "$word")) ;;
    esac
}
complete -o filenames -F _distes distes
"""
ZSH = "#compdef distes\nautoload -U +X bashcompinit && bashcompinit\n"  # zsh runs the functions of bash


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `distes completion` and returns the exit code, as `guarded` does.

    Args:
        argv: The arguments after `completion`; None takes those of this process.
    """
    parser = Parser("completion", description="Prints a script that completes distes' command line.")
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="the shell that is to run the script")
    flags = parser.parse_args(argv)

    def work() -> int:
        tell({"bash": bash, "zsh": lambda: ZSH + bash(), "fish": fish}[flags.shell](), sys.stdout)
        return 0

    return work_of_command(work)


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

    known, cases = values(), []
    for name, choices in known.items():
        if choices:
            files = ' $(compgen -f -- "$word")' if name == "config" else ""
            words = f'COMPREPLY=($(compgen -W "{" ".join(choices)}" -- "$word"){files}); return ;;'
            cases.append(f"                --{name}) {words}")
    return (
        BASH.replace("@commands@", " ".join(COMMANDS))
        .replace("@options@", "\n".join(_case(name, options) for name, options in OPTIONS.items()))
        .replace("@switches@", "|".join(f"--{name}" for name in SWITCHES))
        .replace("@values@", "\n".join(cases))
        .replace("@keys@", " ".join(f"--{name}" for name in [*known, "seeds"]))
    )


def _case(command: str, options: dict[str, Values]) -> str:
    """The case of bash for a command with options of its own: their values, their names, or run directories."""
    lines = [f"        {command})", "            case $before in"]
    for option, takes in options.items():
        if takes is not None:
            kind = "-f" if takes == "file" else f'-W "{"" if takes == "text" else " ".join(takes)}"'
            lines.append(f'                {option}) COMPREPLY=($(compgen {kind} -- "$word")); return ;;')
    names = " ".join([*options, *EVERY])
    lines += [
        "            esac",
        f'            if [[ $word == -* ]]; then COMPREPLY=($(compgen -W "{names}" -- "$word")); return; fi',
        '            COMPREPLY=($(compgen -d -- "$word")) ;;' if options else "            ;;",
    ]
    return "\n".join(lines)


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
        lines.append(f"complete -c distes -n '__fish_seen_subcommand_from train resume sweep doctor' -l {name}{end}")
    lines.append("complete -c distes -n '__fish_seen_subcommand_from train sweep' -x -l seeds")
    for command, options in OPTIONS.items():
        for option, takes in {**options, **EVERY}.items():
            end = {"file": " -r", "text": " -x", None: ""}.get(takes if not isinstance(takes, tuple) else None, "")
            end = f" -x -a '{' '.join(takes)}'" if isinstance(takes, tuple) else end
            form = f"-l {option[2:]}" if option.startswith("--") else f"-s {option[1:]}"
            lines.append(f"complete -c distes -n '__fish_seen_subcommand_from {command}' {form}{end}")
    lines.append("complete -c distes -n '__fish_seen_subcommand_from completion' -f -a 'bash zsh fish'")
    return "\n".join(lines) + "\n"
