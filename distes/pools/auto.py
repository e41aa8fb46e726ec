"""The pool of `--workers auto`: evaluates in this process at once, and hands over to workers where that pays."""

import math
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from distes.errors import ClusterError, DistesError
from distes.errors.messages import progress, warning
from distes.pools.base import Pool, Status, unheard
from distes.pools.chunks import reduce
from distes.pools.device import visible_gpus
from distes.pools.experiment import Experiment
from distes.pools.filming import Filmed, FilmOrder
from distes.pools.on_ray.background import BackgroundStart
from distes.pools.on_ray.held import leave
from distes.pools.serial import SerialPool
from distes.pools.worth import Worth
from distes.population import Evaluation, Population

if TYPE_CHECKING:
    from distes.pools.on_ray.pool import RayPool

READY_SECONDS = 20.0  # seconds after the first worker is ready, for which the hand-over waits for the others


class AutoPool(Pool):
    """Evaluates in this process, and on Ray on this machine from some chunk on.

    `Worth` decides whether to start Ray. It starts in the background, and so do its workers. The results have the
    same bits in this process and on workers, and chunks that are done when workers take over are not evaluated again.
    If Ray cannot start, a warning says so, and the run goes on in this process.

    Attributes:
        generations_left: Returns how many generations are left as far as limits say, with the present one.
    """

    def __init__(
        self,
        experiment: Experiment,
        *,
        cores: int,
        pairs_per_chunk: int | None = None,
        ray: Mapping[str, Any] | None = None,
        worth: Worth | None = None,
        say: Callable[[str], None] = print,
        waiting: Callable[[str], None] = unheard,
    ) -> None:
        """Makes the worker in this process; starts nothing.

        Args:
            experiment: What workers are made of.
            cores: Cores of this machine.
            pairs_per_chunk: As in `distes.pools.chunks.chunks`.
            ray: Further arguments of `RayPool`, such as `workers`.
            worth: Decides whether Ray is started; None takes the rule of `Worth` for these cores.
            say: Takes a line for the user.
            waiting: Called now and then with a text that says what is being waited for.

        Raises:
            ConfigurationError: The device is `cuda`, and there is no GPU.
        """
        self._experiment = experiment = experiment.with_device(visible_gpus())
        self._pairs_per_chunk = pairs_per_chunk
        self._arguments, self._say, self._waiting = dict(ray or {}), say, waiting
        self._serial = SerialPool(experiment, pairs_per_chunk=pairs_per_chunk, waiting=waiting)
        self.device = self._serial.device
        self._worth = Worth(cores) if worth is None else worth
        self.generations_left: Callable[[], float] = lambda: math.inf
        self._may_start, self._handed_over = True, False
        self._start: BackgroundStart | None = None
        self._ray: RayPool | None = None  # once its workers are starting
        self._first_ready: float | None = None  # when the first of them was ready
        self.history: list[tuple[int, str]] = []  # who evaluates, from which generation on; counted from 1

    def evaluate(self, population: Population, stop: Callable[[], bool]) -> Evaluation:
        """Evaluates in this process, on Ray, or both one after the other, see `Pool.evaluate`."""
        number = population.generation + 1
        if not self.history:
            self.history.append((number, "this process"))
        if self._handed_over and self._ray is not None:
            return self._ray.evaluate(population, stop)
        cut = self._serial.cut(population)
        began = time.monotonic()

        def look_and_stop() -> bool:
            stops = stop()
            if self._start is not None:
                self._start.attend(stops)
            return stops

        def hands_over() -> bool:
            return self._go_on(number, time.monotonic() - began, len(cut))

        done = self._serial.evaluate_until(population, look_and_stop, hands_over)
        if self._handed_over and self._ray is not None:
            self._serial.close()
            return self._ray.evaluate_rest(population, stop, done)
        self._worth.add(time.monotonic() - began)
        return reduce(population, [done[chunk.index] for chunk in cut], cut)

    def told(self, generation: int, evaluation: Evaluation) -> None:
        """Passes on what the strategy was told, once workers evaluate."""
        if self._start is not None:
            self._start.attend(stops=False)
        if self._ray is not None and self._handed_over:
            self._ray.told(generation, evaluation)

    def film(self, order: FilmOrder) -> None:
        """Films a centre in this process until workers evaluate, and then by a process of Ray."""
        pool = self._ray if self._ray is not None and self._handed_over else self._serial
        pool.film(order)

    def filmed(self, wait: float = 0.0) -> list[Filmed]:
        """Returns the films since the last call."""
        later = self._ray.filmed(wait) if self._ray is not None and self._handed_over else []
        return [*self._serial.filmed(), *later]

    def status(self) -> Status:
        """Returns the state of this process, or of the workers once they evaluate."""
        if self._ray is not None and self._handed_over:
            return self._ray.status()
        return self._serial.status()

    def close(self) -> None:
        """Ends Ray and its workers if they were started, and closes the environments in this process."""
        try:
            if self._start is not None:
                if not self._start.finished:
                    self._say(progress("Ray is still starting; it is ended first ..."))
                start, self._start = self._start, None
                start.give_up()
            if self._ray is not None:
                ray, self._ray = self._ray, None
                ray.close()
        finally:
            self._serial.close()

    def _go_on(self, number: int, seconds: float, count: int) -> bool:
        """Takes the next step towards a hand-over if there is one; returns whether workers take over now.

        Args:
            number: Number of the present generation, from 1.
            seconds: Seconds that it has taken so far.
            count: Number of its chunks.
        """
        try:
            if self._ray is not None:
                return self._are_ready(self._ray, number)
            if self._start is not None:
                if self._start.finished:
                    start, self._start = self._start, None
                    self._make_workers(start)
            elif self._may_start and self._worth.pays(seconds, count, self.generations_left):
                self._begin()
        except (DistesError, OSError, ImportError, RuntimeError) as error:
            self._stay(error)
        return False

    def _begin(self) -> None:
        self._may_start = False
        self._say(progress("Workers would pay off: Ray starts in the background ..."))
        self._start = BackgroundStart(
            None,
            self._experiment.forward.layout.size,
            seconds=self._arguments.get("start_timeout", 300.0),
            say=self._say,
        )

    def _make_workers(self, start: BackgroundStart) -> None:
        """Starts workers on the cluster, between two chunks, since the experiment is pickled."""
        connection = start.connection()
        from distes.pools.on_ray.pool import RayPool

        try:
            self._ray = RayPool(
                self._experiment,
                pairs_per_chunk=self._pairs_per_chunk,
                say=self._say,
                waiting=self._waiting,
                connection=connection,
                **self._arguments,
            )
        except BaseException:
            leave(connection, lambda: None, well=True)
            raise

    def _are_ready(self, ray: "RayPool", number: int) -> bool:
        """Whether all workers are ready, or at least enough of them for a while.

        Raises:
            ClusterError: No worker could start, or too few for too long.
        """
        ready, now = ray.gather(), time.monotonic()
        if ready and self._first_ready is None:
            self._first_ready = now
        late = self._first_ready is not None and now - self._first_ready > READY_SECONDS
        if ready < ray.wanted and not late:
            return False
        if ready < min(max(2, self._arguments.get("min_workers", 1)), ray.wanted):
            raise ClusterError(f"{ready:,} of {ray.wanted:,} workers {'is' if ready == 1 else 'are'} ready.")
        self._handed_over = True
        self._say(progress(f"workers: {ready:,} on Ray from generation {number:,}"))
        self.history.append((number, f"{ready:,} worker{'' if ready == 1 else 's'} on Ray"))
        return True

    def _stay(self, error: Exception) -> None:
        """Says why there are no workers, and goes on without them."""
        ray, self._ray = self._ray, None
        if ray is not None:
            ray.close()
        reason = " ".join(str(error).split())
        self._say(warning(f"There are no workers, and the run goes on in this process. {reason}"))
