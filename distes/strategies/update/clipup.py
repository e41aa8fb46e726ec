"""ClipUp: normalised gradients, momentum, and a limit on the length of a step.

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
    """An optimiser that uses only the gradient's direction, with momentum (Toklu et al. 2020, algorithm 2).

    One step, for the vector x of all parameters of a group:

        velocity <- momentum * velocity + lr * gradient / |gradient|
        velocity <- velocity * min(1, max_speed / |velocity|)
        x <- x - velocity

    It minimises, as torch's optimisers do. Its bits do not depend on the number of threads. The limit is on the
    velocity, not on the gradient, unlike in gradient clipping.
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
            params: Parameters or parameter groups, as for any torch optimiser.
            lr: Length that a gradient adds to the velocity. The authors' rule is 0.75 times max_speed.
            momentum: Share of the velocity that is kept, from 0 to below 1.
            max_speed: Length of the longest step; None for twice the current lr. The authors' rule is a fifteenth of
                the radius of the search distribution.

        Raises:
            ValueError: An argument is out of range.
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
        """Takes one step. A zero gradient adds nothing to the velocity, which then only decays by its momentum."""
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
    """Returns the Euclidean norm of all parts together, summed in float64 by one thread."""
    squares = (np.square(part.detach().cpu().numpy(), dtype=np.float64) for part in parts)
    return math.sqrt(sum(float(square.sum()) for square in squares))
