"""Video files of episodes."""

import contextlib
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from distes.errors import ConfigurationError
from distes.errors.installation import install

FORMATS = (".mp4", ".gif")
FRAMES_PER_SECOND = 30  # if an environment does not say


@dataclass(frozen=True)
class Filming:
    """How episodes are to be filmed.

    Attributes:
        path: The file, which ends in .mp4 or .gif.
        frames_per_second: Speed of the film; None for the environment's.
        every: The film has every this many frames. At the environment's speed, it then plays that much faster.
        size: Width and height of frames; None for the environment's. Frames of environments that draw in one size only
            are scaled.
    """

    path: Path
    frames_per_second: float | None = None
    every: int = 1
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        """Checks the numbers.

        Raises:
            ConfigurationError: One is not positive.
        """
        for name, value in (("every", self.every), ("fps", self.frames_per_second)):
            if value is not None and not value > 0:
                raise ConfigurationError(f"{name} must be positive; got {value}.")

    def begin(self, environment: Any) -> "Film":
        """Opens the file of a film.

        Args:
            environment: What is filmed; its `metadata` may say how many steps it takes in a second.

        Raises:
            ConfigurationError: See `Film`.
        """
        usual = environment.metadata.get("render_fps") or FRAMES_PER_SECOND
        return Film(self.path, self.frames_per_second or usual, self.every, self.size)


class Film:
    """A video file, written under another name until it is complete."""

    def __init__(
        self, path: Path, frames_per_second: float, every: int = 1, size: tuple[int, int] | None = None
    ) -> None:
        """Opens the file.

        Args:
            path: The file's final name, which ends in .mp4 or .gif.
            frames_per_second: Speed of the film.
            every: The film has the picture of every this many steps.
            size: Width and height of frames; None for that of the pictures.

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
        self._every, self._size = every, size
        self._path, self._partial = path, path.with_name(f".{path.stem}.partial{path.suffix}")
        with self._writing():
            self._writer = imageio.get_writer(self._partial, **options)

    def wants(self, step: int) -> bool:
        """Whether the film has the picture after a step; steps are counted from 1."""
        return (step - 1) % self._every == 0

    def add(self, picture: NDArray[np.uint8]) -> None:
        """Appends a picture, (height, width, 3) uint8, scaled to the film's size.

        Raises:
            ConfigurationError: The file cannot be written.
        """
        with self._writing():
            self._writer.append_data(even(picture if self._size is None else scaled(picture, *self._size)))

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


def scaled(picture: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Returns a picture, (height, width, 3) uint8, in another size, interpolated."""
    image = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].float()
    smaller = width < picture.shape[1] or height < picture.shape[0]
    image = torch.nn.functional.interpolate(image, (height, width), mode="bilinear", antialias=smaller)
    result: NDArray[np.uint8] = image.round().clamp(0, 255).byte()[0].permute(1, 2, 0).numpy()
    return result


def even(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns a picture, (height, width, 3) uint8, of even height and width, as most video formats require."""
    height, width = picture.shape[:2]
    return np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
