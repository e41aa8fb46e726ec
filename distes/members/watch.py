"""Watches a policy's forward: the random numbers that it draws, and the values that Python reads from its tensors."""

import sys
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

TAKES_VALUES = {"item", "tolist", "numpy", "equal", "allclose", "__bool__", "__float__", "__int__", "__index__"}


class Watch(TorchFunctionMode):
    """Replaces torch's random numbers by constants, and records the values that Python reads from tensors.

    Two forms can then be compared. Draws become 0.5, or 0 for integers; torch's generator advances as usual.

    Attributes:
        values: The values that `if`, `.item()`, `.numpy()` and similar calls have read.
        drawn: The number of random numbers that torch has drawn.
    """

    def __init__(self) -> None:
        """Starts with nothing drawn or read."""
        super().__init__()
        self.values: list[Any] = []
        self.drawn = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before = torch.get_rng_state()
        made = func(*args, **(kwargs or {}))
        if getattr(func, "__name__", "") in TAKES_VALUES and not _caller().startswith("torch."):
            self.values.append(made.tobytes() if isinstance(made, np.ndarray) else made)
        if not torch.equal(before, torch.get_rng_state()):
            for part in made if isinstance(made, tuple | list) else (made,):
                if isinstance(part, Tensor):
                    self.drawn += part.numel()
                    part.fill_(0.5 if part.is_floating_point() else 0)
        return made


def _caller() -> str:
    """Returns the name of the module that called a torch function, by which torch's own checks are told apart."""
    name: str = sys._getframe(2).f_globals.get("__name__", "")
    return name
