"""Frozen records that travel between driver and workers: a `Population` goes down, an `Evaluation` comes back.

Axes: P parameters, K vectors of a basis, N antithetic pairs, 2 the signs (+, -), E episodes of the centre,
O observation, D numbers of a behaviour, V scalars that a task names, M genomes, G numbers of all genomes. Without
antithetic pairs, N counts members and the axis of signs has length 1.

The file is longer than most: the records refer to each other, and together they are all that travels.
"""

import dataclasses
import itertools
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distes.errors import EvaluationError

Floats = NDArray[np.float32]
Genome = tuple[int, ...]
SIGNS = (1, -1)


class Purpose(IntEnum):
    """What an evaluation is for, which decides the data that a task with data held out may use.

    Attributes:
        TRAIN: A strategy learns from it: members, and centres or candidates that the strategy itself asks for.
        VALIDATE: The run is steered by it: the running evaluation of the centre, `policy/best`, the target.
        TEST: Nothing is decided by it: the last evaluation of a run, and that of a saved policy.
    """

    TRAIN = 0
    VALIDATE = 1
    TEST = 2


@dataclass(frozen=True, eq=False)
class Transform:
    """A low-rank linear map T that stretches a search distribution along a few directions.

    T z = scale * z + basis^T (mixing (basis z)): components outside the span of the basis are scaled, components inside
    are mixed as well. Since T is linear, it may be applied to a weighted sum of directions.

    Attributes:
        scale: Factor on all components.
        basis_KP: float32; sent to workers with the centre.
        mixing_KK: float64.
    """

    scale: float
    basis_KP: Floats
    mixing_KK: NDArray[np.float64]

    def __call__(self, z_P: Floats) -> Floats:
        """Returns T z, (P,) float32; inner products are summed in float64."""
        inner_K = np.array([np.multiply(b_P, z_P, dtype=np.float64).sum() for b_P in self.basis_KP])
        mapped_P: Floats = z_P * np.float32(self.scale)
        for weight, b_P in zip(self.mixing_KK @ inner_K, self.basis_KP, strict=True):
            mapped_P += b_P * np.float32(weight)
        return mapped_P


