"""Chooses the form in which a policy runs for many members, by comparing each form with the policy itself.

The reference is the module with one member's parameters, given one observation as a batch of one row. A form that fails
or gives other outputs is not chosen. The trial's numbers of members and rows occur nowhere in the policy, since a batch
of the size of a layer may hide mistakes.

Axes: B members, K rows per member, P parameters, W those of the module that runs, A outputs, S numbers of a policy's
memory.
"""

import copy
import sys
import warnings
from collections.abc import Callable, Iterator
from itertools import permutations
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from distes.errors import ConfigurationError, DistesWarning, raised
from distes.members.form import Form
from distes.members.forward import Forward
from distes.members.language_trial import require_agreement
from distes.noise.global_randomness import fingerprint, seeded
from distes.perturbations.row_layout import RowLayout
from distes.policies.base import StatefulPolicy
from distes.policies.language.causal_lm import CausalLM
from distes.policies.layout import Layout
from distes.policies.virtual_batch_norm import layers_of, reference_of

PRIMES = (2, 3, 5, 7, 11, 13, 17, 19)
MANY = 2**24  # parameters from which on the trial has two members only
OBSERVATIONS: tuple[Callable[[Tensor], Tensor], ...] = (lambda x: x, torch.abs, torch.zeros_like)
SHORT = 200  # characters of an exception's message in a warning

LEFT_OVER = "it has parameters outside the layers that have a form for many members"
PARTLY_FROZEN = "a layer has parameters with and without requires_grad"
FAILED = {
    Form.LAYERS: "its forward does not run with its layers replaced",
    Form.VMAP: "torch.func.vmap cannot run it",
    Form.MEMBERS: "a batch of rows cannot be run at once",
}
DRAWS = (
    "draws random numbers of its own. torch, NumPy and random are seeded for each chunk, so a run repeats with any "
    "number of workers; another --chunk_size, or a member replayed alone, gets other numbers."
)
REMEMBERS = (
    "answers the same input differently the second time, though torch, NumPy and random were seeded alike: it keeps "
    "something between two calls, or has a generator of its own. All members of a worker share that, so results depend "
    "on the number of workers. A memory belongs in the state of a distes.StatefulPolicy."
)

DECIDES = "its forward branches on values, or takes values out of tensors"
TAKES_VALUES = {"item", "tolist", "numpy", "equal", "allclose", "__bool__", "__float__", "__int__", "__index__"}

Answer = tuple[Tensor, ...]  # output (B, K, A) and, for a policy with memory, state (B, K, S)
Chance = tuple[int, bytes]  # the number of torch's draws, and the state of the other generators after them


def population_forward(module: nn.Module, layout: Layout, observation_shape: tuple[int, ...]) -> Forward:
    """Chooses the fastest form of a module that gives the module's own outputs.

    Warns if the module's layers cannot be replaced, if it draws random numbers, and if it keeps a memory of its own.

    Args:
        module: The policy; it is not changed.
        layout: The layout of its parameters.
        observation_shape: The shape of one observation.

    Raises:
        ConfigurationError: The module cannot run on observations of this shape, cannot be copied, or lacks a reference
            batch.
    """
    if layers_of(module) and reference_of(module) is None:
        raise ConfigurationError(
            f"The policy {type(module).__name__} has VirtualBatchNorm layers and no reference batch: call "
            "distes.policies.virtual_batch_norm.set_reference(policy, observations) first, such as with those of "
            "Task.reference_observations."
        )
    forward = Forward(module, layout)
    if isinstance(module, CausalLM):
        require_agreement(module, forward)
        return forward
    with torch.inference_mode(), seeded(0):
        sentences = _Trial(forward, observation_shape).choose()
    for sentence in sentences:
        warnings.warn(f"The policy {type(module).__name__} {sentence}", DistesWarning, stacklevel=2)
    return forward


