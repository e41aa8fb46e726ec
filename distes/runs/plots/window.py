"""Shows pictures in a window, with pyplot's choice of toolkit."""

from collections.abc import Callable

import matplotlib
from matplotlib import pyplot
from matplotlib.figure import Figure

from distes.errors import ConfigurationError
from distes.runs.plots.style import SIZE


def show(draw: Callable[[Figure], object]) -> None:
    """Opens a window with a picture, and returns once it is closed.

    Args:
        draw: Draws into an empty figure.

    Raises:
        ConfigurationError: matplotlib finds no toolkit for windows.
    """
    figure = pyplot.figure(figsize=SIZE)
    try:
        if matplotlib.get_backend().lower() in ("agg", "svg", "pdf", "ps", "template"):
            raise ConfigurationError(
                "matplotlib finds no toolkit that opens windows (python3-tk, or PyQt6 from pip): write the picture to "
                "a file with -o FILE.png instead."
            )
        draw(figure)
        pyplot.show()
    finally:
        pyplot.close(figure)
