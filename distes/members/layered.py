"""The fastest form: a module whose layers are replaced by layers of many members, and whose forward runs as written.

Axes: B members, K rows per member, Q numbers of a member's row, A outputs, S statistics of a member.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from distes.members.aligned_rows import aligned_rows
from distes.members.layers.base import MemberLayer, MemberWeights
from distes.members.layers.convolution import Convolution
from distes.members.layers.replace import replace_layers
from distes.members.layers.virtual_batch_norm import VirtualBatchNorm
from distes.members.torch_internals import has_hooks
from distes.perturbations.row_layout import RowLayout
from distes.policies.layout import Layout

MANY_ROWS = 64  # of a member, from which on a CPU convolves for one member at a time: what it makes stays in its caches


class _Alone(NamedTuple):
    """What runs one member after the other: the rows of all, the row that takes each in turn, its layers' functions."""

    rows_BQ: Tensor
    row_Q: Tensor
    functions: list[Callable[..., Any]]


class Layered:
    """A module with a layer of many members in place of each layer with parameters.

    Attributes:
        module: Takes the rows of one bound member after the other, (B * K, ...).
        layers: Those that were put in.
        enter: Calls the module; it also takes (B, K, ...), if the members are bound with `keeps_axes`.
    """

    def __init__(self, module: nn.Module, layers: list[MemberLayer]) -> None:
        """Binds no members yet.

        Args:
            module: A copy of the policy, with its layers replaced.
            layers: Its layers of many members.
        """
        self.module, self.layers = module, layers
        # Looking for hooks where there are none takes as long as a small layer.
        called = has_hooks(module) or isinstance(module, MemberLayer)
        self.enter: Callable[..., Any] = module if called else module.forward
        self._norms = [layer for layer in layers if isinstance(layer, VirtualBatchNorm)]
        convolutions = [layer for layer in layers if isinstance(layer, Convolution)]
        self._convolves = bool(convolutions) and not self._norms
        for layer in convolutions if self._norms else ():
            layer.by_rows = False  # so that statistics on the reference batch keep their bits
        self._members, self._keeps_axes = 0, False
        self._alone: _Alone | None = None

    @classmethod
    def of(cls, module: nn.Module, layout: Layout) -> Self | None:
        """Replaces the layers of a copy; returns None where a parameter is in no layer that can be replaced.

        Args:
            module: The module; it is not changed.
            layout: The layout of its parameters.
        """
        replaced = replace_layers(module, layout)
        return None if replaced is None else cls(*replaced)

    def bind(
        self,
        rows_BQ: Tensor,
        row_layout: RowLayout,
        centre_P: Tensor | None,
        statistics_BS: Tensor | None,
        *,
        keeps_axes: bool,
    ) -> None:
        """Chooses the members that run next.

        Args:
            rows_BQ: A row per member, of the dtype that the layers compute in.
            row_layout: What a row holds.
            centre_P: The centre's parameters, of this dtype; needed where rows hold low-rank factors.
            statistics_BS: The members' statistics on the reference batch; needed by virtual batch normalisation.
            keeps_axes: Whether the module is called with (B, K, ...).
        """
        self._members, self._keeps_axes = len(rows_BQ), keeps_axes
        weights = MemberWeights(rows_BQ, row_layout, centre_P, statistics_BS, keeps_axes=keeps_axes)
        for layer in self.layers:
            layer.bind(weights)
        if self._convolves and rows_BQ.device.type == "cpu":
            row_1Q = aligned_rows(1, rows_BQ.shape[1], rows_BQ.device)
            alone = MemberWeights(row_1Q, row_layout, centre_P)
            self._alone = _Alone(rows_BQ, row_1Q[0], [layer.bound_to(alone) for layer in self.layers])

    def unbind(self) -> None:
        """Drops the bound members' tensors."""
        self._alone = None
        for layer in self.layers:
            layer.unbind()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_alone": None}  # without the bound members, as the layers

    def __call__(self, *inputs: Tensor) -> Any:
        """Maps (B, K, ...) to (B, K, A); with a state, returns the output and the next state."""
        if self._alone is not None and len(inputs) == 1 and inputs[0].shape[1] >= MANY_ROWS:
            return self._member_by_member(self._alone, inputs[0])
        answer, sides = self.module(*(part.flatten(0, 1) for part in inputs)), inputs[0].shape[:2]
        if isinstance(answer, tuple):
            return tuple(part.view(*sides, *part.shape[1:]) for part in answer)
        return answer.view(*sides, *answer.shape[1:])

    def shared(self, x_K: Tensor) -> Tensor:
        """Maps rows that all bound members see, of whom there are several: (K, ...) to (B, K, A), float32.

        Until the first layer with parameters, the rows are computed once for all members.
        """
        if self._alone is not None and len(x_K) >= MANY_ROWS:
            return self._member_by_member(self._alone, x_K.expand(self._members, *x_K.shape))
        for layer in self.layers:
            layer.share(len(x_K))
        try:
            if self._keeps_axes:
                answer: Tensor = self.enter(x_K.unsqueeze(0))
                return answer.expand(self._members, *answer.shape[1:])
            answer = self.module(x_K).float()
            return answer.view(self._members, len(x_K), *answer.shape[1:])
        finally:
            for layer in self.layers:
                layer.share(None)

    def _member_by_member(self, alone: _Alone, x_BK: Iterable[Tensor]) -> Tensor:
        """Runs one member after the other, each with all its rows: (B, K, ...) -> (B, K, A).

        Each is copied into the same row first, and the layers run that row. So its bits depend on nothing else.
        """
        for layer, function in zip(self.layers, alone.functions, strict=True):
            layer.run_instead(function)
        try:
            answers = []
            for member_Q, x_K in zip(alone.rows_BQ, x_BK, strict=True):
                alone.row_Q.copy_(member_Q)
                answers.append(self.enter(x_K))
            return torch.stack(answers).float()
        finally:
            for layer in self.layers:
                layer.share(None)

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Context in which members are bound to be measured by `measured`; they must be bound anew afterwards."""
        for layer in self._norms:
            layer.measured = ()
        try:
            yield
        finally:
            for layer in self._norms:
                layer.measured = None
                layer.unbind()

    def measured(self, *inputs: Tensor) -> dict[str, Tensor]:
        """Runs the bound members on a reference batch; returns scale and shift of each channel, (B, C), by name.

        Args:
            inputs: What a single policy is called with: the batch and, for a policy with memory, its initial state.
        """
        self.module(*(part.repeat(self._members, *[1] * (part.dim() - 1)) for part in inputs))
        return {slot.name: value for layer in self._norms for slot, value in layer.found()}
