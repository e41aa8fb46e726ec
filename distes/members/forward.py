"""One torch module, many members: how a module runs for rows of a matrix of parameters.

Axes: B members, K rows per member, P parameters, Q numbers of a member's row. Each Linear, Conv1d, Conv2d, Embedding,
LayerNorm, GroupNorm, RMSNorm, GRUCell, LSTMCell and RNNCell of the user's module is replaced by a layer that applies
every member's own weights to its own rows; the module's own forward then runs as written, on B * K rows. A module with
parameters elsewhere runs through `torch.func.vmap`, and one that vmap cannot run member by member: correct, and slower.
`trial.py` chooses the form. What a member's rows give does not depend on which other members run beside it; to the
last bit, where all its parameters are written out and it runs on a CPU. On a GPU its last bits depend on how many run
beside it, since cuBLAS and cuDNN choose an algorithm by the size of the batch: the same chunk gives the same bits
again, and a member that is replayed alone may differ from itself in the chunk.
"""

import copy
import enum
from collections.abc import Callable
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from distes.errors import ConfigurationError, raised
from distes.members.cuda_graph import Captured
from distes.members.layers.base import Bound, MemberLayer
from distes.members.layers.replace import replace_layers
from distes.members.torch_internals import has_hooks
from distes.policies.base import StatefulPolicy
from distes.policies.layout import Layout, Places

ALIGNMENT = 16  # floats in 64 bytes
LARGE_PAGES = 2**20  # floats in 4 MiB; what is not touched takes no memory
LAUNCH_BOUND = 2**24  # floats of rows below which a GPU takes longer to launch a layer than to read its weights


class Form(enum.Enum):
    """How a module runs for many members, from the fastest to the one that every module allows."""

    LAYERS = "with its layers replaced"
    VMAP = "through torch.func.vmap"
    VMAP_OF_ROWS = "through torch.func.vmap, each row as a batch of its own"
    MEMBERS = "member by member"
    ROWS = "row by row"


