"""Video files of episodes."""

import contextlib
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distes.errors import ConfigurationError
from distes.errors.installation import install

FORMATS = (".mp4", ".gif")
FRAMES_PER_SECOND = 30  # if an environment does not say


class Film:
    """A video file, written under another name until it is complete."""

    def __init__(self, path: Path, frames_per_second: float) -> None:
        """Opens the file.

        Args:
            path: The file's final name, which ends in .mp4 or .gif.
            frames_per_second: Speed of the film.

        Raises:
            ConfigurationError: The name has another ending, the file cannot be written, or imageio is not installed.
        """
        if path.suffix.lower() not in FORMATS:
            raise ConfigurationError(f"record must name a file that ends in .mp4 or .gif; got {str(path)!r}.")
        if not path.parent.is_dir():
            raise ConfigurationError(f"record: there is no directory {path.parent}.")
        if path.is_dir():
            raise ConfigurationError(f"record must name a file; {path} is a directory.")
        try:
            imageio = importlib.import_module("imageio.v2")
            if path.suffix.lower() == ".mp4":
                importlib.import_module("imageio_ffmpeg")
                options: dict[str, Any] = {"fps": frames_per_second, "macro_block_size": 2}
            else:
                options = {"duration": 1000 / frames_per_second, "loop": 0}  # milliseconds; 0 repeats for ever
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                f"Recording needs {error.name}, which is not installed: {install('video')}."
            ) from error
        self._path, self._partial = path, path.with_name(f".{path.stem}.partial{path.suffix}")
        with self._writing():
            self._writer = imageio.get_writer(self._partial, **options)

    def add(self, frame: NDArray[np.uint8]) -> None:
        """Appends a frame, (height, width, 3) uint8.

        Raises:
            ConfigurationError: The file cannot be written.
        """
        with self._writing():
            self._writer.append_data(frame)

    def finish(self) -> None:
        """Completes the file and gives it its final name. An older file of that name is replaced.

        Raises:
            ConfigurationError: The file cannot be written.
        """
        with self._writing():
            self._writer.close()
            self._partial.replace(self._path)

    def close(self) -> None:
        """Removes the file if it was not finished."""
        with contextlib.suppress(OSError):
            self._writer.close()
        self._partial.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            raise ConfigurationError(f"The film {self._path} cannot be written: {reason}.") from error
