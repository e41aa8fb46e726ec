"""One torch module, many members: how a module runs for rows of a matrix of parameters.

Axes: B members, K rows per member, P parameters, Q numbers of a member's row. Each Linear, Conv1d, Conv2d, Embedding,
LayerNorm, GroupNorm, RMSNorm, GRUCell, LSTMCell and RNNCell of the user's module is replaced by a layer that applies
every member's own weights to its own rows; the module's own forward then runs as written, on B * K rows. A module with
parameters elsewhere runs through `torch.func.vmap`: correct, and slower. What a member's rows give does not depend on
which other members run beside it; to the last bit, where all its parameters are written out and it runs on a CPU. On a
GPU its last bits depend on how many run beside it, since cuBLAS and cuDNN choose an algorithm by the size of the batch:
the same chunk gives the same bits again, and a member that is replayed alone may differ from itself in the chunk.
"""

import copy
import warnings
from collections.abc import Callable
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from distes.captured import Captured
from distes.errors import ConfigurationError, DistesWarning
from distes.layers.base import Bound, MemberLayer
from distes.layers.cells import GRUCell, LSTMCell, RNNCell
from distes.layers.convolution import Convolution
from distes.layers.embedding import Embedding
from distes.layers.linear import Linear
from distes.layers.norms import Norm
from distes.layout import Layout, Places, Slot
from distes.policies.base import StatefulPolicy

ALIGNMENT = 16  # floats in 64 bytes
LARGE_PAGES = 2**20  # floats in 4 MiB; what is not touched takes no memory
LAUNCH_BOUND = 2**24  # floats of rows below which a GPU takes longer to launch a layer than to read its weights
LEFT_OVER = "it has parameters outside the layers that have a form for many members"
CELLS: dict[type, Callable[..., MemberLayer]] = {
    nn.GRUCell: GRUCell,
    nn.LSTMCell: LSTMCell,
    nn.RNNCell: RNNCell,
}


def member_layer(name: str, layer: nn.Module, slots: dict[str, Slot]) -> MemberLayer | None:
    """The layer's many-member form, or None where it has none."""
    prefix = f"{name}." if name else ""
    own = {key: slots.get(prefix + key) for key, _ in layer.named_parameters(recurse=False)}
    if not own or None in own.values():  # a parameter shared with an earlier layer is listed there alone
        return None
    weight, bias, kind = own.get("weight"), own.get("bias"), type(layer)
    if weight is not None:
        if kind is nn.Linear:
            return Linear(weight, bias)
        if isinstance(layer, nn.Conv1d | nn.Conv2d) and kind in (nn.Conv1d, nn.Conv2d):
            return Convolution(weight, bias, layer)
        if isinstance(layer, nn.Embedding) and kind is nn.Embedding and layer.max_norm is None:
            return Embedding(weight)
        if isinstance(layer, nn.LayerNorm | nn.RMSNorm | nn.GroupNorm) and kind in (
            nn.LayerNorm,
            nn.RMSNorm,
            nn.GroupNorm,
        ):
            return Norm(weight, bias, layer)
    of_input, of_memory = own.get("weight_ih"), own.get("weight_hh")
    if isinstance(layer, nn.RNNCellBase) and kind in CELLS and of_input is not None and of_memory is not None:
        if isinstance(layer, nn.RNNCell) and layer.nonlinearity != "tanh":
            return None
        biases = own.get("bias_ih"), own.get("bias_hh")
        return CELLS[kind]((of_input, of_memory), biases, layer.hidden_size)
    return None


def _replace_layers(module: nn.Module, layout: Layout) -> tuple[nn.Module, list[MemberLayer]] | None:
    """A copy of the module with many-member layers; None where a parameter would be left over."""
    slots = {slot.name: slot for slot in layout.slots}
    copied = copy.deepcopy(module)
    layers, covered = [], set[str]()
    for name, layer in list(copied.named_modules(remove_duplicate=False)):
        new = member_layer(name, layer, slots)
        if new is None:
            continue
        if not name:
            copied = new
        else:
            parent, _, child = name.rpartition(".")
            setattr(copied.get_submodule(parent), child, new)
        layers.append(new)
        prefix = f"{name}." if name else ""
        covered |= {prefix + key for key, _ in layer.named_parameters(recurse=False)}
    return (copied, layers) if covered == set(slots) else None


