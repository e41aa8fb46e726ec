"""Films of the centre: a pool is given an order, and returns a film, or a sentence that says why there is none."""

import copy
from dataclasses import dataclass

from torch import nn

from distes.errors import DistesError, described
from distes.noise.global_randomness import seeded
from distes.noise.one_thread import one_thread
from distes.policies.layout import Layout
from distes.pools.experiment import Experiment
from distes.population import Floats, Normalization
from distes.tasks.base import Task
from distes.tasks.gym.playing.film import film


@dataclass(frozen=True, eq=False)
class FilmOrder:
    """A centre to be filmed.

    Attributes:
        generation: The generation whose centre it is, from 1, as metrics count.
        timesteps: Environment steps of all populations until then.
        centre_P: Its parameters, float32.
        normalization: As its observations are normalised, or None.
        seed: The seed of the episode.
    """

    generation: int
    timesteps: int
    centre_P: Floats
    normalization: Normalization | None
    seed: int


@dataclass(frozen=True)
class Filmed:
    """The result of an order.

    Attributes:
        generation: As in the order.
        timesteps: As in the order.
        gif: The film, an animated GIF; empty if there is none.
        why: Why there is none, a sentence.
    """

    generation: int
    timesteps: int
    gif: bytes = b""
    why: str = ""


@dataclass(frozen=True)
class Camera:
    """What makes films: the task and the policy of an experiment, without its noise.

    Attributes:
        task: Makes the environment.
        policy: The module; not changed.
        layout: Its parameters in a vector.
    """

    task: Task
    policy: nn.Module
    layout: Layout

    @classmethod
    def of(cls, experiment: Experiment) -> "Camera":
        """The camera of an experiment."""
        return cls(experiment.task, experiment.forward.module, experiment.forward.layout)

    def shoot(self, order: FilmOrder) -> Filmed:
        """Films an episode in this process and restores random generators. Raises nothing but KeyboardInterrupt."""
        try:
            with one_thread(), seeded(order.seed):
                policy = copy.deepcopy(self.policy).to("cpu").eval()
                self.layout.load(policy, order.centre_P)
                gif = film(self.task, policy, order.normalization, order.seed)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a simulator may end its process
            why = str(error) if isinstance(error, DistesError) else f"{described(error).rstrip('.')}."
            return Filmed(order.generation, order.timesteps, why=why)
        return Filmed(order.generation, order.timesteps, gif)
