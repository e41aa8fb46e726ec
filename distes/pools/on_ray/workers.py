"""The actors of a pool: started, taken in as they get ready, and said to be there or gone."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray.exceptions import RayError

from distes.errors import ClusterError
from distes.pools.device import WorkerPlace
from distes.pools.on_ray.cluster import last_line
from distes.pools.on_ray.deaths import Death
from distes.pools.on_ray.ray_internals import constructor_raised
from distes.pools.worker_table import COLUMNS, mixed, table

CLOSE_SECONDS = 5.0  # seconds for workers to close their environments
TABLE_SECONDS = 20.0  # seconds until the table of workers no longer waits for the last of them
DEATHS_SAID = 20  # deaths that are said one by one
DEATH_SECONDS = 5.0  # seconds between two further ones that are said


class RayWorkers:
    """Numbered actors, some of them on their way.

    Attributes:
        count: How many there are to be.
        ready: Actors that can be given work, by number.
        nodes: On which node, by number.
        places: The same for people, with the process.
        joining: Reference to the answer of an actor that is not ready yet -> its number and itself.
        restarted: How many died or were given up.
    """

    def __init__(
        self,
        actor: Any,
        experiment: Any,
        count: int,
        *,
        with_address: bool,
        say: Callable[[str], None],
        show: Callable[[Sequence[str], Sequence[Sequence[str]]], None] | None,
    ) -> None:
        """Starts all of them; they join as they get ready, and as the cluster has room.

        Args:
            actor: Their class, a remote one.
            experiment: Reference to what they are made of.
            count: How many.
            with_address: Whether nodes are shown with their address.
            say: Takes a line for the user.
            show: Takes the names of columns and rows; None says them line by line.
        """
        self._actor, self._experiment, self._with_address = actor, experiment, with_address
        self._say, self._show = say, show
        self.count, self.restarted = count, 0
        self.ready: dict[int, Any] = {}
        self.nodes: dict[int, str] = {}
        self.places: dict[int, WorkerPlace] = {}
        self.joining: dict[Any, tuple[int, Any]] = {}
        self._started = self._missing = 0
        self._refusals = set[str]()  # why workers could not start
        self._unready = ""  # why a worker died before it was ready, the last time
        self._places: dict[int, WorkerPlace] = {}  # of workers that are ready, and not in the table yet
        self._shown: list[WorkerPlace] = []
        self._began = self._told = time.monotonic()  # the latter: when a death was said
        self._untold = 0  # deaths since then
        for _ in range(count):
            self._start()

    def fill(self, room: int, *, more: bool) -> None:
        """Starts some where there is room: those that were refused before, since nodes come back changed.

        Args:
            room: How many more the cluster has room for.
            more: Whether more than were counted may start.
        """
        for _ in range(room if more else min(room, self.count - len(self.ready))):
            self._start()
        self.count = max(self.count, len(self.ready) + len(self.joining))

    def death_of(self, number: int, death: Death) -> Death:
        """The same with what is known of the worker's process."""
        here = self.nodes[number] == ray.get_runtime_context().get_node_id()
        return death.of_process(self.places[number].pid, self.places[number].node, here=here)

    def replace(self, number: int, how: str) -> None:
        """Gives one up, says how it came to that, and starts another. Where many die, not each of them is said."""
        ray.kill(self.ready.pop(number))
        self.restarted += 1
        now = time.monotonic()
        if self.restarted <= DEATHS_SAID or now - self._told > DEATH_SECONDS:
            others = f" ({self._untold} others died since the last line.)" if self._untold else ""
            self._say(f"Worker {number} {how}; its chunks are done again, and another worker starts.{others}")
            self._told, self._untold = now, 0
        else:
            self._untold += 1
        self._start()

    def start_missing(self) -> None:
        """Starts those whose node died under them: a little later, since the cluster may not know that it is gone."""
        for _ in range(self._missing):
            self._start()
        self._missing = 0

    def join(self, references: Sequence[Any]) -> list[int]:
        """Takes in those that are ready, and says why one is not; returns their numbers.

        Raises:
            ClusterError: No worker could start.
        """
        joined = [number for number in map(self._join, references) if number is not None]
        if self._shown and joined:
            where = ", ".join(sorted({self._places.pop(number).node for number in joined if number in self._places}))
            what = f"Worker {joined[0]} joins" if len(joined) == 1 else f"{len(joined)} workers join"
            self._say(f"{what} on {where}: {len(self.ready)} of {self.count} are there.")
        elif joined and not self.joining:
            self._show_places()
        return joined

    def show(self) -> None:
        """Shows who is there, if the others keep everybody waiting for too long."""
        if not self._shown and time.monotonic() - self._began > TABLE_SECONDS:
            self._show_places()

    def end(self) -> None:
        """Closes the environments of the workers, and ends the workers."""
        self.close()
        self.kill()

    def close(self) -> None:
        """Has them close their environments; whoever is busy for longer is not waited for."""
        closing = [actor.close.remote() for actor in self.ready.values()]
        if closing:
            ray.wait(closing, num_returns=len(closing), timeout=CLOSE_SECONDS)

    def kill(self) -> None:
        """Ends all of them, and lets go of what they are made of."""
        self._experiment = None  # where a node has died, Ray would look for it there, and end this process over that
        for actor in [*self.ready.values(), *(actor for _, actor in self.joining.values())]:
            ray.kill(actor)

    def _start(self) -> None:
        actor = self._actor.remote(self._experiment)
        self.joining[actor.ready.remote(self._with_address)] = (self._started, actor)
        self._started += 1

    def _join(self, reference: Any) -> int | None:
        number, actor = self.joining.pop(reference)
        try:
            self.places[number], self.nodes[number] = ray.get(reference)
            self._places[number] = self.places[number]
        except RayError as error:
            reason = last_line(error)
            if not constructor_raised(error):  # its node went, or its process: no fault of its own
                if reason != self._unready:
                    self._unready = reason
                    self._say(f"A worker died before it was ready, and another one starts: {reason}")
                self._missing += 1
                return None
            if reason not in self._refusals:
                self._refusals.add(reason)
                self._say(f"A worker could not start: {reason}")
            if not self.ready and not self.joining:
                raise ClusterError(f"No worker could start: {reason}") from error
            return None
        self.ready[number] = actor
        return number

    def _show_places(self) -> None:
        """Those that have joined since the last time."""
        places, self._places = self._places, {}
        if not places:
            return
        rows = table(places)
        if self._show is not None:
            self._show(COLUMNS, rows)
        else:
            for row in rows:
                self._say(", ".join(f"{column} {value}" for column, value in zip(COLUMNS, row, strict=True)))
        before, self._shown = mixed(self._shown), [*self._shown, *places.values()]
        warning = mixed(self._shown)
        if warning is not None and before is None:
            self._say(warning)