class Forward:
    """Runs a module for rows of a matrix; chosen once per module."""

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
        self._parameters: dict[str, Tensor] = {}  # for vmap: those of each member, in torch's own shapes
        self._memory: dict[str, Tensor] = {}
        self.tenant: object = None  # whose members the memory holds
        self._centre: tuple[Tensor, ...] = ()
        self._captured: Captured | None = None  # on a GPU; see `run`
        self._small = False
        if replaced is not None:
            self._call, self._layers = replaced
            # Looking for hooks where there are none takes as long as a small layer.
            called = self._call._forward_hooks or self._call._forward_pre_hooks or isinstance(self._call, MemberLayer)
            self._enter: Callable[..., Any] = self._call if called else self._call.forward

    def __getstate__(self) -> dict[str, Any]:
        # What is bound stays here: each view would take its whole matrix along to the workers.
        nothing: dict[str, Any] = {"_parameters": {}, "_memory": {}, "_centre": (), "tenant": None, "_captured": None}
        return {**self.__dict__, **nothing}

    def to(self, device: str | torch.device) -> Self:
        """Moves the module to a device; members must live there, too."""
        self.module.to(device)
        if not self.vmapped:
            self._call.to(device)
        self._captured = Captured(self, lambda: self.storage) if torch.device(device).type == "cuda" else None
        return self

    def memory(self, name: str, rows: int, size: int, device: torch.device) -> Tensor:
        """Memory that stays where it is from chunk to chunk, (rows, size), float32; its content is the last tenant's.

        A GPU has no room for two chunks' members, and a recorded graph reads where it has read before. Each row begins
        on a 64-byte boundary, so alignment cannot tell rows apart.

        Args:
            name: Of this memory.
            rows: At least so many, or it is made anew.
            size: Likewise, exactly.
            device: Likewise.
        """
        held = self._memory.get(name)
        if held is None or len(held) < rows or held.shape[1] != size or held.device != device:
            self.forget()  # else layers and tenant would hold the old memory while the new is made
            held = self.tenant = None
            self._memory.pop(name, None)
            held = self._memory[name] = _allocate(rows, size, device)
        return held

    def free(self) -> None:
        """Lets go of the members' memory and of all recorded graphs. The next members to move in make it anew."""
        self.forget()
        self._memory, self._centre, self.tenant = {}, (), None
        if self._captured is not None:
            self._captured.forget()

    @property
    def storage(self) -> list[Tensor]:
        """All memory that calls read beside their inputs; a call does the same on it until it is bound anew."""
        return [*self._memory.values(), *self._centre]

    def forget(self) -> None:
        """Lets go of the members that it was bound to; it must be bound anew."""
        self._parameters = {}
        for layer in () if self.vmapped else self._layers:
            layer.unbind()

    def bind(self, rows_BQ: Tensor, places: Places, centre_P: Tensor | None = None) -> None:
        """Points all layers at the members that run next.

        Args:
            rows_BQ: A row per member; through vmap it holds all parameters.
            places: What a row holds.
            centre_P: What thin factors are added to; needed where there are any.
        """
        self._centre = () if centre_P is None else (centre_P,)
        self._small = rows_BQ.numel() < LAUNCH_BOUND
        if not self.vmapped:
            bound = Bound(rows_BQ, places, centre_P)
            for layer in self._layers:
                layer.bind(bound)
            return
        for slot in self.layout.slots:
            value = slot.view(rows_BQ)
            self._parameters[slot.name] = value.transpose(1, 2) if slot.transposed else value

    def run(self, x_BK: Tensor, *state: Tensor) -> Any:
        """As a call; on a GPU small populations run as one recorded graph, whose next run overwrites the answer."""
        return self._captured(x_BK, *state) if self._small and self._captured is not None else self(x_BK, *state)

    def __call__(self, x_BK: Tensor, *state: Tensor) -> Any:
        """Maps rows (B, K, ...) (and state (B, K, S)) to (B, K, A) (and state)."""
        if self.keeps_axes:
            return self._enter(x_BK, *state)
        if self.vmapped:
            run: Callable[..., Any] = vmap(self._one_member, randomness="different")
            return run(self._parameters, x_BK, *state)
        output = self._call(x_BK.flatten(0, 1), *(s.flatten(0, 1) for s in state))
        members, rows = x_BK.shape[:2]
        if self.stateful:
            return tuple(part.view(members, rows, *part.shape[1:]) for part in output)
        return output.view(members, rows, *output.shape[1:])

    def _one_member(self, parameters: dict[str, Tensor], *inputs: Tensor) -> Any:
        return functional_call(self.module, parameters, inputs)


def _allocate(rows: int, size: int, device: torch.device) -> Tensor:
    """(rows, size) zeros, each row on a 64-byte boundary."""
    stride = -(-size // ALIGNMENT) * ALIGNMENT
    with torch.inference_mode(False):  # it is written to in both modes
        if device.type != "cpu":
            return torch.zeros(rows, stride, device=device)[:, :size]
        # NumPy asks for large pages from 4 MiB on, and torch never does: a tenth faster to read. But it does not align.
        raw = np.zeros(max(rows * stride, LARGE_PAGES) + ALIGNMENT, np.float32)
        start = -(raw.ctypes.data // 4) % ALIGNMENT
        return torch.from_numpy(raw)[start : start + rows * stride].view(rows, stride)[:, :size]


def population_forward(module: nn.Module, layout: Layout, observation_shape: tuple[int, ...]) -> Forward:
    """Chooses the many-member form of a module, and tries it on two members before it is trusted.

    A module may use its layers in a way that replacing them breaks (reading `layer.weight`, mixing rows). So both forms
    are run once; where they differ, vmap is used, and a warning says so.

    Raises:
        ConfigurationError: If the module cannot run on rows of this shape at all.
    """
    forward = Forward(module, layout)
    reason = LEFT_OVER
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
        layout.load(forward.module, centre_P.numpy())  # workers, too, may ask how it was at first
        if not forward.vmapped:
            try:
                forward.bind(parameters_2P, layout.places)
                got = forward(x_2K, *state)
                got = got[0] if forward.stateful else got
                agrees = _agree(got, expected)
            except Exception:  # whatever a foreign forward raises, vmap is the answer
                agrees = False
            if not agrees:
                reason = "its forward does not run with its layers replaced"
                forward.vmapped = True
                del forward._call, forward._layers, forward._enter
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
