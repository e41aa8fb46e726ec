"""The command line: reads flags, prints, and returns exit codes. Each command has a module of its name with `main`."""

import sys
from collections.abc import Sequence
from importlib import import_module

COMMANDS = {
    "train": "train a policy: --config FILE, --task.env NAME; the default is CartPole",
    "play": "play or film the policy that a run saved",
    "export": "write a saved policy as ONNX or with torch.export",
}
OVERVIEW = "usage: distes COMMAND [...]      distes COMMAND --help shows what a command takes\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line and returns the exit code. A command's module is imported when it is called.

    Args:
        argv: The arguments without the program's name, such as `["play", "runs/cartpole"]`; None takes those of this
            process. If there are none, or the first is a flag, the command is `train`.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = "train" if not arguments or arguments[0].startswith("-") else arguments.pop(0)
    if command in COMMANDS:
        return int(import_module(f"distes.cli.{command}").main(arguments))
    from distes.errors import did_you_mean
    from distes.runs.terminal import tell

    tell(
        f"error: {command!r} is not a command of distes: {', '.join(COMMANDS)}.{did_you_mean(command, COMMANDS)}\n",
        sys.stderr,
    )
    return 2
