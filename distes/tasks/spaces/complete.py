"""A policy as a plain module from an environment's observation to its action, with all that stands between.

Training and playing use NumPy for what stands between; these layers compute the same in torch, so that a module can be
saved, exported and run where distes is not installed. Axes: R rows, A action numbers, S memory.
"""

from collections.abc import Mapping, Sequence

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


class OneHots(nn.Module):
    """Several whole numbers as rows with a single 1 for each."""

    def __init__(self, groups: Sequence[int], starts: Sequence[int]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(OneHot(n, start) for n, start in zip(groups, starts, strict=True))

    def forward(self, observation: Tensor) -> Tensor:
        """Maps (R, groups) to (R, O)."""
        return torch.cat([part(observation[:, i]) for i, part in enumerate(self.parts)], 1)


class Parts(nn.Module):
    """A mapping's parts, one after the other."""

    def __init__(self, parts: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.keys, self.parts = list(parts), nn.ModuleList(parts.values())  # keys may have names that modules cannot

    def forward(self, observation: dict[str, Tensor]) -> Tensor:
        """Maps a mapping of (R, ...) to (R, O)."""
        return torch.cat([part(observation[key]) for key, part in zip(self.keys, self.parts, strict=True)], 1)


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


class Positive(nn.Module):
    """1 where a number is above 0, as MultiBinary actions need it."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, numbers: Tensor) -> Tensor:
        """Maps (R, A) to int8, (R, *shape)."""
        return (numbers > 0).to(torch.int8).reshape([numbers.shape[0], *self.shape])


class Binned(nn.Module):
    """The level of the largest number in each dimension."""

    levels: Tensor

    def __init__(self, levels: Tensor) -> None:
        super().__init__()
        self.register_buffer("levels", levels)

    def forward(self, numbers: Tensor) -> Tensor:
        """Maps (R, D * K) to (R, D), in the dtype of the levels."""
        chosen = numbers.unflatten(1, self.levels.shape).argmax(2)
        places = torch.arange(self.levels.shape[1], device=numbers.device)
        return torch.where(chosen.unsqueeze(2) == places, self.levels, torch.zeros_like(self.levels)).sum(2)


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


class MaskedPolicy(CompletePolicy):
    """Maps observations (R, ...) and action masks (R, A) to actions; numbers of forbidden actions become -inf."""

    def forward(self, observation: Tensor, mask: Tensor) -> Tensor:  # type: ignore[override]
        """Maps a batch of observations and masks to a batch of actions."""
        numbers = self.policy(self.normalize(self.observe(observation)))
        action: Tensor = self.act(_masked(numbers, mask))
        return action


class MaskedRecurrentPolicy(CompleteRecurrentPolicy):
    """Maps observations (R, ...), memory (R, S) and action masks (R, A) to actions and memory."""

    def forward(  # type: ignore[override]
        self, observation: Tensor, state: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Maps a batch of observations, memories and masks to actions and memories."""
        numbers, state = self.policy(self.normalize(self.observe(observation)), state)
        return self.act(_masked(numbers, mask)), state


def _masked(numbers: Tensor, mask: Tensor) -> Tensor:
    return numbers.masked_fill(torch.logical_not(mask), float("-inf"))
