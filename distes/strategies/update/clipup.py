"""ClipUp: the gradient's direction alone counts, and the step's length has a limit.

Toklu, Liskowski and Srivastava 2020, "ClipUp: A Simple and Powerful Optimizer for Distribution-based Policy Evolution",
arXiv:2008.02387, algorithm 2.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor


class ClipUp(torch.optim.Optimizer):
    """velocity <- momentum * velocity + lr * gradient / |gradient|, shortened to max_speed; the step is the velocity.

    Minimises, as torch's optimisers do. All parameters of a group are one vector. Its bits depend on no thread.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.15,
        momentum: float = 0.9,
        max_speed: float | None = None,
    ) -> None:
        """Starts at rest.

        Args:
            params: As for any optimiser of torch.
            lr: How far a gradient moves, whatever its length. The authors' rule: 0.75 times max_speed.
            momentum: What is kept of the velocity.
            max_speed: The longest step; None for twice the lr of the moment. The authors' rule for a search
                distribution: a fifteenth of its radius.

        Raises:
            ValueError: One of them is out of range.
        """
        if not (math.isfinite(lr) and lr >= 0):
            raise ValueError(f"Invalid learning rate: {lr}")
        if not 0 <= momentum < 1:
            raise ValueError(f"Invalid momentum, from 0 to below 1: {momentum}")
        if max_speed is not None and not max_speed > 0:
            raise ValueError(f"Invalid max_speed, above 0: {max_speed}")
        super().__init__(params, {"lr": lr, "momentum": momentum, "max_speed": max_speed})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Takes one step. A gradient of zero has no direction, and leaves the velocity to its momentum."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            moving = [parameter for parameter in group["params"] if parameter.grad is not None]
            length = _length(parameter.grad for parameter in moving)
            scale = group["lr"] / length if length > 0 else 0.0
            for parameter in moving:
                state = self.state[parameter]
                if not state:
                    state["velocity"] = torch.zeros_like(parameter)
                # Without `alpha`, which would round differently at the ends of what each thread gets.
                state["velocity"].mul_(group["momentum"]).add_(parameter.grad * scale)
            velocities = [self.state[parameter]["velocity"] for parameter in moving]
            limit = 2 * group["lr"] if group["max_speed"] is None else group["max_speed"]
            speed = _length(velocities)
            for parameter, velocity in zip(moving, velocities, strict=True):
                if speed > limit:
                    velocity.mul_(limit / speed)
                parameter.sub_(velocity)
        return loss


def _length(parts: Iterable[Tensor]) -> float:
    """Of the vector that the parts make up; added up in float64 by one thread."""
    squares = (np.square(part.detach().cpu().numpy(), dtype=np.float64) for part in parts)
    return math.sqrt(sum(float(square.sum()) for square in squares))
