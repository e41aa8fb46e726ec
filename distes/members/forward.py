"""Runs one torch module for many members, each with its own row of a matrix of parameters.

Each Linear, Conv1d, Conv2d, Embedding, LayerNorm, GroupNorm, RMSNorm, VirtualBatchNorm, GRUCell, LSTMCell and RNNCell
of the module is replaced by a layer that applies every member's own weights to its own rows. The module's own forward
then runs as written, on B * K rows. A module with parameters elsewhere runs through `torch.func.vmap`, or member by
member if vmap cannot run it; these forms are correct, and slower. `trial.py` chooses the form.

A member's outputs do not depend on the members beside it. On a CPU, and with all parameters written out, this holds to
the last bit. On a GPU the last bits depend on the number of members, since cuBLAS and cuDNN choose an algorithm by the
size of the batch: the same chunk gives the same bits again, but a member replayed alone may differ from itself in the
chunk.

The file is longer than most: each form runs, and is measured on the reference batch, by the same bound parameters.

Axes: B members, K rows per member, P parameters, Q numbers of a member's row, A outputs, S numbers of a memory, or
statistics of a member on the reference batch.
"""

import copy
import enum
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from distes.errors import ConfigurationError, raised
from distes.members.cuda_graph import CudaGraphs, padded
from distes.members.layers.base import MemberLayer, MemberWeights
from distes.members.layers.convolution import Convolution
from distes.members.layers.replace import replace_layers, statistics_slots
from distes.members.layers.virtual_batch_norm import VirtualBatchNorm
from distes.members.torch_internals import has_hooks
from distes.perturbations.row_layout import RowLayout
from distes.policies import virtual_batch_norm
from distes.policies.base import StatefulPolicy
from distes.policies.language.causal_lm import CausalLM
from distes.policies.layout import Layout
from distes.policies.parametrized import ParametrizedPolicy

ALIGNMENT = 16  # floats in 64 bytes
LARGE_PAGES = 2**20  # floats in 4 MiB; pages that are not touched take no memory
MANY_ROWS = 64  # of a member, from which on a CPU convolves for one member at a time: what it makes stays in its caches
LAUNCH_BOUND = 2**24  # floats of rows below which a GPU takes longer to launch a layer than to read its weights


class Form(enum.Enum):
    """How a module runs for many members: from the fastest form to the most general one."""

    LAYERS = "with its layers replaced"
    VMAP = "through torch.func.vmap"
    VMAP_OF_ROWS = "through torch.func.vmap, each row as a batch of its own"
    MEMBERS = "member by member"
    ROWS = "row by row"


