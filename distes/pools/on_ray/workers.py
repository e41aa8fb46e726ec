"""The actors of a pool: starts them, adds the ones that get ready, replaces dead ones, and tells the user."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray.exceptions import RayError

from distes.errors import ClusterError
from distes.errors.messages import progress, warning
from distes.pools.device import WorkerPlace
from distes.pools.on_ray.cluster import last_line
from distes.pools.on_ray.deaths import Death
from distes.pools.on_ray.ray_internals import constructor_raised
from distes.pools.worker_table import COLUMNS, mixed, table

CLOSE_SECONDS = 5.0  # seconds for workers to close their environments
TABLE_SECONDS = 20.0  # seconds after which the table of workers is shown even if some are not ready
DEATHS_SAID = 20  # number of deaths that are reported one by one
DEATH_SECONDS = 5.0  # least seconds between reports of further deaths


class RayWorkers:
    """The numbered actors of a pool, including those that are not ready yet.

    Attributes:
        count: Number of actors that should run.
        ready: Handles of actors that can be given work, by number.
        nodes: Identities of the actors' nodes, by number.
        places: The actors' places as shown to the user, by number.
        joining: Number and handle of each actor that is not ready yet, by the reference to its `ready` call.
        restarted: Number of actors that died or were given up.
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
        """Starts the actors, which join as they get ready and as the cluster has room.

        Args:
            actor: The actors' remote class.
            experiment: Reference to the experiment that they are made of.
            count: Number of actors.
            with_address: Whether nodes are shown with their IP address.
            say: Takes a line for the user.
            show: Takes the column names and the rows of a table; None passes it to `say` line by line.
        """
        self._actor, self._experiment, self._with_address = actor, experiment, with_address
        self._say, self._show = say, show
        self.count, self.restarted = count, 0
        self.ready: dict[int, Any] = {}
        self.nodes: dict[int, str] = {}
        self.places: dict[int, WorkerPlace] = {}
        self.joining: dict[Any, tuple[int, Any]] = {}
        self._started = self._missing = 0
        self._refusals = set[str]()  # reasons for which workers could not start
        self._unready = ""  # reason of the last death before a worker was ready
        self._places: dict[int, WorkerPlace] = {}  # of ready workers that no table has shown yet
        self._shown: list[WorkerPlace] = []
        self._began = self._told = time.monotonic()  # the latter: time of the last report of a death
        self._untold = 0  # deaths since that report
        for _ in range(count):
            self._start()

    def fill(self, room: int, *, more: bool) -> None:
        """Starts workers that the cluster has room for, including those refused before: nodes may come back changed.

        Args:
            room: Number of further workers that the cluster has room for.
            more: Whether more than `count` workers may run.
        """
        for _ in range(room if more else min(room, self.count - len(self.ready))):
            self._start()
        self.count = max(self.count, len(self.ready) + len(self.joining))

    def death_of(self, number: int, death: Death) -> Death:
        """Returns a worker's death with what is known of its process."""
        here = self.nodes[number] == ray.get_runtime_context().get_node_id()
        return death.of_process(self.places[number].pid, self.places[number].node, here=here)

    def by_node(self) -> dict[str, int]:
        """Returns the number of ready workers on each node, without addresses where names tell the nodes apart."""
        full = {self.nodes[number]: self.places[number].node for number in self.ready}
        short = {identity: name.partition(" (")[0] for identity, name in full.items()}
        names = short if len(set(short.values())) == len(short) else full
        return dict(Counter(names[self.nodes[number]] for number in self.ready))

    def replace(self, number: int, how: str) -> None:
        """Gives a worker up, reports why, and starts another. If many die, only some deaths are reported."""
        ray.kill(self.ready.pop(number))
        self.restarted += 1
        now = time.monotonic()
        if self.restarted <= DEATHS_SAID or now - self._told > DEATH_SECONDS:
            others = f" ({self._untold} others died since the last line.)" if self._untold else ""
            what = f"Worker {number} {how}; its chunks are done again, and another worker starts.{others}"
            self._say(warning(what))
            self._told, self._untold = now, 0
        else:
            self._untold += 1
        self._start()

    def start_missing(self) -> None:
        """Replaces workers that died before they were ready; called later, so that the cluster notices dead nodes."""
        for _ in range(self._missing):
            self._start()
        self._missing = 0

    def join(self, references: Sequence[Any]) -> list[int]:
        """Adds workers that are ready and returns their numbers; reports why others could not start.

        Raises:
            ClusterError: No worker could start.
        """
        joined = [number for number in map(self._join, references) if number is not None]
        if self._shown and joined:
            where = ", ".join(sorted({self._places.pop(number).node for number in joined if number in self._places}))
            what = f"Worker {joined[0]} joins" if len(joined) == 1 else f"{len(joined)} workers join"
            self._say(progress(f"{what} on {where}: {len(self.ready)} of {self.count} are there."))
        elif joined and not self.joining:
            self._show_places()
        return joined

    def show(self) -> None:
        """Shows the workers that are ready, once the others have taken longer than `TABLE_SECONDS`."""
        if not self._shown and time.monotonic() - self._began > TABLE_SECONDS:
            self._show_places()

    def end(self) -> None:
        """Closes the environments of the workers, and ends the workers."""
        self.close()
        self.kill()

    def close(self) -> None:
        """Closes the environments of the workers, and waits for them for `CLOSE_SECONDS` at most."""
        closing = [actor.close.remote() for actor in self.ready.values()]
        if closing:
            ray.wait(closing, num_returns=len(closing), timeout=CLOSE_SECONDS)

    def kill(self) -> None:
        """Ends all workers, and drops the reference to the experiment."""
        self._experiment = None  # Ray would look for it on a dead node, and end this process
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
            if not constructor_raised(error):  # its node or process died; the constructor is not to blame
                if reason != self._unready:
                    self._unready = reason
                    self._say(warning(f"A worker died before it was ready, and another one starts: {reason}"))
                self._missing += 1
                return None
            if reason not in self._refusals:
                self._refusals.add(reason)
                self._say(warning(f"A worker could not start: {reason}"))
            if not self.ready and not self.joining:
                raise ClusterError(f"No worker could start: {reason}") from error
            return None
        self.ready[number] = actor
        return number

    def _show_places(self) -> None:
        """Shows the workers that have joined since the last table, and warns once if devices differ."""
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
        differ = mixed(self._shown)
        if differ is not None and before is None:
            self._say(warning(differ))
