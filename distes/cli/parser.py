"""The parser of commands that take no keys of the configuration."""

import argparse
import sys
from typing import NoReturn

from distes.runs.terminal import tell_sentence


class Parser(argparse.ArgumentParser):
    """argparse's parser, whose errors are broken between words on a terminal."""

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """Ends the program.

        Args:
            status: The exit code.
            message: The sentence about a wrong argument, with its newline, or None.
        """
        if message:
            tell_sentence(message, sys.stderr)
        sys.exit(status)