class Forward:
    """Runs a module for the rows of a matrix.

    Attributes:
        module: A copy of the policy, with its initial parameters.
        layout: The layout of its parameters, which are searched.
        runs: The module that runs: the policy itself, or the inner module of a `ParametrizedPolicy`.
        weights: The layout of that module's parameters.
        stateful: Whether it is a `StatefulPolicy`.
        form: How the module runs.
        keeps_axes: Whether the module takes (B, K, ...) without flattening.
        writes_input: Whether the module changes its input in place, so that it is given a copy.
        draws: Whether the module draws random numbers of its own.
        shares: Whether the module takes rows that all members share, until a layer makes them differ; see `shared`.
        dtype: What the layers compute in. Rows and centre are float32 all the same.
        statistics: Where a member's statistics on the reference batch lie in its row of them; empty if it needs none.
        tenant: The `Members` whose rows are in the memory, or None.
    """

    def __init__(self, module: nn.Module, layout: Layout) -> None:
        """Replaces the module's layers if all of them have a form for many members.

        Args:
            module: The policy; it is not changed.
            layout: The layout of its parameters.

        Raises:
            ConfigurationError: The module cannot be copied.
        """
        try:
            with torch.no_grad():  # so that copied parameters in a module of torch.jit have no history
                self.module = module.skeleton() if isinstance(module, CausalLM) else copy.deepcopy(module)
            self.module.eval()
            for parameter in self.module.parameters():  # nn.Module's own method refuses modules of torch.jit
                parameter.requires_grad_(False)
        except Exception as error:
            raise ConfigurationError(
                f"The policy {type(module).__name__} cannot be copied, and workers need a copy: copy.deepcopy "
                f"{raised(error)}."
            ) from error
        self.layout = self.weights = layout
        self.runs = self.module
        self.dtype: torch.dtype = getattr(torch, module.dtype) if isinstance(module, CausalLM) else torch.float32
        if isinstance(self.module, ParametrizedPolicy):
            self.runs, self.weights = self.module.inner, self.module.weights
        self.stateful = isinstance(module, StatefulPolicy)
        replaced = replace_layers(self.runs, self.weights)
        self.form = Form.VMAP if replaced is None else Form.LAYERS
        self.keeps_axes = self.writes_input = self.draws = self.shares = False
        self._members = 0  # that are bound
        # See `_member_by_member`: it, the row that it runs, and the layers' functions of that row.
        self._one_by_one: Callable[[Iterable[Tensor]], Tensor] | None = None
        self._alone: tuple[Tensor, list[Callable[..., Any]]] | None = None
        self.statistics = statistics_slots(self.runs)
        self._parameters: dict[str, Tensor] = {}  # in all forms but LAYERS: (B, *shape), torch's shapes; and statistics
        # In MEMBERS and ROWS: the module that takes each member's parameters in turn, and these parameters.
        self._single: tuple[nn.Module, dict[str, Tensor]] | None = None
        self._memory: dict[str, Tensor] = {}
        self.tenant: object = None
        self._centre: tuple[Tensor, ...] = ()
        self._graphs: CudaGraphs | None = None  # on a GPU; see `run`
        self._small, self._members = False, 0  # the latter: that are bound, with rows that are computed for nobody
        self._moves = 0  # how often `storage` may have changed
        if replaced is not None:
            self._call, self._layers = replaced
            # Looking for hooks where there are none takes as long as a small layer.
            called = has_hooks(self._call) or isinstance(self._call, MemberLayer)
            self._enter: Callable[..., Any] = self._call if called else self._call.forward
            self._convolves = any(isinstance(layer, Convolution) for layer in self._layers) and not self.statistics
            for layer in self._layers if self.statistics else ():
                if isinstance(layer, Convolution):
                    layer.by_rows = False  # so that statistics on the reference batch keep their bits

    @property
    def materialises(self) -> bool:
        """Whether each member needs all its parameters written out."""
        return self.form is not Form.LAYERS

    @property
    def parametrized(self) -> bool:
        """Whether the parameters of the module that runs are a function of the searched ones; see `weights_of`."""
        return self.runs is not self.module

    def weights_of(self, parameters_BP: Tensor) -> Tensor:
        """Maps searched parameters to those of the module that runs: (B, P) -> (B, W); mostly the same tensor."""
        if not isinstance(self.module, ParametrizedPolicy):
            return parameters_BP
        with torch.no_grad():
            return self.module.parameters_of(parameters_BP)

    def fall_back(self, form: Form) -> None:
        """Runs in a slower form from now on."""
        self.form, self.keeps_axes, self.shares = form, False, False
        if form is not Form.LAYERS and "_call" in self.__dict__:
            del self._call, self._layers, self._enter

    @property
    def bound(self) -> nn.Module:
        """The module with its layers replaced, which takes the rows of one bound member after the other."""
        if self.materialises:
            raise TypeError(f"{type(self.module).__name__} runs {self.form.value}, and has no layers to bind.")
        return self._call

    def forget(self) -> None:
        """Drops the bound members' tensors; `bind` must be called before the next call."""
        self._parameters, self._single, self._one_by_one, self._alone = {}, None, None, None
        for layer in self._layers if self.form is Form.LAYERS else ():
            layer.unbind()

    def __getstate__(self) -> dict[str, Any]:
        # Without the bound members: a pickled view would carry its whole matrix to the workers.
        nothing: dict[str, Any] = {"_parameters": {}, "_memory": {}, "_centre": (), "tenant": None, "_graphs": None}
        return {**self.__dict__, **nothing, "_single": None, "_one_by_one": None, "_alone": None}

    def to(self, device: str | torch.device) -> Self:
        """Moves the module to a device; members must be on it, too."""
        generates = isinstance(self.module, CausalLM)
        if not generates:  # whose module has no numbers
            self.module.to(device)
        self._single = None
        if not self.materialises:
            self._call.to(device)
        recordable = torch.device(device).type == "cuda" and self.form not in (Form.MEMBERS, Form.ROWS)
        recordable = recordable and not generates
        self._graphs = self.graphs() if recordable and not self.draws else None
        return self

    def graphs(self, **settings: Any) -> CudaGraphs:
        """Returns what runs this forward as recorded graphs.

        Args:
            settings: Further arguments of `CudaGraphs`.
        """
        return CudaGraphs(self, lambda: self.storage, version=lambda: self._moves, **settings)

    def memory(self, name: str, rows: int, size: int, device: torch.device) -> Tensor:
        """Returns memory that is kept from chunk to chunk, float32; it holds what the last tenant wrote.

        A GPU may not have room for the members of two chunks, and a recorded graph reads fixed addresses. Each row
        begins on a 64-byte boundary, so that its bits do not depend on its alignment.

        Args:
            name: Name of the memory.
            rows: The smallest number of rows.
            size: Numbers in a row.
            device: The device.

        Returns:
            (at least `rows`, `size`). It is allocated anew only if the memory of this name does not fit.
        """
        held = self._memory.get(name)
        if held is None or len(held) < rows or held.shape[1] != size or held.device != device:
            self.forget()  # so that the old memory is freed before the new is allocated
            held = self.tenant = None
            self._memory.pop(name, None)
            held = self._memory[name] = _allocate(rows, size, device)
            self._moves += 1
        return held

    def free(self) -> None:
        """Frees the members' memory and all recorded graphs. The next members allocate it anew."""
        self.forget()
        self._memory, self._centre, self.tenant = {}, (), None
        self._moves += 1
        if self._graphs is not None:
            self._graphs.forget()

    @property
    def storage(self) -> list[Tensor]:
        """All memory that calls read beside their inputs; it is the same until the next `bind`."""
        return [*self._memory.values(), *self._centre]

    def bind(
        self,
        rows_BQ: Tensor,
        row_layout: RowLayout,
        centre_P: Tensor | None = None,
        statistics_BS: Tensor | None = None,
    ) -> None:
        """Chooses the members that run next.

        Args:
            rows_BQ: A row per member, float32; in all forms but `LAYERS` it holds all parameters, (B, P).
            row_layout: What a row holds.
            centre_P: The centre's parameters, of `dtype`; needed where rows hold low-rank factors.
            statistics_BS: What `measured` returned for these members; needed if `statistics` is not empty.
        """
        self._centre = () if centre_P is None else (centre_P,)
        self._small, self._members = rows_BQ.numel() < LAUNCH_BOUND, len(rows_BQ)
        self._moves += 1
        if not self.materialises:
            if self.dtype is not torch.float32:
                rows_BQ = rows_BQ.to(self.dtype)
            weights = MemberWeights(rows_BQ, row_layout, centre_P, statistics_BS, keeps_axes=self.keeps_axes)
            for layer in self._layers:
                layer.bind(weights)
            if self._convolves and rows_BQ.device.type == "cpu":
                row_1Q = _allocate(1, rows_BQ.shape[1], rows_BQ.device)
                alone = MemberWeights(row_1Q, row_layout, centre_P)
                self._alone = row_1Q[0], [layer.bound_to(alone) for layer in self._layers]
                self._one_by_one = partial(self._member_by_member, rows_BQ)
            return
        if statistics_BS is not None:
            self._parameters |= {slot.name: slot.view(statistics_BS) for slot in self.statistics}
        for slot in self.weights.slots:
            value = slot.view(rows_BQ)
            value = value.transpose(1, 2) if slot.transposed else value
            self._parameters[slot.name] = value if slot.shape else value[..., 0]

    def measured(self, rows_bQ: Tensor, row_layout: RowLayout, centre_P: Tensor | None = None) -> Tensor:
        """Runs some members on the reference batch, and returns their statistics, (b, S). `bind` must be called anew.

        In the form `LAYERS` these are scale and shift of each channel, in the others its mean and variance.

        Args:
            rows_bQ: As `bind` takes them.
            row_layout: As `bind` takes it.
            centre_P: As `bind` takes it.
        """
        rows_bS = rows_bQ.new_zeros(len(rows_bQ), self.statistics[-1].span.stop)
        inputs = self._reference(rows_bQ.device)
        if not self.materialises:
            norms = [layer for layer in self._layers if isinstance(layer, VirtualBatchNorm)]
            with _measuring(norms):
                self.bind(rows_bQ, row_layout, centre_P, rows_bS)
                self._call(*(part.repeat(len(rows_bQ), *[1] * (part.dim() - 1)) for part in inputs))
                found = {slot.name: value for layer in norms for slot, value in layer.found()}
        else:
            self.bind(rows_bQ, row_layout, centre_P, rows_bS)
            found = self._measured_by_torch(inputs)
        for slot in self.statistics:
            rows_bS[:, slot.span] = found[slot.name]
        return rows_bS

    def _measured_by_torch(self, inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """`measured` in the forms that leave the module as it is: means and variances, (b, C), by name."""
        if self.form is Form.VMAP:

            def of_one(parameters: dict[str, Tensor]) -> dict[str, Tensor]:
                return virtual_batch_norm.statistics(self.runs, partial(self._one_member, parameters, *inputs))

            by_name: dict[str, Tensor] = vmap(of_one, randomness="different")(self._parameters)
            return by_name
        each = []
        for b in range(len(next(iter(self._parameters.values())))):
            member = self._as_member(b)
            each.append(virtual_batch_norm.statistics(member, partial(member, *inputs)))
        return {name: torch.stack([one[name] for one in each]) for name in each[0]}

    def _reference(self, device: torch.device) -> tuple[Tensor, ...]:
        """The reference batch on a device and, for a policy with memory, its initial state."""
        reference = virtual_batch_norm.reference_of(self.module)
        assert reference is not None  # `population_forward` requires it
        return tuple(part.to(device) for part in virtual_batch_norm.inputs_of(self.module, reference))

    def width(self, rows: int, memory_BQ: Tensor) -> int:
        """Returns how many rows of their memory are best bound for some members, who have the first of them.

        On a GPU that may be more than there are members, so that few recorded graphs serve all numbers of members. The
        further rows are computed for nobody; `run` returns the others.

        Args:
            rows: Number of members.
            memory_BQ: Their rows and those behind them.
        """
        most = len(memory_BQ)
        records = self._graphs is not None and padded(rows, most) * memory_BQ.shape[1] < LAUNCH_BOUND
        return padded(rows, most) if records else rows

    def run(self, x_BK: Tensor, *state: Tensor) -> Any:
        """Calls this object, for as many members as x has; there may be more bound ones, see `width`.

        On a GPU small populations run as a recorded graph; its next run overwrites the output.
        """
        if self._graphs is not None and self._small:
            return self._graphs(x_BK, *state, width=self._members)
        return self(x_BK, *state)

    def __call__(self, x_BK: Tensor, *state: Tensor) -> Any:
        """Maps (B, K, ...) to (B, K, A), float32; with a state (B, K, S), returns the output and the next state."""
        if self.keeps_axes:
            return self._enter(x_BK, *state)
        inputs = tuple(part.clone() for part in (x_BK, *state)) if self.writes_input else (x_BK, *state)
        if self._one_by_one is not None and not state and x_BK.shape[1] >= MANY_ROWS:
            return self._one_by_one(inputs[0])
        answer = self._run(*inputs)
        return tuple(part.float() for part in answer) if self.stateful else answer.float()

    def shared(self, x_K: Tensor) -> Tensor:
        """Maps rows that all bound members see: (K, ...) to (B, K, A), float32. The policy must have no memory.

        Until the first layer with parameters, the rows are computed once for all members. If the module cannot run so,
        the rows are repeated.
        """
        if not self.shares or self._members == 1:
            answer: Tensor = self(x_K.expand(self._members, *x_K.shape))
            return answer
        if self._one_by_one is not None and len(x_K) >= MANY_ROWS:
            return self._one_by_one(x_K.expand(self._members, *x_K.shape))
        for layer in self._layers:
            layer.share(len(x_K))
        try:
            if self.keeps_axes:
                answer = self._enter(x_K.unsqueeze(0))
                return answer.expand(self._members, *answer.shape[1:])
            answer = self._call(x_K).float()
            return answer.view(self._members, len(x_K), *answer.shape[1:])
        finally:
            for layer in self._layers:
                layer.share(None)

    def _member_by_member(self, rows_BQ: Tensor, x_BK: Iterable[Tensor]) -> Tensor:
        """Runs one member after the other, each with all its rows: (B, K, ...) -> (B, K, A).

        Each is copied into the same row first, and the layers run that row. So its bits depend on nothing else.
        """
        assert self._alone is not None
        row_Q, functions = self._alone
        for layer, function in zip(self._layers, functions, strict=True):
            layer.run_instead(function)
        try:
            answers = []
            for member_Q, x_K in zip(rows_BQ, x_BK, strict=True):
                row_Q.copy_(member_Q)
                answers.append(self._enter(x_K))
            return torch.stack(answers).float()
        finally:
            for layer in self._layers:
                layer.share(None)

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
        own = {name: value.to(self.weights.dtypes.get(name, value.dtype)) for name, value in parameters.items()}
        return functional_call(self.runs, own, inputs)

    def _one_row(self, parameters: dict[str, Tensor], *inputs: Tensor) -> Any:
        answer = self._one_member(parameters, *(part.unsqueeze(0) for part in inputs))
        return _each(lambda part: part[0], answer)

    def _as_member(self, member: int) -> nn.Module:
        """A copy of the module that holds a bound member's parameters until the next call."""
        if self._single is None:
            with torch.inference_mode(False), torch.no_grad():  # it is written to inside and outside inference mode
                single = copy.deepcopy(self.runs)
            self._single = single, {**dict(single.named_parameters()), **dict(single.named_buffers())}
        single, own = self._single
        for name, value in self._parameters.items():
            own[name].copy_(value[member])
        return single


@contextmanager
def _measuring(norms: list[VirtualBatchNorm]) -> Iterator[None]:
    for layer in norms:
        layer.measured = ()
    try:
        yield
    finally:
        for layer in norms:
            layer.measured = None
            layer.unbind()


def _each(change: Callable[[Tensor], Tensor], answer: Any) -> Any:
    """Applies a function to an output, or to both an output and a state."""
    return tuple(map(change, answer)) if isinstance(answer, tuple) else change(answer)


def _stacked(answers: list[Any]) -> Any:
    """Stacks outputs, or both outputs and states, along a new first axis."""
    if isinstance(answers[0], tuple):
        return tuple(torch.stack(parts) for parts in zip(*answers, strict=True))
    return torch.stack(answers)


def _allocate(rows: int, size: int, device: torch.device) -> Tensor:
    """Allocates zeros, (rows, size) float32, each row on a 64-byte boundary."""
    stride = -(-size // ALIGNMENT) * ALIGNMENT
    with torch.inference_mode(False):  # it is written to inside and outside inference mode
        if device.type != "cpu":
            return torch.zeros(rows, stride, device=device)[:, :size]
        # NumPy asks for large pages from 4 MiB on, which are a tenth faster to read; torch does not. It does not align.
        raw = np.zeros(max(rows * stride, LARGE_PAGES) + ALIGNMENT, np.float32)
        start = -(raw.ctypes.data // 4) % ALIGNMENT
        return torch.from_numpy(raw)[start : start + rows * stride].view(rows, stride)[:, :size]
