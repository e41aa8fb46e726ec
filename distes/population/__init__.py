"""Frozen records that travel between driver and workers: a `Population` goes down, an `Evaluation` comes back."""

from distes.population.evaluation import Evaluation, joined_behaviours, just_below, missing_in_all
from distes.population.genomes import Genome, Genomes
from distes.population.moments import Moments
from distes.population.normalization import Normalization
from distes.population.population import SIGNS, Population
from distes.population.purpose import Purpose
from distes.population.record import Floats, ReadOnly
from distes.population.transform import Transform

__all__ = [
    "SIGNS",
    "Evaluation",
    "Floats",
    "Genome",
    "Genomes",
    "Moments",
    "Normalization",
    "Population",
    "Purpose",
    "ReadOnly",
    "Transform",
    "joined_behaviours",
    "just_below",
    "missing_in_all",
]
