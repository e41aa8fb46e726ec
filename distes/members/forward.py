"""Runs one torch module for many members, each with its own row of a matrix of parameters.

Each Linear, Conv1d, Conv2d, Embedding, LayerNorm, GroupNorm, RMSNorm, VirtualBatchNorm, GRUCell, LSTMCell and RNNCell
of the module is replaced by a layer that applies every member's own weights to its own rows; see `layered`. The
module's own forward then runs as written, on B * K rows. A module with parameters elsewhere runs as it is, which is
slower; see `functional`. `trial` chooses the form.

A member's outputs do not depend on the members beside it. On a CPU, and with all parameters written out, this holds to
the last bit. On a GPU the last bits depend on the number of members, since cuBLAS and cuDNN choose an algorithm by the
size of the batch: the same chunk gives the same bits again, but a member replayed alone may differ from itself in the
chunk.

Axes: B members, K rows per member, P parameters, Q numbers of a member's row, A outputs, S numbers of a memory, or
statistics of a member on the reference batch.
"""

import copy
from typing import Any, Self

import torch
from torch import Tensor, nn

from distes.errors import ConfigurationError, raised
from distes.members.aligned_rows import aligned_rows
from distes.members.cuda_graph import CudaGraphs, padded
from distes.members.form import Form
from distes.members.functional import Functional
from distes.members.layered import Layered
from distes.members.layers.replace import statistics_slots
from distes.perturbations.row_layout import RowLayout
from distes.policies import virtual_batch_norm
from distes.policies.base import StatefulPolicy
from distes.policies.language.causal_lm import CausalLM
from distes.policies.layout import Layout
from distes.policies.parametrized import ParametrizedPolicy

LAUNCH_BOUND = 2**24  # floats of rows below which a GPU takes longer to launch a layer than to read its weights


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
        statistics: Where each layer's statistics lie in a member's row of statistics; empty if the module needs none.
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
        self.statistics = statistics_slots(self.runs)
        self._layered = Layered.of(self.runs, self.weights)
        self._functional = Functional(self.runs, self.weights, self.statistics)
        self.form = Form.VMAP if self._layered is None else Form.LAYERS
        self.keeps_axes = self.writes_input = self.draws = self.shares = False
        self._memory: dict[str, Tensor] = {}
        self.tenant: object = None
        self._centre: tuple[Tensor, ...] = ()
        self._graphs: CudaGraphs | None = None  # on a GPU; see `run`
        self._small = False
        self._members = 0  # bound rows, padding included; see `width`
        self._moves = 0  # how often `storage` may have changed

    @property
    def materialises(self) -> bool:
        """Whether each member needs all its parameters written out."""
        return self._layered is None

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
        if form is not Form.LAYERS:
            self._layered = None

    @property
    def bound(self) -> nn.Module:
        """The module with its layers replaced, which takes the rows of one bound member after the other."""
        if self._layered is None:
            raise TypeError(f"{type(self.module).__name__} runs {self.form.value}, and has no layers to bind.")
        return self._layered.module

    def forget(self) -> None:
        """Drops the bound members' tensors; `bind` must be called before the next call."""
        self._functional.unbind()
        if self._layered is not None:
            self._layered.unbind()

    def __getstate__(self) -> dict[str, Any]:
        # Without the bound members: a pickled view would carry its whole matrix to the workers.
        return {**self.__dict__, "_memory": {}, "_centre": (), "tenant": None, "_graphs": None}

    def to(self, device: str | torch.device) -> Self:
        """Moves the module to a device; members must be on it, too."""
        generates = isinstance(self.module, CausalLM)
        if not generates:  # whose module has no numbers
            self.module.to(device)
        self._functional.moved()
        if self._layered is not None:
            self._layered.module.to(device)
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
            held = self._memory[name] = aligned_rows(rows, size, device)
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
        if self._layered is None:
            self._functional.bind(rows_BQ, statistics_BS)
            return
        if self.dtype is not torch.float32:
            rows_BQ = rows_BQ.to(self.dtype)
        self._layered.bind(rows_BQ, row_layout, centre_P, statistics_BS, keeps_axes=self.keeps_axes)

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
        if self._layered is not None:
            with self._layered.measuring():
                self.bind(rows_bQ, row_layout, centre_P, rows_bS)
                found = self._layered.measured(*inputs)
        else:
            self.bind(rows_bQ, row_layout, centre_P, rows_bS)
            found = self._functional.measured(self.form, *inputs)
        for slot in self.statistics:
            rows_bS[:, slot.span] = found[slot.name]
        return rows_bS

    def _reference(self, device: torch.device) -> tuple[Tensor, ...]:
        """The reference batch on a device and, for a policy with memory, its initial state."""
        reference = virtual_batch_norm.reference_of(self.module)
        assert reference is not None  # `population_forward` requires it
        return tuple(part.to(device) for part in virtual_batch_norm.inputs_of(self.module, reference))

    def width(self, rows: int, memory_BQ: Tensor) -> int:
        """Returns how many rows of a memory to bind for the members in its first rows.

        On a GPU this may be more than there are members, so that a few recorded graphs suffice for all numbers of
        members. The further rows are padding, and `run` drops their outputs.

        Args:
            rows: Number of members.
            memory_BQ: The whole memory; the members have its first rows.
        """
        most = len(memory_BQ)
        records = self._graphs is not None and padded(rows, most) * memory_BQ.shape[1] < LAUNCH_BOUND
        return padded(rows, most) if records else rows

    def run(self, x_BK: Tensor, *state: Tensor) -> Any:
        """Calls this object for the members that x has rows for; more rows may be bound, see `width`.

        On a GPU a small population runs as a recorded graph, whose next run overwrites the output.
        """
        if self._graphs is not None and self._small:
            return self._graphs(x_BK, *state, width=self._members)
        return self(x_BK, *state)

    def __call__(self, x_BK: Tensor, *state: Tensor) -> Any:
        """Maps (B, K, ...) to (B, K, A), float32; with a state (B, K, S), returns the output and the next state."""
        layered = self._layered
        if layered is not None and self.keeps_axes:
            return layered.enter(x_BK, *state)
        inputs = tuple(part.clone() for part in (x_BK, *state)) if self.writes_input else (x_BK, *state)
        answer = layered(*inputs) if layered is not None else self._functional(self.form, *inputs)
        return tuple(part.float() for part in answer) if self.stateful else answer.float()

    def shared(self, x_K: Tensor) -> Tensor:
        """Maps rows that all bound members see: (K, ...) to (B, K, A), float32. The policy must have no memory.

        Until the first layer with parameters, the rows are computed once for all members. If the module cannot run so,
        the rows are repeated.
        """
        if self._layered is None or not self.shares or self._members == 1:
            answer: Tensor = self(x_K.expand(self._members, *x_K.shape))
            return answer
        return self._layered.shared(x_K)
