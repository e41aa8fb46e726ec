"""The command line: reads flags, prints, and returns exit codes. Each command has a module of its name with `main`."""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TextIO

COMMANDS = {
    "train": "train a policy",
    "resume": "go on with a run, with a longer budget if given",
    "play": "play or film the policy that a run saved, or any member of a run",
    "evaluate": "measure the policy that a run saved, a classifier with its confusion matrix",
    "plot": "draw learning curves, a population, or the path of the centre",
    "compare": "compare runs in a table, seeds taken together",
    "sweep": "train with several values and seeds",
    "export": "write a saved policy as ONNX or with torch.export",
    "vine": "write a page that shows the populations of a run",
    "import_config": "translate a configuration of OpenAI, Uber, RLlib, rl-zoo or EvoTorch",
    "doctor": "look at this installation, and say what is missing",
    "completion": "print a script that completes commands and keys in a shell",
}
# The first commands that a user needs; they are shown by `distes` without arguments.
EXAMPLES = {
    "train": ("", "--config halfcheetah --seed 1", "--task.env Pendulum-v1 --strategy PGPE"),
    "resume": ("runs/CartPole --generations 200",),
    "play": ("runs/CartPole", "runs/CartPole --record film.mp4"),
    "plot": ("runs/* --by strategy.sigma -o curves.png",),
    "sweep": ("--strategy.sigma 0.02,0.1 --seeds 0..4",),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line and returns the exit code. A command's module is imported when it is called.

    Args:
        argv: The arguments without the program's name, such as `["play", "runs/cartpole"]`; None takes those of this
            process. Without any, it prints an overview. If the first is a flag of `train`, the command is `train`.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments in (["--help"], ["-h"], ["help"]):
        _say(overview(), sys.stdout)
        return 0
    command = "train" if arguments[0].startswith("-") else arguments.pop(0)
    if command == "help":  # `distes help play`
        command, arguments = arguments[0], ["--help", *arguments[1:]]
    if command in COMMANDS:
        return int(import_module(f"distes.cli.{command}").main(arguments))
    from distes.errors import did_you_mean

    known = did_you_mean(command, COMMANDS)
    _say(f"error: {command!r} is not a command of distes: {', '.join(COMMANDS)}.{known}\n", sys.stderr)
    return 2


def overview() -> str:
    """What `distes` prints without arguments: a line for each command, and examples."""
    from distes.errors.installation import typed_command

    program = typed_command("").strip()
    left = max(map(len, COMMANDS))
    text = f"usage: {program} COMMAND [...]\n\nTrains neural networks by evolution strategies.\n\n"
    text += "".join(f"  {name:<{left}}  {about}\n" for name, about in COMMANDS.items())
    text += "\n"
    for name, examples in EXAMPLES.items():
        text += "".join(f"  {program} {name} {example}".rstrip() + "\n" for example in examples)
    return f"{text}\n{program} COMMAND --help shows what a command takes; {program} --version, the version.\n"


def _say(text: str, stream: TextIO | None) -> None:
    from distes.runs.terminal import tell_sentence

    tell_sentence(text, stream)
