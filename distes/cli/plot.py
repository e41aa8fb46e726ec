"""`distes plot`: draws what runs have recorded, into a file or a window."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distes.cli.guard import work_of_command
from distes.cli.parser import Parser
from distes.errors import ConfigurationError, RunDirectoryError
from distes.errors.display import require_display
from distes.runs.terminal import tell

KINDS = {
    "curves": "a metric over time, a curve for each group of runs with a band over its seeds",
    "population": "the members of one run, each a dot (--record_population) or in percentiles, and its centre",
    "path": "the path of one run's centre on two principal axes, from its checkpoints",
}
SMOOTH = 5  # values


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        "plot",
        description="Draws what runs have recorded. Runs that differ in nothing but their seed form one curve.",
        epilog="kinds: " + "; ".join(f"{name}: {about}" for name, about in KINDS.items()) + ".",
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN_DIR", help="run directories, or directories of some")
    parser.add_argument("--kind", choices=tuple(KINDS), default="curves", help="what to draw (default: %(default)s)")
    parser.add_argument(
        "-x",
        choices=("timesteps", "seconds", "generations"),
        help="the x axis of curves (default: timesteps, or what else the task counts)",
    )
    parser.add_argument("-y", metavar="METRIC", help="the metric of curves (default: eval/mean)")
    parser.add_argument(
        "--by", metavar="KEY[,KEY]", help="what makes groups, as strategy.sigma (default: all that differs)"
    )
    parser.add_argument(
        "--smooth", type=int, nargs="?", const=SMOOTH, metavar="N", help=f"draw means of N values ({SMOOTH} without N)"
    )
    parser.add_argument("--title", help="the title (default: the task)")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("-o", "--output", type=Path, metavar="FILE", help="write FILE.png, FILE.svg or FILE.pdf")
    output.add_argument("--svg", action="store_true", help="write KIND.svg")
    output.add_argument("--png", action="store_true", help="write KIND.png; without a display, this is the default")
    parser.add_common()
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `distes plot` and returns the exit code, as `guarded` does.

    Args:
        argv: The arguments after `plot`; None takes those of this process.
    """
    flags = _parser().parse_args(argv)

    def work() -> int:
        path = flags.output or next(
            (Path(f"{flags.kind}.{kind}") for kind in ("svg", "png") if getattr(flags, kind)), None
        )
        if path is None and not _has_display():
            path = Path(f"{flags.kind}.png")
        if path is None:
            from distes.runs.plots.window import show

            show(lambda figure: _draw(flags, figure))
        else:
            from distes.runs.plots.style import save

            save(_draw(flags, None), path)
            tell(f"Wrote {path}.\n", sys.stdout)
        return 0

    return work_of_command(work, debug=flags.debug)


def _draw(flags: argparse.Namespace, figure: Any) -> Any:
    """Draws the picture that the command line asks for.

    Raises:
        DistesError: A flag does not fit the kind, or a run cannot be drawn.
    """
    if flags.kind == "curves":
        from distes.runs.plots.curves import plot_curves

        by = None if flags.by is None else flags.by.split(",")
        smooth = 1 if flags.smooth is None else flags.smooth
        return plot_curves(flags.runs, flags.x, flags.y, by, smooth=smooth, title=flags.title, figure=figure)
    given = [name for name in ("x", "y", "by", "smooth") if getattr(flags, name) is not None]
    if given:
        name = f"-{given[0]}" if len(given[0]) == 1 else f"--{given[0]}"
        raise ConfigurationError(f"{name} is for curves: --kind {flags.kind} has axes of its own. Leave it out.")
    if len(flags.runs) != 1:
        raise RunDirectoryError(f"--kind {flags.kind} draws one run; got {len(flags.runs)} directories.")
    if flags.kind == "population":
        from distes.runs.plots.population import plot_population

        return plot_population(flags.runs[0], title=flags.title, figure=figure)
    from distes.runs.plots.path import plot_path

    return plot_path(flags.runs[0], title=flags.title, figure=figure)


def _has_display() -> bool:
    try:
        require_display()
    except ConfigurationError:
        return False
    return True
