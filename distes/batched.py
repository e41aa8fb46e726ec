"""One torch module, many members: the population forward.

Axes: B members, K rows per member, P parameters. Each Linear and Conv2d of the user's module is replaced by a layer
that applies every member's own weights to its own rows, as one batched product; the module's own forward then runs as
written, on B * K rows. A module with parameters elsewhere runs through `torch.func.vmap`: correct, and slower.
What a member's rows give does not depend on which other members run beside it.
"""

import copy
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional as F  # noqa: N812, torch's own abbreviation

from distes.errors import ConfigurationError, DistesWarning
from distes.layout import Layout, Slot
from distes.perturbations.base import Perturbation
from distes.policies.base import StatefulPolicy

Floats = NDArray[np.float32]
ALIGNMENT = 16  # floats; each member's row begins on a 64-byte boundary, so alignment cannot tell rows apart


class _MemberLayer(nn.Module):
    """A layer with one weight (and bias) per member; `bind` points it at the members that run.

    Calling it goes straight to `forward`: nobody hangs hooks on it, and looking for them takes as long as a product.
    """

    def __call__(self, x: Tensor) -> Tensor:
        output: Tensor = self.forward(x)
        return output

    def __init__(self, weight: Slot, bias: Slot | None) -> None:
        super().__init__()
        self.slots = weight, bias

    def bind(self, parameters_BP: Tensor) -> None:
        weight, bias = self.slots
        self.members = len(parameters_BP)
        self.weight_B = weight.view(parameters_BP)
        self.bias_B1O = None if bias is None else bias.view(parameters_BP).unsqueeze(1)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key not in ("weight_B", "bias_B1O")}


class _Linear(_MemberLayer):
    """x (B*K, ..., in) -> (B*K, ..., out)."""

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == 3 and len(x) == self.members:  # (B, K, in) as it is
            return (
                torch.bmm(x, self.weight_B) if self.bias_B1O is None else torch.baddbmm(self.bias_B1O, x, self.weight_B)
            )
        flat = x.dim() == 2
        rows = x.unsqueeze(1) if flat and len(x) == self.members else x.reshape(self.members, -1, x.shape[-1])
        if self.bias_B1O is None:
            y = torch.bmm(rows, self.weight_B)
        else:
            y = torch.baddbmm(self.bias_B1O, rows, self.weight_B)
        return y.flatten(0, 1) if flat else y.view(*x.shape[:-1], -1)