class _Watch(TorchFunctionMode):
    """Replaces torch's random numbers by constants, and records the values that Python reads from tensors.

    Two forms can then be compared. Draws become 0.5, or 0 for integers; torch's generator advances as usual.

    Attributes:
        values: The values that `if`, `.item()`, `.numpy()` and similar calls have read.
        drawn: The number of random numbers that torch has drawn.
    """

    def __init__(self) -> None:
        super().__init__()
        self.values: list[Any] = []
        self.drawn = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before = torch.get_rng_state()
        made = func(*args, **(kwargs or {}))
        if getattr(func, "__name__", "") in TAKES_VALUES and not _caller().startswith("torch."):
            self.values.append(made.tobytes() if isinstance(made, np.ndarray) else made)
        if not torch.equal(before, torch.get_rng_state()):
            for part in made if isinstance(made, tuple | list) else (made,):
                if isinstance(part, Tensor):
                    self.drawn += part.numel()
                    part.fill_(0.5 if part.is_floating_point() else 0)
        return made


def _caller() -> str:
    """The name of the module that called a torch function: torch's own checks of arguments do not count."""
    name: str = sys._getframe(2).f_globals.get("__name__", "")
    return name


class _Trial:
    """Some members and observations, and the module's own outputs for them."""

    def __init__(self, forward: Forward, observation_shape: tuple[int, ...]) -> None:
        """Computes the module's own outputs.

        Raises:
            ConfigurationError: The module fails.
        """
        self.forward, self.layout = forward, forward.layout
        generator = torch.Generator().manual_seed(0)
        members, rows = _unused_sizes(forward, observation_shape)
        centre_P = torch.from_numpy(self.layout.flatten(forward.module))
        self.weights_BW = forward.weights_of(
            centre_P + 0.1 * torch.randn(members, self.layout.size, generator=generator)
        )
        x_KB = torch.randn(rows, members, *observation_shape, generator=generator)
        scale_K = torch.logspace(-0.5, 0.5, rows).view(-1, *[1] * (x_KB.dim() - 1))  # small and large observations
        x_BK = (scale_K * x_KB).transpose(0, 1).contiguous()
        self.sides = (members, rows), (members, 1), (1, 1)
        self.chance: list[Chance] = []  # that the module's own outputs used, by sides
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

    def choose(self) -> list[str]:
        """Sets the forward's form, and returns sentences to warn the user with."""
        forward, reasons, sentences = self.forward, list[str](), list[str]()
        forward.writes_input, forward.draws = self.writes_input, self.draws
        if forward.form is not Form.LAYERS:
            reasons.append(PARTLY_FROZEN if _partly_frozen(forward) else LEFT_OVER)
        if self.remembers:
            reasons = ["two calls with one input give two answers"]
            forward.fall_back(Form.ROWS)
        elif self.decides and forward.form is Form.LAYERS:
            reasons = [DECIDES]
            forward.fall_back(Form.VMAP)
        forms = [
            form for form in Form if form is not Form.MEMBERS or not self.decides
        ]  # it would decide for the whole batch
        for form in forms[forms.index(forward.form) :]:
            forward.fall_back(form)
            difference = self._difference()
            if difference is None or form is Form.ROWS:
                break
            if form in FAILED:
                reasons.append(f"{FAILED[form]} ({difference})")
        if forward.form is Form.LAYERS:
            forward.keeps_axes = not forward.writes_input
            forward.keeps_axes = forward.keeps_axes and self._difference() is None
            # A module that draws has to draw for each member.
            forward.shares = not (forward.writes_input or forward.draws or forward.stateful) and self._can_share()
        else:
            slow = "slower" if forward.form is Form.VMAP else "slow"
            sentences.append(f"runs {forward.form.value}, which is {slow}: {'; '.join(reasons)}.")
        sentences += [DRAWS] * self.draws + [REMEMBERS] * self.remembers
        forward.forget()
        return sentences

    def _difference(self) -> str | None:
        """Says how the current form's outputs differ from the module's own; None if they agree."""
        form = self.forward.form
        for place, ((members, rows), expected) in enumerate(zip(self.sides, self.expected, strict=True)):
            inputs = [part[:members, :rows].clone() for part in self.inputs]
            try:
                rows_BW, written_out = self.weights_BW[:members], RowLayout.written_out(self.forward.weights)
                statistics_BS = self.forward.measured(rows_BW, written_out) if self.forward.statistics else None
                with seeded(0), _Watch() as watch:
                    self.forward.bind(rows_BW, written_out, None, statistics_BS)
                    got = self.forward(*inputs)
                    each = rows if form is Form.VMAP_OF_ROWS else 1
                    drawn = watch.drawn * (members * each if form in (Form.VMAP, Form.VMAP_OF_ROWS) else 1)
                    chance = drawn, fingerprint()
                if self.draws and chance != self.chance[place]:
                    return "members would share random numbers"
                parts = got if self.forward.stateful else (got,)
                if not all(_agree(*pair) for pair in zip(parts, expected, strict=True)):
                    return "it gives other answers"
            except Exception as error:  # whatever a foreign forward raises, the next form is the answer
                return f"it {raised(error, SHORT)}"
        return None

    def _can_share(self) -> bool:
        """Whether rows that members share give the answers of the same rows, repeated for each member."""
        forward, written_out = self.forward, RowLayout.written_out(self.forward.weights)
        (x_BK,), agree = self.inputs, True
        statistics_BS = forward.measured(self.weights_BW, written_out) if forward.statistics else None
        forward.bind(self.weights_BW, written_out, None, statistics_BS)
        forward.shares = True
        for rows in {x_BK.shape[1], 1}:
            x_K = x_BK[0, :rows]
            try:
                agree &= _agree(forward.shared(x_K.clone()), forward(x_K.expand(len(x_BK), *x_K.shape).clone()))
            except Exception:  # whatever a foreign forward raises when it meets shared rows beside members' own
                agree = False
        return agree

    def _own_answer(self, members: int, rows: int) -> Answer:
        """Returns the module's outputs with each member's parameters, row by row; runs twice to find a memory."""
        module = copy.deepcopy(self.forward.runs)
        inputs = [part[:members, :rows] for part in self.inputs]
        answers = []
        for _ in range(2):
            with seeded(0):
                self.drawn, before = 0, fingerprint()
                parts = list(self._by_row(module, inputs))
                chance = self.drawn, fingerprint()
                self.draws |= chance != (0, before)
            answers.append(tuple(torch.stack(part).unflatten(0, (members, rows)) for part in zip(*parts, strict=True)))
        self.chance.append(chance)
        self.remembers |= not all(_agree(*pair) for pair in zip(*answers, strict=True))
        return answers[0]

    def _by_row(self, module: nn.Module, inputs: list[Tensor]) -> Iterator[Answer]:
        first: list[Any] | None = None
        for weights_W, *member in zip(self.weights_BW, *inputs, strict=False):
            self.forward.weights.load(module, weights_W.numpy())
            for row in zip(*member, strict=True):
                given = [part.unsqueeze(0).clone() for part in row]
                with _Watch() as watch:
                    answer = module(*given)
                self.drawn += watch.drawn
                first = watch.values if first is None else first
                self.decides |= watch.values != first or any(type(value) is bool for value in watch.values)
                self.writes_input |= any(not _same(part[0], of) for part, of in zip(given, row, strict=True))
                parts = answer if isinstance(answer, tuple) else (answer,)
                yield tuple(part[0].float().clone() for part in parts)

    def _initial_state(self, members: int, rows: int) -> Answer:
        module = self.forward.module
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


def _partly_frozen(forward: Forward) -> bool:
    searched = {slot.name for slot in forward.weights.slots}
    frozen = {name for name, _ in forward.runs.named_parameters()} - searched
    for name, layer in forward.runs.named_modules():
        own = {f"{name}.{key}".removeprefix(".") for key, _ in layer.named_parameters(recurse=False)}
        if own & searched and own & frozen:
            return True
    return False


def _agree(got: Tensor, expected: Tensor) -> bool:
    if got.shape != expected.shape or got.dtype != expected.dtype:
        return False
    return torch.allclose(got, expected, rtol=1e-3, atol=1e-4, equal_nan=True)


def _same(one: Tensor, other: Tensor) -> bool:
    return torch.equal(one.nan_to_num(), other.nan_to_num())
