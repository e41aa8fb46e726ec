"""Films made by a task of Ray, in a process of its own: no worker waits for it, and none dies with it."""

from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import RayError

from distes.pools.experiment import Experiment
from distes.pools.filming import Camera, Filmed, FilmOrder


def _shoot(camera: Camera, order: FilmOrder) -> Filmed:
    return camera.shoot(order)


class RayFilms:
    """Makes one film at a time; an order that comes while a film is being made is dropped."""

    def __init__(self, experiment: Experiment, put: Callable[[Any], Any]) -> None:
        """Sends nothing yet.

        Args:
            experiment: Whose policy is filmed.
            put: Puts a value into the object store, and returns a reference.
        """
        self._experiment, self._put = experiment, put
        self._camera: Any = None
        self._making: tuple[FilmOrder, Any] | None = None

    def begin(self, order: FilmOrder) -> None:
        """Begins to film, unless another film is being made."""
        if self._making is not None:
            return
        if self._camera is None:
            self._camera = self._put(Camera.of(self._experiment))
        # no CPU is asked for, since the workers have them all
        shoot = ray.remote(num_cpus=0, max_retries=0)(_shoot)
        self._making = order, shoot.remote(self._camera, self._put(order))

    def done(self, wait: float) -> list[Filmed]:
        """Returns the film if it is ready.

        Args:
            wait: Seconds to wait for it.
        """
        if self._making is None:
            return []
        order, reference = self._making
        if not ray.wait([reference], timeout=wait)[0]:
            return []
        self._making = None
        try:
            made: Filmed = ray.get(reference)
        except RayError as error:
            why = f"the process that drew it died: {' '.join(str(error).split())[:200]}."
            made = Filmed(order.generation, order.timesteps, why=why)
        return [made]

    def close(self) -> None:
        """Gives up the film that is being made."""
        if self._making is not None:
            ray.cancel(self._making[1], force=True)
            self._making = None
