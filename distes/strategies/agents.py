"""The agents of NS-ES: their initial centres, and the results of their turns.

Conti et al. 2018, arXiv:1712.06560, section 3.1. Axes: P parameters, D numbers of a behaviour.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from distes.noise.draws import Stream, draw
from distes.noise.splitmix import normal
from distes.perturbations.base import Perturbation
from distes.population import Floats
from distes.runs.state_check import is_floats, require


@dataclass(frozen=True, eq=False)
class Turn:
    """The result of an agent's last turn, in which its centre was evaluated.

    Attributes:
        behaviour_D: The mean behaviour of the centre's episodes, (D,); None before the first turn.
        fitness: The mean fitness of these episodes; minus infinity before the first turn.
    """

    behaviour_D: Floats | None = None
    fitness: float = -math.inf


def stored_turn(agent: Mapping[str, Any], size: int | None) -> Turn:
    """Returns an agent's last turn from its stored state.

    Args:
        agent: The stored state of the agent.
        size: The numbers of a behaviour, D, or None if the agent has had no turn.

    Raises:
        CheckpointError: The behaviour is not one of D numbers, or not None.
    """
    behaviour_D = agent["behaviour_D"]
    fits = behaviour_D is None or is_floats(behaviour_D, 1)
    require(fits, "/behaviour_D", "None, or a behaviour in finite float32 numbers")
    known = None if behaviour_D is None else len(behaviour_D)
    require(known == size, "/behaviour_D", "None" if size is None else f"of {size} numbers")
    return Turn(None if behaviour_D is None else behaviour_D.copy(), float(agent["fitness"]))


def initial_centres(centre_P: Floats, perturbation: Perturbation, seed: int, count: int) -> Iterator[Floats]:
    """Yields the centre, and then count - 1 fresh centres, (P,) float32; functions of (seed, number).

    Each parameter tensor of a fresh centre is normal with mean 0 and the standard deviation of the centre's tensor. A
    constant tensor (zeros, ones) stays as it is.
    """
    for number, drawn in enumerate(draw(seed, 0, Stream.AGENTS, count).astype(np.int64)):
        start_P = centre_P.copy()
        noise_P = normal(torch.tensor([drawn]), len(centre_P))[0].numpy()
        for slot in perturbation.layout.slots if number else ():
            own = centre_P[slot.span]
            if own.min() < own.max():
                start_P[slot.span] = noise_P[slot.span] * own.std(dtype=np.float64)
        yield start_P
