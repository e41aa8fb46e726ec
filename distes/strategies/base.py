"""The interface of a strategy, which works on flat vectors and knows no environment.

Axes: P parameters, N antithetic pairs (or members, where these come alone), S the signs.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distes.errors import CheckpointError, ConfigurationError, DistesError, EvaluationError
from distes.members.sensitivity import Sensitivity
from distes.noise.draws import Stream, draw
from distes.population import SIGNS, Evaluation, Floats, Population
from distes.runs.state_check import change, misfit


class Part(Protocol):
    """A part of a strategy that saves and loads its own state, such as an optimiser."""

    def state_dict(self) -> dict[str, Any]:
        """Returns the state, copied."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Loads a state from `state_dict`."""


class Strategy(ABC):
    """Proposes populations with `ask` and learns from their fitness with `tell`. Fitness is maximised.

    `Trainer` drives a strategy. A loop of your own needs three methods:

        population = strategy.ask()
        members = strategy.parameters(population)  # (N, S, P)
        strategy.tell([[fitness(member_P) for member_P in pair] for pair in members])

    The result of `ask` depends only on the seed and on what was told before. Asking twice returns the same population.
    A strategy must not write to what it is told.

    Attributes:
        needs_behaviour: Whether the task must describe the behaviour of members.
        ranks_signs: Whether the fitness that it is told is to be made of the signs of rewards.
        asks_for_rows: Whether its populations have rows, members that are arbitrary vectors.
        searches_bits: Whether only the signs of a member's numbers may count, as with a `Subnetwork`.
        needs_initial: Whether it needs the initial parameters as long as it runs. They are no part of its state: a
            resumed strategy must be made with the same ones.
        sensitivity: The policy's sensitivity where the strategy measures it, else None. Workers need it, too.
        varying: The keys of `state_dict`, at any depth, whose values may change shape or appear later. `restore`
            requires all other values to have the shape they have at the start. A class that extends `state_dict`
            declares `varying` again. None, or no declaration, lets everything vary.
    """

    needs_behaviour: bool = False
    ranks_signs: bool = False
    asks_for_rows: bool = False
    searches_bits: bool = False
    needs_initial: bool = False
    sensitivity: Sensitivity | None = None
    varying: Collection[str] | None = None
    _seed: int = 0  # of the run; a subclass sets it
    _generation: int = 0  # generations told; a subclass counts it

    @property
    @abstractmethod
    def centre_P(self) -> Floats:
        """The current solution, (P,) float32; a copy.

        It is the centre of the search distribution or, for genetic algorithms, the elite.
        """

    def all_centres(self) -> Iterator[Floats]:
        """Yields every centre, each (P,) float32. The metric `params/sha256` is the digest of their bytes."""
        yield self.centre_P

    @abstractmethod
    def ask(self) -> Population:
        """Returns the next generation, or its first round where a generation has several."""

    def more(self, evaluation: Evaluation) -> Population | None:
        """Returns a further round of the same generation, or None if the generation is complete.

        Args:
            evaluation: All rounds of the generation so far.
        """
        return None

    def evaluation_seeds(self, count: int, *, final: bool = False) -> NDArray[np.uint64]:
        """Seeds for episodes of the centre in the generation that `ask` returns, (count,), uint64.

        The first seeds are the same for any count. Every evaluation of a centre takes its seeds from here, so that all
        centres of a generation meet the same episodes.

        Args:
            count: Number of episodes.
            final: Whether to return the seeds of other episodes, which confirm the target and evaluate the centre of a
                finished run.
        """
        stream = Stream.FINAL_EVALUATION if final else Stream.EVALUATION
        return draw(self._seed, self._generation, stream, count)

    @property
    def common_seed(self) -> int:
        """The draw that all members of the generation share, a 64-bit number; see `Population.common_seed`."""
        return int(draw(self._seed, self._generation, Stream.COMMON, 1)[0])

    @abstractmethod
    def parameters(self, population: Population) -> Floats:
        """Returns the parameters of all members of a population, (N, S, P) float32."""

    def tell(self, evaluation: Evaluation | ArrayLike) -> dict[str, float]:
        """Updates the strategy from the generation that `ask` returned, and returns metrics.

        If anything is raised, including KeyboardInterrupt, the strategy keeps its previous state.

        Args:
            evaluation: An evaluation from a pool; or the fitness of each member, of shape (N, S) or (N * S,), in the
                order of `parameters`.

        Raises:
            EvaluationError: The shape is wrong, or a fitness is not finite.
        """
        if not isinstance(evaluation, Evaluation):
            evaluation = self._evaluation(evaluation)
        bad = np.argwhere(~np.isfinite(evaluation.fitness_N2))
        if len(bad):
            place = tuple(bad[0].tolist())
            raise EvaluationError(
                f"The fitness of member {place} is {evaluation.fitness_N2[place]}, which is not a finite number: give "
                "it one, or rank it last with Evaluation.ranked_last()."
            )
        take_back = self._taker_back()
        try:
            return self._tell(evaluation)
        except BaseException:
            take_back()  # so what is saved now can be resumed
            raise

    def _taker_back(self) -> Callable[[], None]:
        """Returns a function that restores the present state."""
        written_to = self._declared("_written_to")
        if written_to is None:
            state = self.state_dict()
            return lambda: self.load_state_dict(state)
        before = dict(vars(self))
        copies = [(part, part.state_dict()) for part in written_to(self)]

        def take_back() -> None:
            vars(self).update(before)
            for part, state in copies:
                part.load_state_dict(state)

        return take_back

    def _written_to(self) -> Iterable[Part]:
        """Returns the parts that the next `_tell` writes to, such as an optimiser; everything else it replaces.

        A class that declares this spares `tell` a copy of the whole state. As with `varying`, a class that extends
        `state_dict` declares it again, or `tell` makes that copy.
        """
        return ()

    @classmethod
    def _declared(cls, name: str) -> Any:
        """Returns an attribute of the class that `state_dict` comes from, or of one derived from it; else None."""
        says = next(one for one in cls.__mro__ if {name, "state_dict"} & vars(one).keys())
        return vars(says).get(name)

    @abstractmethod
    def _tell(self, evaluation: Evaluation) -> dict[str, float]:
        """Updates the state and returns metrics. The evaluation is complete, finite, and must not be written to."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Returns everything that `tell` changes: nested dictionaries of arrays, tensors and numbers, copied."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Loads a state from `state_dict`. The strategy then continues bit for bit."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Checks a state that was read from a file, and loads it.

        Raises:
            CheckpointError: The state does not fit this strategy, which keeps its previous state. The message begins
                with the place of the fault, such as `/memory/exp_avg`.
        """
        varying, before = self._declared("varying"), self.state_dict()
        problem = None if varying is None else misfit(state, before, varying)
        if problem is None:
            try:
                self.load_state_dict(state)
                self.ask()
                problem = None if varying is None else change(state, self.state_dict())
            except CheckpointError:
                self.load_state_dict(before)
                raise
            except Exception as error:
                kind = "" if isinstance(error, DistesError) else f"{type(error).__name__}: "
                problem = f" cannot be gone on from: {kind}{str(error).removesuffix('.')}"
        if problem is not None:
            self.load_state_dict(before)
            raise CheckpointError(f"{problem}.")

    def _evaluation(self, fitness: ArrayLike) -> Evaluation:
        asked = self.ask()
        shape, given = (len(asked.ids_N), len(asked.signs)), np.asarray(fitness, np.float64)
        if given.shape != shape and given.shape != (shape[0] * shape[1],):
            raise EvaluationError(
                f"Expected one fitness per member, of shape {shape} or ({shape[0] * shape[1]},); got shape "
                f"{given.shape}."
            )
        return Evaluation.of(given, shape[1])