class ReadOnly:
    """Base class of records with read-only arrays, in this process and after unpickling in another.

    A record holds views, so the owner of an array may still write to it.
    """

    def __post_init__(self) -> None:
        """Makes the arrays given to the constructor read-only."""
        for name, value in vars(self).items():
            if isinstance(value, np.ndarray) and value.flags.writeable:
                sealed = value.view()
                sealed.flags.writeable = False
                self.__dict__[name] = sealed

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restores the record and makes the unpickled arrays read-only."""
        self.__dict__.update(state)
        ReadOnly.__post_init__(self)


@dataclass(frozen=True, eq=False)
class Normalization(ReadOnly):
    """Normalisation of observations, fixed for a generation: a policy sees clip((observation - mean) / std, -5, 5).

    Attributes:
        mean_O: Mean of the observations, float32.
        std_O: Their standard deviation, float32, positive.
    """

    mean_O: Floats
    std_O: Floats


@dataclass(frozen=True, eq=False)
class Genomes(ReadOnly):
    """Centres encoded as a few integers each, decoded with the shared noise (Such et al. 2017, arXiv:1712.06567).

    The first number of a genome selects the initial parameters. Each further number selects a mutation of the
    parameters so far, with the sigma of the population.

    Attributes:
        ids_G: The numbers of all genomes, one genome after the other; int32 if they fit, otherwise int64.
        lengths_M: Numbers per genome, int32.
        initialization: How the first number becomes parameters; see `distes.members.initialization`.
        mutation: How further numbers change the parameters; see `distes.members.mutations`.
    """

    ids_G: NDArray[np.integer[Any]]
    lengths_M: NDArray[np.int32]
    initialization: str
    mutation: str = "gaussian"

    @classmethod
    def of(cls, genomes: Sequence[Genome], initialization: str, mutation: str = "gaussian") -> Self:
        """Packs genomes given as tuples, each with at least one number."""
        ids_G = np.fromiter(itertools.chain.from_iterable(genomes), np.int64)
        narrow = ids_G.max(initial=0) <= np.iinfo(np.int32).max
        lengths_M = np.array([len(genome) for genome in genomes], np.int32)
        return cls(ids_G.astype(np.int32) if narrow else ids_G, lengths_M, initialization, mutation)

    @property
    def tuples(self) -> list[Genome]:
        """All genomes as tuples."""
        ids, ends = self.ids_G.tolist(), np.cumsum(self.lengths_M).tolist()
        return [tuple(ids[start:end]) for start, end in zip([0, *ends], ends, strict=False)]


@dataclass(frozen=True, eq=False)
class Population(ReadOnly):
    """What workers need to make the members of one generation from the shared noise; sent once to each node.

    Member (i, s) is centre_P + s * sigma * T direction(ids_N[i]) for s in signs, with T the transform, or the identity.
    With genomes it is the mutation ids_N[i] of genome genome_N[i] or, where genome_N[i] is -1, the initialisation
    ids_N[i]. Both members of a pair get the same episode seeds (common random numbers).

    With rows, member i is rows_NP[i], and nothing is made from noise; see `of_rows`.

    All arrays are read-only.

    Attributes:
        generation: Number of the generation, from 0.
        centre_P: The centre of the search distribution, float32; empty if there are genomes.
        sigma: Standard deviation of the perturbation, a number or float32 (P,).
        ids_N: Numbers of the directions in the shared noise, int64.
        seeds_N: A 64-bit draw per pair that seeds its episodes.
        signs: (1, -1) for antithetic pairs, (1,) without pairs.
        eval_seeds_E: A 64-bit draw per episode of the unperturbed centre, evaluated along with the members.
        eval_purpose_E: The `Purpose` of each episode of the centre, uint8; None if all of them validate.
        common_seed: A 64-bit draw that all members of the generation share, such as for a mini-batch; None where the
            trainer is to fill it in.
        observed_N: Which pairs report the moments of their observations; None if none does.
        normalization: Normalisation of observations, or None.
        first_pair: Number of the first pair; 0 except in further rounds and when a member is replayed alone.
        transform: A linear map of directions, or None for the identity.
        genomes: Genomes of the members' parents and of the centre's episodes, or None; the first is the centre.
        genome_N: Index of each member's genome, int32; -1 for a member without one.
        eval_genome_E: Index of the genome of each episode of the centre, int32.
        refuses_non_finite: Whether a non-finite observation, output, return or behaviour of a member ends the run.
        max_steps: Steps after which a member's episode is truncated, beside the task's own limit; None for no cap.
        reward_sign: Whether the fitness of members is made of the signs of rewards.
        reward_scale: What rewards of members are divided by, where the task normalises them; otherwise None.
        rows_NP: The parameters of each member, float32, for strategies whose members are arbitrary vectors; None for
            others. A row travels to the worker that evaluates it, so they cost 4 N P bytes per generation.
    """

    generation: int
    centre_P: Floats
    sigma: float | Floats
    ids_N: NDArray[np.int64]
    seeds_N: NDArray[np.uint64]
    signs: tuple[int, ...] = SIGNS
    eval_seeds_E: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))
    observed_N: NDArray[np.bool_] | None = None
    normalization: Normalization | None = None
    first_pair: int = 0
    transform: Transform | None = None
    genomes: Genomes | None = None
    genome_N: NDArray[np.int32] | None = None
    eval_genome_E: NDArray[np.int32] | None = None
    refuses_non_finite: bool = True
    max_steps: int | None = None
    reward_sign: bool = False
    reward_scale: float | None = None
    rows_NP: Floats | None = None
    common_seed: int | None = None
    eval_purpose_E: NDArray[np.uint8] | None = None

    def purpose(self, episode: int) -> Purpose:
        """What an episode of the centre is for."""
        return Purpose.VALIDATE if self.eval_purpose_E is None else Purpose(int(self.eval_purpose_E[episode]))

    @classmethod
    def of_rows(
        cls,
        generation: int,
        centre_P: Floats,
        rows_NP: Floats,
        seeds_N: NDArray[np.uint64],
        first_pair: int = 0,
        common_seed: int | None = None,
    ) -> Self:
        """Makes a population of members that are arbitrary vectors, without pairs.

        `ids_N` becomes a checksum of each row (31 bits of its CRC-32), by which records recognise their members.

        Args:
            generation: Number of the generation, from 0.
            centre_P: What the episodes of the centre evaluate, float32.
            rows_NP: The parameters of each member, float32.
            seeds_N: A 64-bit draw per member that seeds its episodes.
            first_pair: Number of the first member; 0 except in further rounds.
            common_seed: A 64-bit draw that all members share.
        """
        ids_N = np.array([zlib.crc32(np.ascontiguousarray(row_P).data) & 0x7FFFFFFF for row_P in rows_NP], np.int64)
        sigma, signs = 0.0, SIGNS[:1]
        return cls(
            generation,
            centre_P,
            sigma,
            ids_N,
            seeds_N,
            signs,
            first_pair=first_pair,
            rows_NP=rows_NP,
            common_seed=common_seed,
        )


@dataclass(frozen=True, eq=False)
class Moments(ReadOnly):
    """Count, mean and sum of squared deviations of observations.

    Attributes:
        count: Number of observations.
        mean_O: Mean of the observations, float64.
        m2_O: Sum of squared deviations from the mean, float64.
    """

    count: int
    mean_O: NDArray[np.float64]
    m2_O: NDArray[np.float64]

    def require_finite(self) -> None:
        """Checks that the moments are finite; others would spoil the statistics they are merged into.

        Raises:
            EvaluationError: A mean or a sum of squares is NaN or infinite.
        """
        bad = np.flatnonzero(~(np.isfinite(self.mean_O) & np.isfinite(self.m2_O)))
        if len(bad):
            raise EvaluationError(
                f"The moments of {self.count:,} observations are not finite: component {bad[0]} has the mean "
                f"{self.mean_O[bad[0]]} and the sum of squares {self.m2_O[bad[0]]}. A task must leave observations "
                "that are not finite out of its moments."
            )


@dataclass(frozen=True, eq=False)
class Evaluation(ReadOnly):
    """The results of a generation, ordered by pair, whichever worker computed them and whenever they arrived.

    All arrays are read-only.

    Attributes:
        fitness_N2: Fitness, float64; column 0 is the sign +, column 1 the sign -. One column without pairs.
        steps_N2: Environment steps, int64.
        episodes: Number of episodes of the members.
        eval_fitness_E: Fitness of the centre in each episode, float64.
        eval_steps_E: Environment steps of the centre in each episode, int64.
        moments: Moments of observations in chunk order, for the chunks that report them.
        busy_seconds: Worker time in seconds, summed over chunks.
        behaviour_N2D: Behaviour of each member, float32; None if the task describes none.
        eval_behaviour_ED: Behaviour of the centre in each episode, float32; None if the task describes none.
        last_N2: Which members are ranked last, see `ranked_last`; None if none is.
        retried: How often a chunk was begun again in new environments, after one had raised.
        capped: Number of the members' episodes that were as long as `Population.max_steps`.
        return_N2: Mean return of each member's episodes, float64, where fitness counts rewards otherwise; or None.
        reward_moments: Moments of discounted returns in chunk order, where the task normalises rewards.
        scalars_N2V: The scalars that the task names, of each member, float32; None if it names none.
        eval_scalars_EV: Those of the centre in each episode, float32; None if the task names none.
        missing: Scalars that nobody had, by name, each with a sentence that says why.
    """

    fitness_N2: NDArray[np.float64]
    steps_N2: NDArray[np.int64]
    episodes: int
    eval_fitness_E: NDArray[np.float64]
    eval_steps_E: NDArray[np.int64]
    moments: tuple[Moments, ...] = ()
    busy_seconds: float = 0.0
    behaviour_N2D: Floats | None = None
    eval_behaviour_ED: Floats | None = None
    last_N2: NDArray[np.bool_] | None = None
    retried: int = 0
    capped: int = 0
    return_N2: NDArray[np.float64] | None = None
    reward_moments: tuple[Moments, ...] = ()
    scalars_N2V: Floats | None = None
    eval_scalars_EV: Floats | None = None
    missing: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        fitness: ArrayLike,
        signs: int = len(SIGNS),
        *,
        behaviour: ArrayLike | None = None,
        eval_fitness: ArrayLike = (),
        eval_behaviour: ArrayLike | None = None,
    ) -> Self:
        """Makes an evaluation from results computed outside distes. Each member counts as one episode of one step.

        Args:
            fitness: One number per member, of any shape, ordered by pair with the sign + first.
            signs: Members per pair.
            behaviour: One row per member, its behaviour; None for strategies that do not use behaviours.
            eval_fitness: One number per episode of the centre that `ask` requested (`eval_seeds_E`).
            eval_behaviour: One row per episode of the centre, its behaviour, or None.
        """
        fitness_N2 = np.asarray(fitness, np.float64).reshape(-1, signs).copy()
        steps_N2, fitness_E = np.ones(fitness_N2.shape, np.int64), np.array(eval_fitness, np.float64)
        return cls(
            fitness_N2,
            steps_N2,
            fitness_N2.size,
            fitness_E,
            np.ones(len(fitness_E), np.int64),
            behaviour_N2D=None if behaviour is None else _rows(behaviour, *fitness_N2.shape),
            eval_behaviour_ED=None if eval_behaviour is None else _rows(eval_behaviour, len(fitness_E)),
        )

    def and_then(self, other: Self) -> Self:
        """Returns this evaluation joined with a further round of its generation; `eval_*` are those of `self`."""
        behaviour = scalars_N2V = None
        if self.behaviour_N2D is not None and other.behaviour_N2D is not None:
            behaviour = joined_behaviours([self.behaviour_N2D, other.behaviour_N2D], [0, len(self.behaviour_N2D)])
        if self.scalars_N2V is not None and other.scalars_N2V is not None:
            scalars_N2V = np.concatenate([self.scalars_N2V, other.scalars_N2V])
        return dataclasses.replace(
            self,
            fitness_N2=np.concatenate([self.fitness_N2, other.fitness_N2]),
            steps_N2=np.concatenate([self.steps_N2, other.steps_N2]),
            episodes=self.episodes + other.episodes,
            moments=self.moments + other.moments,
            busy_seconds=self.busy_seconds + other.busy_seconds,
            behaviour_N2D=behaviour,
            last_N2=None if self.last_N2 is other.last_N2 is None else np.concatenate([self._last, other._last]),
            retried=self.retried + other.retried,
            capped=self.capped + other.capped,
            return_N2=None
            if self.return_N2 is None or other.return_N2 is None
            else np.concatenate([self.return_N2, other.return_N2]),
            reward_moments=self.reward_moments + other.reward_moments,
            scalars_N2V=scalars_N2V,
            missing=missing_in_all([self.missing, other.missing]),
        )

    @property
    def _last(self) -> NDArray[np.bool_]:
        return np.zeros(self.fitness_N2.shape, np.bool_) if self.last_N2 is None else self.last_N2

    def ranked_last(self) -> Self:
        """Ranks members with a non-finite fitness or behaviour last; returns `self` if there are none.

        Their fitness becomes the next float64 below the worst finite fitness. Strategies that compare behaviours ignore
        theirs and treat them as less novel than all other members (`last_N2`).
        """
        last_N2 = ~np.isfinite(self.fitness_N2)
        if self.behaviour_N2D is not None:
            last_N2 |= ~np.isfinite(self.behaviour_N2D).all(axis=-1)
        if not last_N2.any():
            return self
        return dataclasses.replace(self, fitness_N2=just_below(self.fitness_N2, last_N2), last_N2=last_N2)

    @property
    def ranked_last_count(self) -> int:
        """Number of members that `ranked_last` has ranked last."""
        return 0 if self.last_N2 is None else int(np.count_nonzero(self.last_N2))

    def to_learn_from(self) -> Self:
        """Returns a copy without moments and scalars, as strategies receive it."""
        return dataclasses.replace(
            self, moments=(), reward_moments=(), scalars_N2V=None, eval_scalars_EV=None, missing={}
        )


def missing_in_all(each: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """The names that all mappings have, with the text of the first one."""
    return {name: why for name, why in each[0].items() if all(name in other for other in each)} if each else {}


def just_below(scores: NDArray[np.float64], last: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Returns scores in which some are replaced by the next float64 below the worst of the others.

    Args:
        scores: float64 of any shape; finite where `last` is False.
        last: Which scores to replace, of the same shape. If that is all of them, they become equal.
    """
    worst = scores[~last].min() if not last.all() else 0.0
    with np.errstate(over="ignore"):  # of the lowest float64, which has nothing finite below it
        below = max(np.nextafter(worst, -math.inf), np.finfo(np.float64).min)
    return np.where(last, below, scores)


def _rows(numbers: ArrayLike, *shape: int) -> Floats:
    rows = np.array(numbers, np.float32)
    return rows.reshape(*shape, rows.size // math.prod(shape) if rows.size else rows.shape[-1])


def joined_behaviours(behaviours: Sequence[Floats], first: Sequence[int]) -> Floats | None:
    """Concatenates behaviours along their first axis; returns None if there are none.

    Args:
        behaviours: float32, each (..., D).
        first: Number of the first pair of each, for the message.

    Raises:
        EvaluationError: The behaviours have different lengths D.
    """
    sizes = {behaviour.shape[-1]: place for place, behaviour in zip(first, behaviours, strict=True)}
    if len(sizes) > 1:
        (one, at), (other, there) = list(sizes.items())[:2]
        raise EvaluationError(
            f"Members' behaviours have different lengths: {one} for pair {at} and {other} for pair {there}. All must "
            "have equally many numbers."
        )
    return np.concatenate(behaviours) if behaviours else None
