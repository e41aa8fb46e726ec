"""The parser of commands that take no keys of the configuration."""

import argparse
import sys
from typing import Any, NoReturn

from distes.errors.installation import typed_command
from distes.runs.terminal import tell_sentence

TRUST = "let the run import and call code that is not part of distes"


class Parser(argparse.ArgumentParser):
    """argparse's parser, whose errors are broken between words on a terminal."""

    def __init__(self, command: str, **options: Any) -> None:
        """Makes a parser without arguments.

        Args:
            command: The command, such as `plot`; help shows it as users type it here.
            **options: What argparse's parser takes, such as `description`.
        """
        super().__init__(prog=typed_command(command), **options)

    def add_common(self, *, trust: str | None = None) -> None:
        """Adds the flags that commands have in common; to be called last, so that help shows them last.

        Args:
            trust: What `--trust` does; None for commands without it.
        """
        if trust is not None:
            self.add_argument("--trust", action="store_true", help=trust)
        self.add_argument("--debug", action="store_true", help="show the traceback of an error")

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """Ends the program.

        Args:
            status: The exit code.
            message: The sentence about a wrong argument, with its newline, or None.
        """
        if message:
            tell_sentence(message, sys.stderr)
        sys.exit(status)
