"""The general forms: a module as it is, called with each member's parameters, which are written out.

`torch.func.vmap` runs all members at once, if it can; otherwise they run one by one, or even row by row. All of these
forms are correct, and slower than layers of many members.

Axes: B members, K rows per member, P parameters, A outputs, C channels, S statistics of a member.
"""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from distes.members.form import Form
from distes.policies import virtual_batch_norm
from distes.policies.layout import Layout, Slot


class Functional:
    """Runs a module as a function of its parameters, of which each member has its own."""

    def __init__(self, module: nn.Module, layout: Layout, statistics: tuple[Slot, ...]) -> None:
        """Binds no members yet.

        Args:
            module: The module; it is not changed.
            layout: The layout of its parameters.
            statistics: Where each layer's statistics lie in a member's row of statistics.
        """
        self._module, self._layout, self._statistics = module, layout, statistics
        self._parameters: dict[str, Tensor] = {}  # (B, *shape), torch's shapes; and statistics
        # In MEMBERS and ROWS: the module that takes each member's parameters in turn, and these parameters.
        self._single: tuple[nn.Module, dict[str, Tensor]] | None = None

    def bind(self, rows_BP: Tensor, statistics_BS: Tensor | None) -> None:
        """Chooses the members that run next.

        Args:
            rows_BP: The parameters of each member, float32.
            statistics_BS: The members' statistics on the reference batch, mean and variance; needed if there are any.
        """
        if statistics_BS is not None:
            self._parameters |= {slot.name: slot.view(statistics_BS) for slot in self._statistics}
        for slot in self._layout.slots:
            value = slot.view(rows_BP)
            value = value.transpose(1, 2) if slot.transposed else value
            self._parameters[slot.name] = value if slot.shape else value[..., 0]

    def unbind(self) -> None:
        """Drops the bound members' tensors."""
        self._parameters, self._single = {}, None

    def moved(self) -> None:
        """Makes the copy that runs single members anew, since the module is on another device now."""
        self._single = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_parameters": {}, "_single": None}  # without the bound members

    def __call__(self, form: Form, *inputs: Tensor) -> Any:
        """Maps (B, K, ...) to (B, K, A); with a state, returns the output and the next state.

        Args:
            form: How; not `LAYERS`.
            inputs: What the module takes, with two axes in place of its first.
        """
        match form:
            case Form.VMAP:
                return vmap(self._one_member, randomness="different")(self._parameters, *inputs)
            case Form.VMAP_OF_ROWS:
                in_dims = (None, *(0 for _ in inputs))
                one_member: Callable[..., Any] = vmap(self._one_row, in_dims, randomness="different")
                return vmap(one_member, randomness="different")(self._parameters, *inputs)
            case Form.MEMBERS:
                return _stacked([self._as_member(b)(*rows) for b, rows in enumerate(zip(*inputs, strict=True))])
            case Form.ROWS:
                members = []
                for b, rows in enumerate(zip(*inputs, strict=True)):
                    member, single_rows = self._as_member(b), zip(*(part.split(1) for part in rows), strict=True)
                    answers = _stacked([member(*row) for row in single_rows])
                    members.append(_each(lambda part: part[:, 0], answers))
                return _stacked(members)
        raise ValueError(f"a module as it is does not run {form.value}")

    def measured(self, form: Form, *inputs: Tensor) -> dict[str, Tensor]:
        """Runs the bound members on a reference batch; returns mean and variance of each channel, (B, C), by name.

        Args:
            form: How; not `LAYERS`.
            inputs: What a single policy is called with: the batch and, for a policy with memory, its initial state.
        """
        if form is Form.VMAP:

            def of_one(parameters: dict[str, Tensor]) -> dict[str, Tensor]:
                return virtual_batch_norm.statistics(self._module, partial(self._one_member, parameters, *inputs))

            by_name: dict[str, Tensor] = vmap(of_one, randomness="different")(self._parameters)
            return by_name
        each = []
        for b in range(len(next(iter(self._parameters.values())))):
            member = self._as_member(b)
            each.append(virtual_batch_norm.statistics(member, partial(member, *inputs)))
        return {name: torch.stack([one[name] for one in each]) for name in each[0]}

    def _one_member(self, parameters: dict[str, Tensor], *inputs: Tensor) -> Any:
        own = {name: value.to(self._layout.dtypes.get(name, value.dtype)) for name, value in parameters.items()}
        return functional_call(self._module, own, inputs)

    def _one_row(self, parameters: dict[str, Tensor], *inputs: Tensor) -> Any:
        answer = self._one_member(parameters, *(part.unsqueeze(0) for part in inputs))
        return _each(lambda part: part[0], answer)

    def _as_member(self, member: int) -> nn.Module:
        """A copy of the module that holds a bound member's parameters until the next call."""
        if self._single is None:
            with torch.inference_mode(False), torch.no_grad():  # it is written to inside and outside inference mode
                single = copy.deepcopy(self._module)
            self._single = single, {**dict(single.named_parameters()), **dict(single.named_buffers())}
        single, own = self._single
        for name, value in self._parameters.items():
            own[name].copy_(value[member])
        return single


def _each(change: Callable[[Tensor], Tensor], answer: Any) -> Any:
    """Applies a function to an output, or to both an output and a state."""
    return tuple(map(change, answer)) if isinstance(answer, tuple) else change(answer)


def _stacked(answers: list[Any]) -> Any:
    """Stacks outputs, or both outputs and states, along a new first axis."""
    if isinstance(answers[0], tuple):
        return tuple(torch.stack(parts) for parts in zip(*answers, strict=True))
    return torch.stack(answers)
