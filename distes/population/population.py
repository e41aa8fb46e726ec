"""The record that goes down: how workers make the members of a generation, and which episodes they run.

Axes: P parameters, N antithetic pairs, E episodes of the centre. Without antithetic pairs, N counts members.
"""

import zlib
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from distes.population.genomes import Genomes
from distes.population.normalization import Normalization
from distes.population.purpose import Purpose
from distes.population.record import Floats, ReadOnly
from distes.population.transform import Transform

SIGNS = (1, -1)


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