class _Conv2d(_MemberLayer):
    """x (B*K, C, H, W) -> (B*K, O, H', W'), as a batched product over unfolded patches."""

    def __init__(self, weight: Slot, bias: Slot | None, conv: nn.Conv2d) -> None:
        super().__init__(weight, bias)
        self.window: dict[str, Any] = {
            "kernel_size": conv.kernel_size,
            "stride": conv.stride,
            "padding": conv.padding,
            "dilation": conv.dilation,
        }

    def forward(self, x: Tensor) -> Tensor:
        sides = zip(x.shape[-2:], *self.window.values(), strict=True)
        height, width = ((n + 2 * pad - dil * (k - 1) - 1) // stride + 1 for n, k, stride, pad, dil in sides)
        patches = F.unfold(x, **self.window).unflatten(0, (self.members, -1))  # (B, K, C*k*k, H'*W')
        weight = self.weight_B.flatten(2)  # (B, O, C*k*k)
        if patches.shape[1] == 1:
            y = torch.bmm(weight, patches[:, 0]).unsqueeze(1)
        else:
            y = torch.matmul(weight.unsqueeze(1), patches)
        if self.bias_B1O is not None:
            y = y + self.bias_B1O.unsqueeze(-1)
        images: Tensor = y.flatten(0, 1).unflatten(-1, (height, width))
        return images


def _member_layer(name: str, layer: nn.Module, slots: dict[str, Slot]) -> _MemberLayer | None:
    """The layer's many-member form, or None where it has none."""
    prefix = f"{name}." if name else ""
    weight, bias = slots.get(f"{prefix}weight"), slots.get(f"{prefix}bias")
    if weight is None:  # a weight shared with an earlier layer is listed there alone
        return None
    if type(layer) is nn.Linear:
        return _Linear(weight, bias)
    if type(layer) is nn.Conv2d and layer.groups == 1 and layer.padding_mode == "zeros":
        return None if isinstance(layer.padding, str) else _Conv2d(weight, bias, layer)
    return None


def _replace_layers(module: nn.Module, layout: Layout) -> tuple[nn.Module, list[_MemberLayer]] | None:
    """A copy of the module with many-member layers; None where a parameter would be left over."""
    slots = {slot.name: slot for slot in layout.slots}
    copied = copy.deepcopy(module)
    layers, covered = [], set()
    for name, layer in list(copied.named_modules(remove_duplicate=False)):
        new = _member_layer(name, layer, slots)
        if new is None:
            continue
        if not name:
            copied = new
        else:
            parent, _, child = name.rpartition(".")
            setattr(copied.get_submodule(parent), child, new)
        layers.append(new)
        covered |= {slot.name for slot in new.slots if slot is not None}
    return (copied, layers) if covered == set(slots) else None


class Forward:
    """Runs a module for rows of a parameter matrix; chosen once per module."""

    def __init__(self, module: nn.Module, layout: Layout) -> None:
        """Replaces the module's layers, or prepares vmap.

        Args:
            module: The policy; not changed.
            layout: Of its parameters.
        """
        self.module = copy.deepcopy(module).requires_grad_(False).eval()
        self.layout = layout
        self.stateful = isinstance(module, StatefulPolicy)
        replaced = _replace_layers(self.module, layout)
        self.vmapped = replaced is None
        self.keeps_axes = False  # whether the module may be given (B, K, ...) as it is; tried in `population_forward`
        if replaced is not None:
            self._call, self._layers = replaced
        else:
            # vmap turns the parameters of each member back into torch's own shapes
            self._parameters: dict[str, Tensor] = {}

    def __getstate__(self) -> dict[str, Any]:
        # What is bound stays here: each view would take its whole matrix along to the workers.
        return {**self.__dict__, "_parameters": {}} if self.vmapped else self.__dict__

    def bind(self, parameters_BP: Tensor) -> None:
        """Points all layers at the members that run next."""
        self.members = len(parameters_BP)
        if not self.vmapped:
            for layer in self._layers:
                layer.bind(parameters_BP)
            return
        for slot in self.layout.slots:
            value = slot.view(parameters_BP)
            self._parameters[slot.name] = value.transpose(1, 2) if slot.transposed else value

    def __call__(self, x_BK: Tensor, *state: Tensor) -> Any:
        """Maps rows (B, K, ...) (and state (B, K, S)) to (B, K, A) (and state)."""
        if self.vmapped:
            run: Callable[..., Any] = vmap(self._one_member, randomness="different")
            return run(self._parameters, x_BK, *state)
        if self.keeps_axes:
            return self._call(x_BK, *state)
        output = self._call(x_BK.flatten(0, 1), *(s.flatten(0, 1) for s in state))
        members, rows = x_BK.shape[:2]
        if self.stateful:
            return tuple(part.view(members, rows, *part.shape[1:]) for part in output)
        return output.view(members, rows, *output.shape[1:])

    def _one_member(self, parameters: dict[str, Tensor], *inputs: Tensor) -> Any:
        return functional_call(self.module, parameters, inputs)


def population_forward(module: nn.Module, layout: Layout, observation_shape: tuple[int, ...]) -> Forward:
    """Chooses the many-member form of a module, and tries it on two members before it is trusted.

    A module may use its layers in a way that replacing them breaks (reading `layer.weight`, mixing rows). So both forms
    are run once; where they differ, vmap is used, and a warning says so.

    Raises:
        ConfigurationError: If the module cannot run on rows of this shape at all.
    """
    forward = Forward(module, layout)
    reason = "it has parameters outside Linear and Conv2d layers"
    generator = torch.Generator().manual_seed(0)
    centre_P = torch.from_numpy(layout.flatten(module))
    parameters_2P = centre_P + 0.1 * torch.randn(2, layout.size, generator=generator)
    x_2K = torch.randn(2, 1, *observation_shape, generator=generator)
    state = (module.initial_state(2).unsqueeze(1),) if isinstance(module, StatefulPolicy) else ()
    with torch.inference_mode():
        try:
            expected = _one_by_one(forward, parameters_2P, x_2K, *state)
        except Exception as error:
            raise ConfigurationError(
                f"The policy {type(module).__name__} cannot take observations of shape {observation_shape}: {error}"
            ) from error
        if not forward.vmapped:
            try:
                forward.bind(parameters_2P)
                got = forward(x_2K, *state)
                got = got[0] if forward.stateful else got
                agrees = _agree(got, expected)
            except Exception:  # whatever a foreign forward raises, vmap is the answer
                agrees = False
            if not agrees:
                reason = "its forward does not run with its layers replaced"
                forward.vmapped, forward._parameters = True, {}
            else:
                forward.keeps_axes = _can_keep_axes(forward, observation_shape, generator)
    if forward.vmapped:
        warnings.warn(
            f"The policy {type(module).__name__} runs through torch.func.vmap, which is slower: {reason}.",
            DistesWarning,
            stacklevel=2,
        )
    return forward


def _can_keep_axes(forward: Forward, observation_shape: tuple[int, ...], generator: torch.Generator) -> bool:
    """Whether the module gives the same for (B, K, ...) as for (B * K, ...): that spares it a dozen views per step."""
    x_BK = torch.randn(2, 3, *observation_shape, generator=generator)
    module = forward.module
    state = (module.initial_state(6).unflatten(0, (2, 3)),) if isinstance(module, StatefulPolicy) else ()
    expected = forward(x_BK, *state)
    forward.keeps_axes = True
    try:
        got = forward(x_BK, *state)
    except Exception:  # whatever a foreign forward raises, it wants its rows in one axis
        return False
    finally:
        forward.keeps_axes = False
    pairs = zip(got, expected, strict=True) if forward.stateful else [(got, expected)]
    return all(_agree(a, b) for a, b in pairs)


def _agree(got: Tensor, expected: Tensor) -> bool:
    return got.shape == expected.shape and torch.allclose(got, expected, rtol=1e-3, atol=1e-4)


def _one_by_one(forward: Forward, parameters_BP: Tensor, x_BK: Tensor, *state_BK: Tensor) -> Tensor:
    """The obvious way: load each member into the module and run its rows."""
    outputs = []
    for parameters_P, *inputs in zip(parameters_BP, x_BK, *state_BK, strict=True):
        forward.layout.load(forward.module, parameters_P.numpy())
        output = forward.module(*inputs)
        outputs.append(output[0] if forward.stateful else output)
    return torch.stack(outputs)


class Members:
    """What a task evaluates: B members of one chunk, made from the shared noise when they are needed."""

    def __init__(
        self,
        forward: Forward,
        perturbation: Perturbation,
        centre_P: Floats,
        sigma: float | Floats,
        ids_B: NDArray[np.int64],
        signs_B: NDArray[np.int64],
    ) -> None:
        """Describes the members; member b is centre_P + signs_B[b] * sigma * direction(ids_B[b]).

        Args:
            forward: The policy's population forward.
            perturbation: Numbered directions.
            centre_P: float32.
            sigma: A number, or float32 (P,).
            ids_B: Direction of each member.
            signs_B: +1, -1, or 0 for the centre itself.
        """
        self._forward, self._perturbation = forward, perturbation
        self._centre_P, self._sigma = centre_P, sigma
        self._ids_B, self._signs_B = ids_B, signs_B
        self._held = np.empty(0, np.int64)  # which member each row of the matrix holds
        self._rows_BP: Floats = np.empty((0, 0), np.float32)

    def __len__(self) -> int:
        return len(self._ids_B)

    def select(self, indices: NDArray[np.int64]) -> None:
        """Narrows to the members that run: row r of later calls belongs to member indices[r].

        Only rows whose member changes are written, so replacing one finished member costs one row.
        """
        count = len(indices)
        if count > len(self._held):
            size = self._forward.layout.size
            stride = -(-size // ALIGNMENT) * ALIGNMENT
            self._rows_BP = torch.zeros(count, stride).numpy()[:, :size]
            self._held = np.full(count, -1, np.int64)
        for row in np.flatnonzero(self._held[:count] != indices).tolist():
            member = int(indices[row])
            out_P, sign = self._rows_BP[row], int(self._signs_B[member])
            if sign == 0:
                out_P[:] = self._centre_P
            else:
                self._perturbation.perturb(self._centre_P, sign * self._sigma, int(self._ids_B[member]), out_P)
            self._held[row] = member
        self._forward.bind(torch.from_numpy(self._rows_BP[:count]))

    def __call__(self, x_BK: Tensor) -> Tensor:
        """Runs a policy without memory on K rows per selected member: (B, K, ...) -> (B, K, A)."""
        output: Tensor = self._forward(x_BK)
        return output

    def step(self, x_BK: Tensor, state_BK: Tensor) -> tuple[Tensor, Tensor]:
        """Runs a policy with memory: (B, K, ...), (B, K, S) -> (B, K, A), (B, K, S)."""
        output, state = self._forward(x_BK, state_BK)
        return output, state

    def initial_state(self) -> Tensor | None:
        """The memory at an episode's start, (S,); None for a policy without memory."""
        module = self._forward.module
        return module.initial_state(1)[0] if isinstance(module, StatefulPolicy) else None

    def parameters(self) -> Floats:
        """Materialises all members, (B, P), float32; a copy."""
        self.select(np.arange(len(self)))
        return self._rows_BP[: len(self)].copy()
