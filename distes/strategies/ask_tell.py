"""Base class for optimisers of other libraries that ask for vectors and are told what each was worth.

Examples are pycma's CMA-ES, nevergrad's optimisers and particle swarms. Axes: P parameters, N members.
"""

import pickle
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distes.errors import ConfigurationError, EvaluationError, described, trust
from distes.noise.draws import Stream, draw
from distes.noise.global_randomness import seeded
from distes.population import Evaluation, Floats, Population
from distes.runs.state_check import require
from distes.strategies.base import Part, Strategy
from distes.strategies.update.estimate import of_step


class AskTell(Strategy):
    """Members are the vectors that another library's optimiser asks for; a subclass holds the two together.

    The members' parameters travel to the workers, each to one, where other strategies send a few integers: 4 N P bytes
    per generation. A subclass says in its constructor how the optimiser is made, and implements three methods:

        vectors(optimizer)                       asks for the next members
        learn(optimizer, vectors, fitness_N)     tells what they were worth; fitness is maximised
        centre(optimizer)                        its solution so far, which is evaluated and saved

    Between generations, the optimiser is kept as pickle holds it, and the next generation begins with what was
    unpickled. So a resumed run goes on bit for bit, with all that the optimiser has in memory. While the optimiser is
    made, asked and told, the global generators (NumPy's, Python's, torch's) are seeded with seed and generation; they
    have their states back afterwards. A checkpoint of a stored run is unpickled only if the run is trusted.
    """

    asks_for_rows = True
    varying = ("optimizer",)

    def __init__(self, make: Callable[[], Any], seed: int = 0) -> None:
        """Starts at generation 0.

        Args:
            make: Makes the optimiser; called once. It must be possible to pickle what it returns.
            seed: The seed of the run.

        Raises:
            ConfigurationError: The optimiser cannot be pickled.
        """
        self._seed, self._generation = seed, 0
        with seeded(self._draw(2)):
            self._between = Between(make())
        self._size = len(self.centre_P)

    @abstractmethod
    def vectors(self, optimizer: Any) -> Sequence[ArrayLike]:
        """Asks for the next members; returns one vector of P numbers per member, of any number of members.

        Args:
            optimizer: The optimiser, which may be changed.
        """

    @abstractmethod
    def learn(self, optimizer: Any, vectors: Sequence[ArrayLike], fitness_N: NDArray[np.float64]) -> Any:
        """Tells the optimiser what its vectors were worth.

        Args:
            optimizer: The optimiser that asked for them, which may be changed.
            vectors: What `vectors` returned, the same objects. Members are evaluated in float32.
            fitness_N: Fitness of each, to be maximised: an optimiser that minimises takes its negative.

        Returns:
            A mapping of metrics, or None.
        """

    @abstractmethod
    def centre(self, optimizer: Any) -> ArrayLike:
        """Returns the optimiser's solution so far, P numbers, without changing anything.

        Args:
            optimizer: The optimiser, before it is asked for the next members.
        """

    @property
    def centre_P(self) -> Floats:
        """The optimiser's solution so far, (P,) float32; a copy."""
        between = self._between
        if between.centre_P is None:
            between.centre_P = self._centre_of(between, self._generation)
        return between.centre_P.copy()

    def ask(self) -> Population:
        """Returns the vectors that the optimiser asks for; it is asked once per generation."""
        between, centre_P = self._between, self.centre_P  # first: it is that of the optimiser as it was
        if between.vectors is None:
            with seeded(self._draw(0)):
                between.vectors = self.vectors(between.optimizer)
            between.rows_NP = self._rows(between.vectors, len(centre_P))
        assert between.rows_NP is not None
        seeds_N = draw(self._seed, self._generation, Stream.EPISODES, len(between.rows_NP))
        return Population.of_rows(self._generation, centre_P, between.rows_NP, seeds_N, common_seed=self.common_seed)

    def parameters(self, population: Population) -> Floats:
        """Returns the parameters of all members, (N, 1, P) float32; a copy."""
        assert population.rows_NP is not None
        return population.rows_NP[:, None].copy()

    def _tell(self, evaluation: Evaluation) -> dict[str, float]:
        self.ask()
        between, before_P = self._between, self.centre_P
        assert between.vectors is not None
        with seeded(self._draw(1)):
            metrics = self.learn(between.optimizer, between.vectors, evaluation.fitness_N2[:, 0].copy())
        self._between = Between(between.optimizer)
        self._generation += 1
        own = {name: float(value) for name, value in (metrics or {}).items()}
        return {**of_step(before_P, self.centre_P), **own}

    def _draw(self, number: int, generation: int | None = None) -> int:
        generation = self._generation if generation is None else generation
        return int(draw(self._seed, generation, Stream.DIRECTIONS, 4)[number])

    def _centre_of(self, between: "Between", generation: int) -> Floats:
        with seeded(self._draw(3, generation)):
            return self._row("centre", self.centre(between.optimizer))

    def _rows(self, vectors: Sequence[ArrayLike], size: int) -> Floats:
        rows = [self._row("vectors", vector) for vector in vectors]
        if not rows or any(len(row_P) != size for row_P in rows):
            lengths = sorted({len(row_P) for row_P in rows})
            raise ConfigurationError(
                f"{type(self).__name__}.vectors must return at least one vector, each of {size:,} numbers as the "
                f"centre; got {f'vectors of {lengths} numbers' if rows else 'none'}."
            )
        return np.stack(rows)

    def _row(self, method: str, vector: ArrayLike) -> Floats:
        with np.errstate(over="ignore"):  # what is beyond float32 becomes infinite
            row_P = np.array(vector, np.float64).astype(np.float32)
        if row_P.ndim != 1 or not len(row_P):
            raise ConfigurationError(
                f"{type(self).__name__}.{method} must give vectors of numbers, of shape (P,); got one of shape "
                f"{row_P.shape}."
            )
        bad = np.flatnonzero(~np.isfinite(row_P))
        if len(bad):
            raise EvaluationError(
                f"{type(self).__name__}.{method} gave a vector whose number {bad[0]} is {row_P[bad[0]]} in generation "
                f"{self._generation + 1}: the optimiser has diverged. Start with a smaller step size, or bound it."
            )
        return row_P

    def _written_to(self) -> tuple[Part, ...]:
        return (self._between,)

    def state_dict(self) -> dict[str, Any]:
        """Returns the generation, and the optimiser as pickle holds it, uint8."""
        return {"generation": self._generation, **self._between.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Loads a state from `state_dict`, and unpickles it: the state must be trusted.

        Raises:
            ConfigurationError: The stored centre is of another size.
            CheckpointError: The optimiser is not an array of bytes.
        """
        between = Between.__new__(Between)
        between.load_state_dict(state)
        generation = int(state["generation"])
        between.centre_P = self._centre_of(between, generation)  # read once, as in the run that is continued
        stored = len(between.centre_P)
        if stored != self._size:
            raise ConfigurationError(f"The stored centre has {stored} parameters, this policy {self._size}.")
        self._between, self._generation = between, generation

    def restore(self, state: Mapping[str, Any]) -> None:
        """Checks a state that was read from a file, and loads it.

        Raises:
            ConfigurationError: The run that the file belongs to is not trusted, and a pickle can run any code.
            CheckpointError: The state does not fit this strategy, which keeps its previous state.
        """
        trust.pickled(f"the optimiser of {type(self).__name__}")
        super().restore(state)


class Between:
    """An optimiser between two generations, as pickle holds it, and what was derived from it since.

    Attributes:
        centre_P: Its solution, once it was read.
        vectors: What it asked for, once it was asked.
        rows_NP: The same in float32.
    """

    centre_P: Floats | None
    vectors: Sequence[ArrayLike] | None
    rows_NP: Floats | None
    _pickle_B: NDArray[np.uint8]
    _optimizer: Any

    def __init__(self, optimizer: Any) -> None:
        """Pickles an optimiser.

        Raises:
            ConfigurationError: It cannot be pickled.
        """
        try:
            data = pickle.dumps(optimizer)
        except Exception as error:
            raise ConfigurationError(
                f"An optimiser must be picklable, so that checkpoints can hold it; this {type(optimizer).__name__} "
                f"raised {described(error)}. Keep functions and open files out of it."
            ) from error
        self.load_state_dict({"optimizer": np.frombuffer(data, np.uint8)})

    @property
    def optimizer(self) -> Any:
        """The optimiser, unpickled once."""
        if self._optimizer is None:
            self._optimizer = pickle.loads(self._pickle_B.tobytes())
        return self._optimizer

    def state_dict(self) -> dict[str, Any]:
        """Returns the pickle, copied."""
        return {"optimizer": self._pickle_B.copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes back to a pickle, and forgets what was derived from another.

        Raises:
            CheckpointError: It is not an array of bytes.
        """
        pickle_B = state["optimizer"]
        fits = isinstance(pickle_B, np.ndarray) and pickle_B.dtype == np.uint8 and pickle_B.ndim == 1
        require(fits, "/optimizer", "an array of bytes")
        self._pickle_B, self._optimizer = pickle_B.copy(), None
        self.centre_P, self.vectors, self.rows_NP = None, None, None

    def __getstate__(self) -> dict[str, Any]:
        return self.state_dict()  # a copy derives its own

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.load_state_dict(state)