def require_population(strategy: Strategy, method: str, given: object) -> Population:
    """Checks the return value of `ask` or `more`, since a user's strategy may return anything.

    Args:
        strategy: The strategy that returned it.
        method: `ask` or `more`, for messages.
        given: The returned value.

    Returns:
        The same value.

    Raises:
        ConfigurationError: The value is not a population, or its parts do not fit together.
    """
    start = f"{type(strategy).__name__}.{method} must return a distes.population.Population"
    if not isinstance(given, Population):
        raise ConfigurationError(f"{start}; got {'None' if given is None else f'a {type(given).__name__}'}.")
    if given.genomes is not None:
        return given
    wrong = [
        f"{name} {wanted}; got {_in_words(value)}"
        for name, value, kind, wanted in (
            ("ids_N", given.ids_N, "iu", "of shape (N,), whole numbers, at least one"),
            ("seeds_N", given.seeds_N, "u", "of shape (N,), uint64"),
            ("centre_P", given.centre_P, "f", "of shape (P,), float32"),
        )
        if not isinstance(value, np.ndarray) or value.ndim != 1 or value.dtype.kind not in kind or not len(value)
    ]
    if not wrong and given.centre_P.dtype != np.float32:
        wrong.append(f"centre_P of shape (P,), float32; got {_in_words(given.centre_P)}")
    if not wrong and len(given.ids_N) != len(given.seeds_N):
        wrong.append(f"a seed for each of its {len(given.ids_N)} directions; got {len(given.seeds_N)}")
    if not wrong and np.shape(given.sigma) not in ((), given.centre_P.shape):
        wrong.append(f"sigma as a number or of shape {given.centre_P.shape}; got shape {np.shape(given.sigma)}")
    wrong += [] if wrong or given.rows_NP is None else _wrong_rows(given, given.rows_NP)
    if wrong:
        raise ConfigurationError(f"{start} with {wrong[0]}.")
    return given


def _wrong_rows(given: Population, rows: object) -> list[str]:
    """What is wrong with the rows of a population whose other parts fit together."""
    shape = len(given.ids_N), len(given.centre_P)
    if not isinstance(rows, np.ndarray) or rows.shape != shape or rows.dtype != np.float32:
        return [f"rows_NP of shape {shape}, float32; got {_in_words(rows)}"]
    if given.signs != SIGNS[:1] or given.transform is not None:
        return ["signs (1,) and no transform where it has rows_NP, since its members are no pairs around a centre"]
    return []


def _in_words(value: object) -> str:
    return f"shape {value.shape}, {value.dtype}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
