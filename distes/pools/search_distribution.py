"""The part of a population, besides its directions, whose size grows with the number of parameters.

The rows of a population of arbitrary vectors (`Population.rows_NP`) are no part of it: they belong to single members,
and travel with the chunks that evaluate these.

Axes: P parameters.
"""

import dataclasses
import hashlib
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from distes.population import Floats, Genomes, Population, Transform


@dataclass(frozen=True, eq=False)
class SearchDistribution:
    """The distribution that members of a generation are drawn from; all rounds of a generation share it.

    Attributes:
        centre_P: The centre, float32; empty if there are genomes.
        sigma_P: A standard deviation per parameter, float32; None if all parameters share one.
        transform: A linear map of directions, or None for the identity.
        genomes: Genomes that members start from, or None.
    """

    centre_P: Floats
    sigma_P: Floats | None = None
    transform: Transform | None = None
    genomes: Genomes | None = None

    @classmethod
    def of(cls, population: Population) -> Self:
        """Returns the search distribution of a population; its arrays are not copied."""
        sigma_P = population.sigma if isinstance(population.sigma, np.ndarray) and population.sigma.ndim else None
        return cls(population.centre_P, sigma_P, population.transform, population.genomes)

    @staticmethod
    def without(population: Population) -> Population:
        """Returns the population with an empty centre, and without vector sigma, transform, genomes and rows."""
        sigma = 0.0 if np.ndim(population.sigma) else population.sigma
        nothing_P = np.empty(0, np.float32)
        return dataclasses.replace(
            population, centre_P=nothing_P, sigma=sigma, transform=None, genomes=None, rows_NP=None
        )

    def put_into(self, rest: Population) -> Population:
        """Returns a population made of this search distribution and the rest that `without` returned."""
        return dataclasses.replace(
            rest,
            centre_P=self.centre_P,
            sigma=rest.sigma if self.sigma_P is None else self.sigma_P,
            transform=self.transform,
            genomes=self.genomes,
        )

    @property
    def digest(self) -> str:
        """SHA-256 of all arrays, as 64 hexadecimal digits."""
        hashed = hashlib.sha256()
        for array in self._arrays():
            hashed.update(np.ascontiguousarray(array).data)
        return hashed.hexdigest()

    def has_same_bits(self, other: Self) -> bool:
        """Returns whether members drawn from the other are equal to the last bit; 0.0 and -0.0 differ."""
        mine, others = self._arrays(), other._arrays()
        return (
            self._kind() == other._kind()
            and len(mine) == len(others)
            and all(one is two or np.array_equal(_bits(one), _bits(two)) for one, two in zip(mine, others, strict=True))
        )

    def _kind(self) -> tuple[Any, ...]:
        of_genomes = None if self.genomes is None else (self.genomes.initialization, self.genomes.mutation)
        return self.sigma_P is None, self.transform is None, of_genomes

    def _arrays(self) -> list[NDArray[Any]]:
        arrays: list[NDArray[Any]] = [self.centre_P]
        if self.sigma_P is not None:
            arrays.append(self.sigma_P)
        if self.transform is not None:
            arrays += [self.transform.basis_KP, self.transform.mixing_KK, np.array(self.transform.scale)]
        if self.genomes is not None:
            arrays += [self.genomes.ids_G, self.genomes.lengths_M]
        return arrays


def _bits(array: NDArray[Any]) -> NDArray[Any]:
    """A view as integers: as floats, 0.0 and -0.0 would compare equal, and NaN unequal to itself."""
    return np.ascontiguousarray(array).view(f"u{array.itemsize}")
