"""How to see again what a worker could not evaluate. Workers do not know the run directory; the driver puts it in."""

import re
from collections.abc import Callable

COMMAND = "distes resume RUN_DIR --workers 0"
SHOWN = re.compile(rf"{COMMAND}((?: (?:or )?--replay [\d,+-]+)*)")


def in_one_process(*replays: str) -> str:
    """Returns the command that does a generation again in one process, or members of it, for a message.

    Args:
        replays: What is to be evaluated alone, as `--replay` takes it: `7,12,+` for a member, `7` for a centre.
    """
    return COMMAND + "".join(f"{' or' if i else ''} --replay {what}" for i, what in enumerate(replays))


def with_run(message: str, again: Callable[[str], str]) -> str:
    """Returns a message whose commands name the run.

    Args:
        message: A message with commands of `in_one_process`.
        again: Returns the command that resumes the run with further flags, such as ` --workers 0 --replay 7`.
    """
    return SHOWN.sub(lambda found: again(f" --workers 0{found[1]}"), message)
