"""The command line on a disk that turns sick: `python -m tests.support.sick_disk FILE FLAGS ...`.

As long as FILE holds the name of an error, such as ENOSPC or EROFS, whatever writes into its folder gets that error.
"""

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def made_sick(call: Callable[..., Any], sickness: Path) -> Callable[..., Any]:
    def sick(*arguments: Any, **options: Any) -> Any:
        path = f"/proc/self/fd/{arguments[0]}" if isinstance(arguments[0], int) else os.fspath(arguments[0])
        there = sickness.parent in Path(os.path.realpath(path)).parents
        reads = call.__name__ == "open" and not arguments[1] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if there and not reads and sickness.exists():
            number = getattr(errno, sickness.read_text().strip())
            raise OSError(number, os.strerror(number))
        return call(*arguments, **options)

    return sick


if __name__ == "__main__":
    for name in ("open", "write", "mkdir", "rename", "replace", "unlink", "rmdir"):
        setattr(os, name, made_sick(getattr(os, name), Path(sys.argv[1])))
    from distes.cli import main

    sys.exit(main(sys.argv[2:]))
