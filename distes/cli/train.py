"""`distes train`, and `scripts/launch.py`: makes a configuration of flags, and runs it."""

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from distes import __version__
from distes.api.configuration import yaml_text
from distes.api.configuration.objects import all_texts
from distes.api.configuration.resolution import Configuration
from distes.api.configuration.signature import Text, typed
from distes.cli.flags import Flags, configure, read_flags
from distes.cli.guard import guarded
from distes.cli.help import format_help
from distes.errors.trust import only_own
from distes.runs.terminal import tell


def _trusted(flags: Flags) -> AbstractContextManager[None]:
    """Limits what a resumed run may import to distes itself, and what the command line or its files name."""
    if flags.resume is None or flags.trust:
        return nullcontext()
    named = set[str]()
    for layer in flags.layers:
        values = [typed(value) if isinstance(value, Text) else value for value in layer.values.values()]
        named.update(layer.classes.values(), all_texts(values))
    return only_own(str(Path(flags.resume) / "config.yaml"), named)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `distes train` and returns the exit code, as `guarded` does.

    Args:
        argv: The arguments after `train`; None takes those of this process.
    """
    if any(one.partition("=")[0] == "--seeds" for one in (sys.argv[1:] if argv is None else argv)):
        from distes.cli.sweep import main as sweep

        return sweep(argv)
    debug = False

    def work() -> int:
        nonlocal debug
        flags = read_flags(sys.argv[1:] if argv is None else argv)
        debug = flags.layer.values.get("debug", "false") in ("", "true")
        if flags.version:
            tell(f"distes {__version__}\n", sys.stdout)
            return 0
        if flags.asks_for_help:
            tell(format_help(flags), sys.stdout)
            return 0
        with _trusted(flags):
            configuration = configure(flags)
            debug = configuration["debug"]
            return _do(flags, configuration)

    return guarded(work, debug=lambda: debug, hint=" (--help all shows every key)")


def _do(flags: Flags, configuration: Configuration) -> int:
    """Does what the command line asks for with its configuration, and returns the exit code."""
    if flags.print_config:
        tell(yaml_text.write(configuration), sys.stdout)
        return 0
    if flags.dry_run:
        from distes.api.running.dry_run import plan

        rows = plan(configuration)
        left = max(len(name) for name, _ in rows)
        tell("".join(f"{name:<{left}}  {what}\n" for name, what in rows), sys.stdout)
        return 0
    from distes.api.running.launch import train

    return train(configuration, resumed=flags.resume is not None, replay=flags.replay)
