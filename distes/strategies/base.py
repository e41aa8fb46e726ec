"""What a strategy is. It sees flat vectors and numbers, and knows no environment.

Axes: P parameters, N antithetic pairs (or members, where these come alone), S the signs.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distes.errors import CheckpointError, ConfigurationError, DistesError, EvaluationError
from distes.members.sensitivity import Sensitivity
from distes.noise.draws import Stream, draw
from distes.population import Evaluation, Floats, Population
from distes.runs.state_check import change, misfit


class Strategy(ABC):
    """Asks for a population to be evaluated, and is told how it went. Fitness is maximised.

    What `ask` returns is a function of the seed and of what has been told; asking twice gives the same. Everything is
    here for those who bring a loop of their own: `ask`, `parameters`, `tell`.

    What it is told is read-only. It may write to arrays of its own, in a worker that follows it, too.

    Attributes:
        needs_behaviour: Whether the task must describe what members do.
        sensitivity: Of the policy, where it is measured: workers need it, too.
        varying: Keys of `state_dict`, at any depth, whose values change their form from generation to generation, or
            come later; all else keeps the form that it has at the start, which `restore` insists on. A class that
            extends `state_dict` says so anew; None, or nothing said, lets everything vary.
    """

    needs_behaviour: bool = False
    sensitivity: Sensitivity | None = None
    varying: Collection[str] | None = None
    _seed: int = 0  # of the run; a subclass sets it
    _generation: int = 0  # generations told; a subclass counts it

    @property
    @abstractmethod
    def centre_P(self) -> Floats:
        """What it would show for its work: the centre of the search, or the best that it has; a copy."""

    def all_centres(self) -> Iterator[Floats]:
        """Everything that it searches around, one after the other; `params/sha256` is the digest of their bytes."""
        yield self.centre_P

    @abstractmethod
    def ask(self) -> Population:
        """Returns the next generation, or the first round of it."""

    def more(self, evaluation: Evaluation) -> Population | None:
        """A further round of the same generation, where what was evaluated of it is not enough; else None.

        Args:
            evaluation: All rounds so far.
        """
        return None

    def evaluation_seeds(self, count: int, *, final: bool = False) -> NDArray[np.uint64]:
        """Seeds for episodes of the centre in the generation that `ask` returns, (count,), uint64.

        Fewer seeds are the first of more. Whoever evaluates the centre takes the seeds from here, so that all centres
        of a generation meet the same episodes.

        Args:
            count: Number of episodes.
            final: Whether to return the seeds of other episodes, which confirm the target and evaluate the centre of a
                finished run.
        """
        stream = Stream.FINAL_EVALUATION if final else Stream.EVALUATION
        return draw(self._seed, self._generation, stream, count)

    @abstractmethod
    def parameters(self, population: Population) -> Floats:
        """Materialises the members of what `ask` returned: (N, S, P), float32."""

    def tell(self, evaluation: Evaluation | ArrayLike) -> dict[str, float]:
        """Learns from the generation that `ask` returned, and returns metrics.

        Whatever goes wrong on the way, Ctrl-C included, the strategy is as it was before.

        Args:
            evaluation: What a pool gave; or just the fitness of each member, in the order of `parameters`.

        Raises:
            EvaluationError: There are too many or too few of them, or one is not a finite number.
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
        """Returns what brings the strategy back to its present state."""
        before = self.state_dict()
        return lambda: self.load_state_dict(before)

    @abstractmethod
    def _tell(self, evaluation: Evaluation) -> dict[str, float]:
        """Learns from a complete evaluation, which it must not write to; every fitness in it is finite."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Returns all that changes: nested dictionaries of arrays, tensors and numbers, copied."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` gave; then goes on bit for bit."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes over a state that was read from somewhere, once it has shown itself to be one of this strategy's.

        Raises:
            CheckpointError: It is not; the message begins with the place, such as `/memory/exp_avg`. The strategy is
                as it was.
        """
        says = next(one for one in type(self).__mro__ if {"varying", "state_dict"} & vars(one).keys())
        varying, before = vars(says).get("varying"), self.state_dict()
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
                f"A generation of this strategy has {shape[0] * shape[1]} members, and so many numbers are its fitness "
                f"(of shape {shape}, or in a row); got shape {given.shape}."
            )
        return Evaluation.of(given, shape[1])


def require_population(strategy: Strategy, method: str, given: object) -> Population:
    """Checks what a strategy asks for; a foreign one may return anything.

    Args:
        strategy: Whose it is.
        method: `ask` or `more`.
        given: What it returned.

    Raises:
        ConfigurationError: It is no population, or its parts do not fit each other.
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
    if wrong:
        raise ConfigurationError(f"{start} with {wrong[0]}.")
    return given


def _in_words(value: object) -> str:
    return f"shape {value.shape}, {value.dtype}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
