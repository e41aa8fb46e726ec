"""Tasks, strategies and policies of people who make mistakes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from distes.members.members import Members
from distes.policies.base import StatefulPolicy
from distes.population import Evaluation, Population
from distes.strategies.openai_es import OpenAIES
from distes.tasks.base import Outcome, Request, Task


class Ones(Task):
    """Fitness is minus the square of what a policy answers to 1; whatever subclasses do with it."""

    observation_shape = property(lambda self: (1,))  # type: ignore[assignment]
    action_size = property(lambda self: 1)  # type: ignore[assignment]

    def evaluate(self, members: Members, request: Request) -> Any:
        count = len(members)
        with torch.inference_mode():
            answers_BKA = members(torch.ones(count, 1, 1)).numpy()
        return Outcome(-np.square(answers_BKA).mean((1, 2)), np.ones(count, np.int64), count)


class Broken(Ones):
    """Raises where it is told to."""

    def __init__(self, where: str = "evaluate", what: str = "KeyError") -> None:
        self.where, self.what = where, what
        self._fail("init")

    def _fail(self, where: str) -> None:
        if where != self.where:
            return
        if self.what == "KeyError":
            raise KeyError("no column 'price'")
        assert where is None

    def check(self) -> None:
        self._fail("check")

    def evaluate(self, members: Members, request: Request) -> Any:
        self._fail("evaluate")
        return super().evaluate(members, request)


class Returns(Ones):
    """Returns what it is told to."""

    def __init__(self, what: Any = None, describes: bool = False) -> None:
        self.what, self.describes = what, describes

    @property
    def describes_behaviour(self) -> bool:
        return self.describes

    def evaluate(self, members: Members, request: Request) -> Any:
        return self.what(len(members)) if callable(self.what) else self.what


class WritesSeeds(Ones):
    """Writes to what it was handed."""

    def evaluate(self, members: Members, request: Request) -> Any:
        request.seeds_B[:] = 0
        return super().evaluate(members, request)


class WritesMembers(Ones):
    """Writes to what is its own."""

    def evaluate(self, members: Members, request: Request) -> Any:
        parameters_BP = members.parameters()
        parameters_BP[:] = 0
        return super().evaluate(members, request)


class Picky(nn.Module):
    """Refuses what only comes up later."""

    def __init__(self, observation_size: int, action_size: int) -> None:
        super().__init__()
        self.layer, self.calls = nn.Linear(observation_size, action_size), 0

    def forward(self, x: Tensor) -> Tensor:
        if (x == 1).all():
            raise ValueError("no ones, please")
        y: Tensor = self.layer(x)
        return y


class OwnArrays(OpenAIES):
    """Keeps an array that it writes to, and a state that it writes to as well."""

    def __init__(self, centre_P: NDArray[np.float32], perturbation: Any, seed: int = 0, **arguments: Any) -> None:
        super().__init__(centre_P, perturbation, seed, **arguments)
        self.mean_P = centre_P.copy()

    def _tell(self, evaluation: Evaluation) -> dict[str, float]:
        self.mean_P *= 0.5
        return super()._tell(evaluation)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "mean_P": self.mean_P.copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.mean_P = state["mean_P"]


class WritesFitness(OpenAIES):
    """Writes to what it is told."""

    def _tell(self, evaluation: Evaluation) -> dict[str, float]:
        evaluation.fitness_N2[:] -= evaluation.fitness_N2.min()
        return super()._tell(evaluation)


class FailsInWorkers(OpenAIES):
    """Its copy in a worker fails where the driver's does not."""

    def __init__(self, centre_P: NDArray[np.float32], perturbation: Any, seed: int = 0, **arguments: Any) -> None:
        super().__init__(centre_P, perturbation, seed, **arguments)
        self.here = True

    def __deepcopy__(self, memo: dict[int, Any]) -> "FailsInWorkers":
        copied = object.__new__(FailsInWorkers)
        copied.__dict__.update({**self.__dict__, "here": False})
        return copied

    def _tell(self, evaluation: Evaluation) -> dict[str, float]:
        if not self.here:
            raise LookupError("no licence on this machine")
        return super()._tell(evaluation)


class Asks(OpenAIES):
    """Asks for what it is told to."""

    what: Any = None

    def ask(self) -> Population:
        asked: Population = self.what
        return asked


class Tells(OpenAIES):
    """Returns what it is told to."""

    metrics: Any = None

    def _tell(self, evaluation: Evaluation) -> dict[str, float]:
        super()._tell(evaluation)
        given: dict[str, float] = self.metrics
        return given


class Answers(StatefulPolicy):
    """Answers what it is told to."""

    def __init__(self, observation_size: int, action_size: int, start: Any, answer: Any) -> None:
        super().__init__()
        self.layer, self.start, self.answer = nn.Linear(observation_size, action_size), start, answer

    def initial_state(self, rows: int) -> Any:
        return self.start

    def forward(self, x: Tensor, state: Tensor) -> Any:
        return self.answer
