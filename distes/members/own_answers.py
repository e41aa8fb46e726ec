"""What a policy itself answers: the module with one member's parameters, given one observation as a batch of one row.

The numbers of members and rows differ from all sizes in the policy: a batch of the size of a layer could hide a wrong
axis.

Axes: B members, K rows per member, W parameters of the module that runs, A outputs, S numbers of a policy's memory.
"""

import copy
from collections.abc import Callable, Iterator
from itertools import permutations
from typing import Any

import torch
from torch import Tensor, nn

from distes.errors import ConfigurationError, raised
from distes.members.forward import Forward
from distes.members.watch import Watch
from distes.noise.global_randomness import fingerprint, seeded
from distes.policies.base import StatefulPolicy

PRIMES = (2, 3, 5, 7, 11, 13, 17, 19)
MANY = 2**24  # parameters from which on there are two members only
OBSERVATIONS: tuple[Callable[[Tensor], Tensor], ...] = (lambda x: x, torch.abs, torch.zeros_like)

Answer = tuple[Tensor, ...]  # output (B, K, A) and, for a policy with memory, state (B, K, S)
Chance = tuple[int, bytes]  # the number of torch's draws, and the state of the other generators after them


class OwnAnswers:
    """The answers of some members to some observations, and what the module does while it gives them.

    Attributes:
        weights_BW: The members' parameters.
        inputs: What the module is called with, (B, K, ...) each: observations and, for a policy with memory, states.
        sides: Numbers of members and rows of each set of answers: all rows of all members, one row of each member, and
            one row of one member.
        expected: The answers, by sides.
        chance: What was drawn for them, by sides.
        draws: Whether the module draws random numbers.
        remembers: Whether it answers the same input differently the second time.
        decides: Whether Python reads values that differ between rows, or truth values.
        writes_input: Whether it changes its input in place.
    """

    def __init__(self, forward: Forward, observation_shape: tuple[int, ...]) -> None:
        """Computes the answers.

        Args:
            forward: The population forward, which has a copy of the module.
            observation_shape: The shape of one observation.

        Raises:
            ConfigurationError: The module fails.
        """
        self._forward = forward
        generator = torch.Generator().manual_seed(0)
        members, rows = _unused_sizes(forward, observation_shape)
        centre_P = torch.from_numpy(forward.layout.flatten(forward.module))
        self.weights_BW = forward.weights_of(
            centre_P + 0.1 * torch.randn(members, forward.layout.size, generator=generator)
        )
        x_KB = torch.randn(rows, members, *observation_shape, generator=generator)
        scale_K = torch.logspace(-0.5, 0.5, rows).view(-1, *[1] * (x_KB.dim() - 1))  # small and large observations
        x_BK = (scale_K * x_KB).transpose(0, 1).contiguous()
        self.sides = (members, rows), (members, 1), (1, 1)
        self.chance: list[Chance] = []
        for number, change in enumerate(OBSERVATIONS, 1):
            try:
                self.inputs: Answer = (change(x_BK), *self._initial_state(members, rows))
                self.remembers = self.draws = self.writes_input = self.decides = False
                self.chance.clear()
                self.expected = [self._own_answer(*self.sides[0])]
                for b, k in self.sides[1:]:  # NumPy's draws come in the order of the rows
                    some = tuple(part[:b, :k] for part in self.expected[0])
                    self.expected.append(self._own_answer(b, k) if self.draws else some)
                break
            except Exception as error:
                if number == len(OBSERVATIONS):
                    raise ConfigurationError(
                        f"The policy {type(forward.module).__name__} cannot take observations of shape "
                        f"{observation_shape}: it {raised(error)}."
                    ) from error

    def _own_answer(self, members: int, rows: int) -> Answer:
        """Returns the module's outputs with each member's parameters, row by row; runs twice to find a memory."""
        module = copy.deepcopy(self._forward.runs)
        inputs = [part[:members, :rows] for part in self.inputs]
        answers = []
        for _ in range(2):
            with seeded(0):
                self._drawn, before = 0, fingerprint()
                parts = list(self._by_row(module, inputs))
                chance = self._drawn, fingerprint()
                self.draws |= chance != (0, before)
            answers.append(tuple(torch.stack(part).unflatten(0, (members, rows)) for part in zip(*parts, strict=True)))
        self.chance.append(chance)
        self.remembers |= not all(agree(*pair) for pair in zip(*answers, strict=True))
        return answers[0]

    def _by_row(self, module: nn.Module, inputs: list[Tensor]) -> Iterator[Answer]:
        first: list[Any] | None = None
        for weights_W, *member in zip(self.weights_BW, *inputs, strict=False):
            self._forward.weights.load(module, weights_W.numpy())
            for row in zip(*member, strict=True):
                given = [part.unsqueeze(0).clone() for part in row]
                with Watch() as watch:
                    answer = module(*given)
                self._drawn += watch.drawn
                first = watch.values if first is None else first
                self.decides |= watch.values != first or any(type(value) is bool for value in watch.values)
                self.writes_input |= any(not _same(part[0], of) for part, of in zip(given, row, strict=True))
                parts = answer if isinstance(answer, tuple) else (answer,)
                yield tuple(part[0].float().clone() for part in parts)

    def _initial_state(self, members: int, rows: int) -> Answer:
        module = self._forward.module
        if not isinstance(module, StatefulPolicy):
            return ()
        return (module.initial_state(members * rows).unflatten(0, (members, rows)),)


def _unused_sizes(forward: Forward, observation_shape: tuple[int, ...]) -> tuple[int, int]:
    """Numbers of members and rows: two primes. Neither they nor their product is a size of the policy."""
    used = set(observation_shape)
    for layer in forward.module.modules():
        used.update(value for value in vars(layer).values() if type(value) is int)
        for tensor in (*layer.parameters(recurse=False), *layer.buffers(recurse=False)):
            used.update(tensor.shape)
    pairs = sorted(permutations(PRIMES, 2), key=lambda pair: (pair[0] * pair[1], pair))
    unused = (pair for pair in pairs if used.isdisjoint({*pair, pair[0] * pair[1]}))
    members, rows = next(unused, pairs[-1])
    return (2 if forward.layout.size > MANY else members), rows


def agree(got: Tensor, expected: Tensor) -> bool:
    """Whether two outputs are equal up to rounding, in shape and dtype as well."""
    if got.shape != expected.shape or got.dtype != expected.dtype:
        return False
    return torch.allclose(got, expected, rtol=1e-3, atol=1e-4, equal_nan=True)


def _same(one: Tensor, other: Tensor) -> bool:
    return torch.equal(one.nan_to_num(), other.nan_to_num())
