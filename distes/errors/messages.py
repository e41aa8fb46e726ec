"""Messages for the user, with a level that decides who sees them: `--quiet` hides progress, the table counts warnings.

A message is a text, so that whatever takes lines takes messages. A plain text counts as a note.
"""

import enum
from typing import Self


class Level(enum.Enum):
    """What a message is."""

    PROGRESS = enum.auto()  # how the run starts or goes on; quiet runs do not show it
    NOTE = enum.auto()  # what the user should know
    WARNING = enum.auto()  # what the user should look into


class Message(str):
    """A line for the user.

    Attributes:
        level: What the line is.
    """

    level: Level

    def __new__(cls, text: str, level: Level) -> Self:
        """Makes a message of a text.

        Args:
            text: The line, without its newline.
            level: What the line is.
        """
        made = super().__new__(cls, text)
        made.level = level
        return made


def progress(text: str) -> Message:
    """Returns a message of how the run starts or goes on."""
    return Message(text, Level.PROGRESS)


def warning(text: str) -> Message:
    """Returns a message that the user should look into."""
    return Message(text, Level.WARNING)


def level_of(line: str) -> Level:
    """Returns the level of a message; a plain text is a note."""
    return line.level if isinstance(line, Message) else Level.NOTE