class Forward:
    """Runs a module for rows of a matrix; chosen once per module.

    Attributes:
        module: A copy of the policy, with its first parameters.
        layout: Of its parameters.
        stateful: Whether it is a `StatefulPolicy`.
        form: How it runs.
        keeps_axes: Whether the module may be given (B, K, ...) as it is.
        writes_input: Whether the module changes its input in place, so that it is given a copy.
        draws: Whether the module draws random numbers of its own.
    """

    def __init__(self, module: nn.Module, layout: Layout) -> None:
        """Replaces the module's layers where all of them have a form for many members.

        Args:
            module: The policy; not changed.
            layout: Of its parameters.

        Raises:
            ConfigurationError: The module cannot be copied.
        """
        try:
            with torch.no_grad():  # else the parameters' copies in a module of torch.jit have a history
                self.module = copy.deepcopy(module)
            self.module.eval()
            for parameter in self.module.parameters():  # nn.Module's own method refuses modules of torch.jit
                parameter.requires_grad_(False)
        except Exception as error:
            raise ConfigurationError(
                f"The policy {type(module).__name__} cannot be copied, and workers need a copy: copy.deepcopy "
                f"{raised(error)}."
            ) from error
        self.layout = layout
        self.stateful = isinstance(module, StatefulPolicy)
        replaced = replace_layers(self.module, layout)
        self.form = Form.VMAP if replaced is None else Form.LAYERS
        self.keeps_axes = self.writes_input = self.draws = False
        self._parameters: dict[str, Tensor] = {}  # beside LAYERS: those of each member, in torch's own shapes
        # What becomes one member after the other in MEMBERS and ROWS, and its parameters.
        self._single: tuple[nn.Module, dict[str, nn.Parameter]] | None = None
        self._memory: dict[str, Tensor] = {}
        self.tenant: object = None  # whose members the memory holds
        self._centre: tuple[Tensor, ...] = ()
        self._captured: Captured | None = None  # on a GPU; see `run`
        self._small = False
        if replaced is not None:
            self._call, self._layers = replaced
            # Looking for hooks where there are none takes as long as a small layer.
            called = has_hooks(self._call) or isinstance(self._call, MemberLayer)
            self._enter: Callable[..., Any] = self._call if called else self._call.forward

    @property
    def materialises(self) -> bool:
        """Whether each member needs all its parameters written out."""
        return self.form is not Form.LAYERS

    def fall_back(self, form: Form) -> None:
        """Runs in a slower form from now on."""
        self.form, self.keeps_axes = form, False
        if form is not Form.LAYERS and "_call" in self.__dict__:
            del self._call, self._layers, self._enter

    def forget(self) -> None:
        """Lets go of the members that it was bound to; it must be bound anew."""
        self._parameters, self._single = {}, None
        for layer in self._layers if self.form is Form.LAYERS else ():
            layer.unbind()

    def __getstate__(self) -> dict[str, Any]:
        # What is bound stays here: each view would take its whole matrix along to the workers.
        nothing: dict[str, Any] = {"_parameters": {}, "_memory": {}, "_centre": (), "tenant": None, "_captured": None}
        return {**self.__dict__, **nothing, "_single": None}

    def to(self, device: str | torch.device) -> Self:
        """Moves the module to a device; members must live there, too."""
        self.module.to(device)
        self._single = None
        if not self.materialises:
            self._call.to(device)
        recordable = torch.device(device).type == "cuda" and self.form not in (Form.MEMBERS, Form.ROWS)
        self._captured = Captured(self, lambda: self.storage) if recordable and not self.draws else None
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

    def bind(self, rows_BQ: Tensor, places: Places, centre_P: Tensor | None = None) -> None:
        """Points all layers at the members that run next.

        Args:
            rows_BQ: A row per member; in all forms but `LAYERS` it holds all parameters.
            places: What a row holds.
            centre_P: What thin factors are added to; needed where there are any.
        """
        self._centre = () if centre_P is None else (centre_P,)
        self._small = rows_BQ.numel() < LAUNCH_BOUND
        if not self.materialises:
            bound = Bound(rows_BQ, places, centre_P)
            for layer in self._layers:
                layer.bind(bound)
            return
        for slot in self.layout.slots:
            value = slot.view(rows_BQ)
            value = value.transpose(1, 2) if slot.transposed else value
            self._parameters[slot.name] = value if slot.shape else value[..., 0]

    def run(self, x_BK: Tensor, *state: Tensor) -> Any:
        """As a call; on a GPU small populations run as one recorded graph, whose next run overwrites the answer."""
        return self._captured(x_BK, *state) if self._small and self._captured is not None else self(x_BK, *state)

    def __call__(self, x_BK: Tensor, *state: Tensor) -> Any:
        """Maps rows (B, K, ...) (and state (B, K, S)) to (B, K, A) (and state), float32."""
        if self.keeps_axes:
            return self._enter(x_BK, *state)
        inputs = tuple(part.clone() for part in (x_BK, *state)) if self.writes_input else (x_BK, *state)
        answer = self._run(*inputs)
        return tuple(part.float() for part in answer) if self.stateful else answer.float()

    def _run(self, *inputs: Tensor) -> Any:
        match self.form:
            case Form.LAYERS:
                answer, sides = self._call(*(part.flatten(0, 1) for part in inputs)), inputs[0].shape[:2]
                return _each(lambda part: part.view(*sides, *part.shape[1:]), answer)
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

    def _one_member(self, parameters: dict[str, Tensor], *inputs: Tensor) -> Any:
        own = {name: value.to(self.layout.dtypes[name]) for name, value in parameters.items()}
        return functional_call(self.module, own, inputs)

    def _one_row(self, parameters: dict[str, Tensor], *inputs: Tensor) -> Any:
        answer = self._one_member(parameters, *(part.unsqueeze(0) for part in inputs))
        return _each(lambda part: part[0], answer)

    def _as_member(self, member: int) -> nn.Module:
        """A copy of the module that holds a bound member's parameters until the next call."""
        if self._single is None:
            with torch.inference_mode(False), torch.no_grad():  # it is written to in both modes
                single = copy.deepcopy(self.module)
            self._single = single, dict(single.named_parameters())
        single, own = self._single
        for name, value in self._parameters.items():
            own[name].copy_(value[member])
        return single


def _each(change: Callable[[Tensor], Tensor], answer: Any) -> Any:
    """Changes an answer, or both parts of one with a state."""
    return tuple(map(change, answer)) if isinstance(answer, tuple) else change(answer)


def _stacked(answers: list[Any]) -> Any:
    """Puts answers, or both their parts, along a new first axis."""
    if isinstance(answers[0], tuple):
        return tuple(torch.stack(parts) for parts in zip(*answers, strict=True))
    return torch.stack(answers)


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
