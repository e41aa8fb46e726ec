"""Classes of a user's that end the process in place of raising an error, each in another place."""

import sys
from typing import Any

import torch

from distes.strategies.openai_es import OpenAIES
from distes.tasks.functions import Function
from tests.support.environments import Echo


class QuitsEnv(Echo):
    """An environment."""

    def __init__(self, where: str, kind: str = "SystemExit") -> None:
        super().__init__()
        self.where, self.kind = where, kind
        self.quit("init")

    def quit(self, where: str) -> None:
        if where == self.where:
            raise {"SystemExit": SystemExit(0), "KeyboardInterrupt": KeyboardInterrupt()}[self.kind]

    def reset(self, **arguments: Any) -> Any:
        self.quit("reset")
        return super().reset(**arguments)

    def step(self, action: Any) -> Any:
        self.quit("step")
        return super().step(action)


class QuitsPolicy(torch.nn.Linear):
    def __init__(self, observation_size: int, action_size: int) -> None:
        super().__init__(observation_size, action_size)
        sys.exit(0)


class QuitsForward(torch.nn.Linear):
    def __init__(self, observation_size: int, action_size: int) -> None:
        super().__init__(observation_size, action_size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        sys.exit(0)


class QuitsTask(Function):
    def __init__(self) -> None:
        super().__init__()
        sys.exit()


class QuitsStrategy(OpenAIES):
    def __init__(self, centre_P: Any, perturbation: Any, seed: int, population_size: int) -> None:
        super().__init__(centre_P, perturbation, seed, population_size=population_size)
        sys.exit("enough")


class QuitsAsking(OpenAIES):
    def ask(self) -> Any:
        raise GeneratorExit


class FailsAsking(OpenAIES):
    def ask(self) -> Any:
        return {}["population"]
