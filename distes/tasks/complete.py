"""A policy as a plain module from an environment's observation to its action, with all that stands between.

Training and playing use NumPy for what stands between; these layers compute the same in torch, so that a module can be
saved, exported and run where distes is not installed. Axes: R rows, A action numbers, S memory.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Flat(nn.Module):
    """A batch of arrays as rows of float32."""

    def forward(self, observation: Tensor) -> Tensor:
        """Maps (R, ...) to (R, O)."""
        return observation.to(torch.float32).flatten(1)


class OneHot(nn.Module):
    """Whole numbers as rows with a single 1."""

    def __init__(self, n: int, start: int) -> None:
        super().__init__()
        self.n, self.start = n, start

    def forward(self, observation: Tensor) -> Tensor:
        """Maps (R,) to (R, n)."""
        places = torch.arange(self.start, self.start + self.n, device=observation.device)
        return (observation.reshape(-1, 1) == places).to(torch.float32)


class Parts(nn.Module):
    """A mapping's parts, one after the other."""

    def __init__(self, keys: Sequence[str]) -> None:
        super().__init__()
        self.keys = list(keys)

    def forward(self, observation: dict[str, Tensor]) -> Tensor:
        """Maps a mapping of (R, ...) to (R, O)."""
        return torch.cat([observation[key].to(torch.float32).flatten(1) for key in self.keys], 1)


class Image(nn.Module):
    """Images in [0, 1], channels first; frames of a stack become channels."""

    def __init__(self, scale: float, last: bool, frames: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.scale, self.last, self.frames, self.shape = scale, last, frames, shape

    def forward(self, observation: Tensor) -> Tensor:
        """Maps (R, ...) to (R, C, H, W)."""
        rows = observation.shape[0]
        images = observation.flatten(0, 1) if self.frames else observation
        images = images.permute(0, 3, 1, 2) if self.last else images
        return (images.to(torch.float32) * self.scale).reshape(rows, *self.shape)


class Normalize(nn.Module):
    """clip((x - mean) / std, -limit, limit)."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor, limit: float) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.limit = limit

    def forward(self, x: Tensor) -> Tensor:
        """Maps (R, O) to (R, O)."""
        return torch.clamp((x - self.mean) / self.std, -self.limit, self.limit)


class Largest(nn.Module):
    """The place of the largest number in each group, as Discrete and MultiDiscrete actions need it."""

    def __init__(self, groups: Sequence[int], starts: Sequence[int], single: bool) -> None:
        super().__init__()
        self.groups, self.starts, self.single = list(groups), list(starts), single

    def forward(self, numbers: Tensor) -> Tensor:
        """Maps (R, A) to int64, (R,) or (R, groups)."""
        parts = torch.split(numbers, self.groups, 1)
        chosen = torch.stack([part.argmax(1) + self.starts[i] for i, part in enumerate(parts)], 1)
        return chosen[:, 0] if self.single else chosen


class Bounded(nn.Module):
    """Numbers clipped to bounds, or rescaled from [-1, 1] to them."""

    low: Tensor
    high: Tensor

    def __init__(self, low: Tensor, high: Tensor, shape: tuple[int, ...], rescale: bool) -> None:
        super().__init__()
        self.register_buffer("low", low)
        self.register_buffer("high", high)
        self.shape, self.rescale = shape, rescale

    def forward(self, numbers: Tensor) -> Tensor:
        """Maps (R, A) to (R, *shape), in the dtype of the bounds."""
        x = numbers.to(self.low.dtype)
        if self.rescale:
            x = (self.low / 2 + self.high / 2) + (self.high / 2 - self.low / 2) * torch.clamp(x, -1.0, 1.0)
        x = torch.minimum(torch.maximum(x, self.low), self.high)
        return x.reshape([x.shape[0], *self.shape])


class CompletePolicy(nn.Module):
    """Maps observations (R, ...), as the environment gives them, to its actions."""

    def __init__(self, observe: nn.Module, normalize: nn.Module, policy: nn.Module, act: nn.Module) -> None:
        super().__init__()
        self.observe, self.normalize, self.policy, self.act = observe, normalize, policy, act

    def forward(self, observation: Tensor) -> Tensor:
        """Maps a batch of observations to a batch of actions."""
        action: Tensor = self.act(self.policy(self.normalize(self.observe(observation))))
        return action


class CompleteRecurrentPolicy(CompletePolicy):
    """Maps observations (R, ...) and memory (R, S) to actions and memory."""

    def initial_state(self, rows: int) -> Tensor:
        """Returns the memory at the start of an episode, (R, S)."""
        state: Tensor = self.policy.initial_state(rows)  # type: ignore[operator]
        return state

    def forward(self, observation: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Maps a batch of observations and memories to actions and memories."""
        numbers, state = self.policy(self.normalize(self.observe(observation)), state)
        return self.act(numbers), state
