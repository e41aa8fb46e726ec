"""Short films of a policy, small enough for a monitor: animated GIFs, bounded in frames, size and bytes."""

import contextlib
import io
import os
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import nn

from distes.errors import ConfigurationError
from distes.errors.display import drawing
from distes.errors.installation import install
from distes.population import Normalization
from distes.tasks.base import Task

MOST_FRAMES = 200
MOST_PIXELS = 256  # of the longer side
MOST_BYTES = 3_000_000  # of longer films every other frame is dropped
PER_SECOND = 20  # frames, at most
USUAL_RATE = 30  # steps per second, if an environment does not say


def film(task: Task, policy: nn.Module, normalization: Normalization | None, seed: int) -> bytes:
    """Films the beginning of an episode, and returns it as an animated GIF.

    Args:
        task: Makes the environment.
        policy: The policy, which acts without noise.
        normalization: Mean and standard deviation by which its observations are normalised, or None.
        seed: The seed of the episode.

    Raises:
        ConfigurationError: The task has no environment that can be drawn here, or Pillow is not installed.
        Exception: Whatever the environment, its drawing or the policy raise.
    """
    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"Films need Pillow, which is not installed: {install('video')}.") from error
    with _without_screen(), drawing(task.name):
        pictures, milliseconds = _pictures(Image, task, policy, normalization, seed)
    while True:
        buffer = io.BytesIO()
        first, *others = pictures
        first.save(buffer, "GIF", save_all=True, append_images=others, duration=round(milliseconds), loop=0)
        if buffer.tell() <= MOST_BYTES or len(pictures) < 2:
            return buffer.getvalue()
        pictures, milliseconds = pictures[::2], 2 * milliseconds


def _pictures(
    image: Any, task: Task, policy: nn.Module, normalization: Normalization | None, seed: int
) -> tuple[list[Any], float]:
    """The frames as pictures of Pillow, and the milliseconds from one to the next."""
    environment = task.make("rgb_array")
    try:
        rate = float(environment.metadata.get("render_fps") or USUAL_RATE)
        every = max(1, round(rate / PER_SECOND))
        pictures = []
        for frame in _frames(environment, task, policy, normalization, seed, every):
            picture = image.fromarray(frame)
            picture.thumbnail((MOST_PIXELS, MOST_PIXELS))
            pictures.append(picture.quantize(colors=64, dither=image.Dither.NONE))
            if len(pictures) == MOST_FRAMES:
                break
    finally:
        environment.close()
    return pictures, 1000 * every / rate


@contextlib.contextmanager
def _without_screen() -> Iterator[None]:
    """Makes pygame draw without looking for a screen or a sound card, about which it complains where there is none."""
    set_here = {name: "dummy" for name in ("SDL_VIDEODRIVER", "SDL_AUDIODRIVER") if name not in os.environ}
    os.environ.update(set_here)
    try:
        yield
    finally:
        for name in set_here:
            os.environ.pop(name, None)


def _frames(
    environment: Any, task: Task, policy: nn.Module, normalization: Normalization | None, seed: int, every: int
) -> Iterator[Any]:
    """Yields a picture after each `every` steps, (height, width, 3) uint8, and one after the last step."""
    # It imports Gymnasium, which tasks without environments do without.
    from distes.tasks.gym.playing import one_episode

    observation, action = task.observation_and_action()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about screens and drivers; an error follows if they matter
        steps = one_episode.steps(
            environment, policy, observation, action, seed, normalization=normalization, max_steps=task.max_steps
        )
        count = -1
        for count, _ in enumerate(steps):
            if count % every == 0:
                yield _drawn(environment)
        if count % every:
            yield _drawn(environment)


def _drawn(environment: Any) -> Any:
    picture = environment.render()
    if not isinstance(picture, np.ndarray) or picture.ndim != 3 or picture.dtype != np.uint8:
        raise ConfigurationError(
            f"An environment's render() must return a picture, an array (height, width, 3) of uint8; got a "
            f"{type(picture).__name__}."
        )
    return picture
