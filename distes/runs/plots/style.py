"""What all pictures share: sizes, colours, numbers on axes, and how they are written to files.

A picture is a `Figure` that no window and no global state of pyplot knows, so that it can be made in any thread.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Figure  # re-exported, for modules that may not import matplotlib
from matplotlib.ticker import FuncFormatter, MaxNLocator

from distes.errors import ConfigurationError

SIZE = (6.4, 3.6)  # inches: the width of a page's text
DOTS_PER_INCH = 200
# Okabe and Ito's colours, which people with any colour vision tell apart; yellow, too pale for a line, is left out.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
DASHES = ("solid", (0, (5, 1.5)), (0, (1.2, 1.2)))  # for more lines than colours
GREY = "#666666"
RC = {
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.labelsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.8,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": "black",
    "ytick.labelcolor": "black",
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.title_fontsize": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.solid_joinstyle": "round",
    "savefig.dpi": DOTS_PER_INCH,
    "svg.fonttype": "none",  # text stays text, which a reader can search and a test can read
    "svg.hashsalt": "distes",  # the same picture gives the same file
    "axes.unicode_minus": True,
}
FORMATS = ("png", "svg", "pdf")


class Picture(Figure):
    """A figure that notebooks show by themselves."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        with styled():
            self.savefig(buffer, format="png")
        return buffer.getvalue()


@contextmanager
def styled() -> Iterator[None]:
    """Sets the style within the block. A user's own settings of matplotlib count for what it leaves open."""
    with matplotlib.rc_context(RC):  # type: ignore[arg-type]
        yield


def axes_of(figure: Figure | None) -> tuple[Figure, Axes]:
    """A figure with one system of axes.

    Args:
        figure: An empty figure to draw in; None makes a `Picture`.
    """
    if figure is None:
        figure = Picture(figsize=SIZE)
    figure.set_layout_engine("constrained")
    return figure, figure.add_subplot()


def save(figure: Figure, path: Path) -> None:
    """Writes a picture to a file, in the format that the file's name ends with.

    Args:
        figure: The picture.
        path: The file: `.png`, `.svg` or `.pdf`.

    Raises:
        ConfigurationError: The name ends otherwise, or the file's directory does not exist.
        OSError: The file cannot be written.
    """
    kind = path.suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        raise ConfigurationError(f"A picture is written to a file FILE.png, FILE.svg or FILE.pdf; got {str(path)!r}.")
    if not path.parent.is_dir():
        raise ConfigurationError(f"{path} cannot be written: there is no directory {path.parent}.")
    metadata: dict[str, Any] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind, {})
    with styled():
        figure.savefig(path, format=kind, metadata=metadata)


def compact(value: float, _: object = None) -> str:
    """A number as a tick shows it: `500`, `20k`, `1.5M`, `2G`."""
    size = abs(value)
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size >= unit * (10 if unit == 1e3 else 1):  # 5000 is read as easily as 5k
            return f"{value / unit:g}{name}".replace("-", "−")
    return f"{value:g}".replace("-", "−")


def number_axes(axes: Axes) -> None:
    """Makes the axes show numbers as `compact` does, about five of them."""
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
        axis.set_major_formatter(FuncFormatter(compact))
