"""Chooses the form in which a policy runs for many members, by comparing each form with the policy itself.

A form that fails, or gives other outputs than the module itself, is not chosen; see `own_answers`.

Axes: B members, K rows per member, W parameters of the module that runs, S statistics on the reference batch.
"""

import warnings

import torch
from torch import nn

from distes.errors import ConfigurationError, DistesWarning, raised
from distes.members.form import Form
from distes.members.forward import Forward
from distes.members.language_trial import require_agreement
from distes.members.layers.replace import left_over
from distes.members.own_answers import OwnAnswers, agree
from distes.members.watch import Watch
from distes.noise.global_randomness import fingerprint, seeded
from distes.perturbations.row_layout import RowLayout
from distes.policies.language.causal_lm import CausalLM
from distes.policies.layout import Layout
from distes.policies.virtual_batch_norm import layers_of, reference_of

NAMED = 3  # layers in a warning
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
        sentences = _Trial(forward, OwnAnswers(forward, observation_shape)).choose()
    for sentence in sentences:
        warnings.warn(f"The policy {type(module).__name__} {sentence}", DistesWarning, stacklevel=2)
    return forward


class _Trial:
    """Compares the forms of a module with the module's own answers."""

    def __init__(self, forward: Forward, own: OwnAnswers) -> None:
        self.forward, self.own = forward, own

    def choose(self) -> list[str]:
        """Sets the forward's form, and returns sentences to warn the user with."""
        forward, reasons, sentences = self.forward, list[str](), list[str]()
        forward.writes_input, forward.draws = self.own.writes_input, self.own.draws
        if forward.form is not Form.LAYERS:
            reasons.append(PARTLY_FROZEN if _partly_frozen(forward) else f"{LEFT_OVER}{_named_layers(forward)}")
        if self.own.remembers:
            reasons = ["two calls with one input give two answers"]
            forward.fall_back(Form.ROWS)
        elif self.own.decides and forward.form is Form.LAYERS:
            reasons = [DECIDES]
            forward.fall_back(Form.VMAP)
        # Member by member, it would decide for a whole batch of rows.
        forms = [form for form in Form if form is not Form.MEMBERS or not self.own.decides]
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
        sentences += [DRAWS] * self.own.draws + [REMEMBERS] * self.own.remembers
        forward.forget()
        return sentences

    def _difference(self) -> str | None:
        """Says how the current form's outputs differ from the module's own; None if they agree."""
        form = self.forward.form
        for place, ((members, rows), expected) in enumerate(zip(self.own.sides, self.own.expected, strict=True)):
            inputs = [part[:members, :rows].clone() for part in self.own.inputs]
            try:
                rows_BW, written_out = self.own.weights_BW[:members], RowLayout.written_out(self.forward.weights)
                statistics_BS = self.forward.measured(rows_BW, written_out) if self.forward.statistics else None
                with seeded(0), Watch() as watch:
                    self.forward.bind(rows_BW, written_out, None, statistics_BS)
                    got = self.forward(*inputs)
                    each = rows if form is Form.VMAP_OF_ROWS else 1
                    drawn = watch.drawn * (members * each if form in (Form.VMAP, Form.VMAP_OF_ROWS) else 1)
                    chance = drawn, fingerprint()
                if self.own.draws and chance != self.own.chance[place]:
                    return "members would share random numbers"
                parts = got if self.forward.stateful else (got,)
                if not all(agree(*pair) for pair in zip(parts, expected, strict=True)):
                    return "it gives other answers"
            except Exception as error:  # whatever a foreign forward raises, the next form is the answer
                return f"it {raised(error, SHORT)}"
        return None

    def _can_share(self) -> bool:
        """Whether rows that members share give the answers of the same rows, repeated for each member."""
        forward, written_out = self.forward, RowLayout.written_out(self.forward.weights)
        (x_BK,), shares = self.own.inputs, True
        statistics_BS = forward.measured(self.own.weights_BW, written_out) if forward.statistics else None
        forward.bind(self.own.weights_BW, written_out, None, statistics_BS)
        forward.shares = True
        for rows in {x_BK.shape[1], 1}:
            x_K = x_BK[0, :rows]
            try:
                shares &= agree(forward.shared(x_K.clone()), forward(x_K.expand(len(x_BK), *x_K.shape).clone()))
            except Exception:  # whatever a foreign forward raises when it meets shared rows beside members' own
                shares = False
        return shares


def _named_layers(forward: Forward) -> str:
    """The layers that have no form for many members, such as `: net.3 (BatchNorm1d)`."""
    layers = left_over(forward.module, forward.layout)
    further = f" and {len(layers) - NAMED} more" if len(layers) > NAMED else ""
    return f": {', '.join(layers[:NAMED])}{further}" if layers else ""


def _partly_frozen(forward: Forward) -> bool:
    searched = {slot.name for slot in forward.weights.slots}
    frozen = {name for name, _ in forward.runs.named_parameters()} - searched
    for name, layer in forward.runs.named_modules():
        own = {f"{name}.{key}".removeprefix(".") for key, _ in layer.named_parameters(recurse=False)}
        if own & searched and own & frozen:
            return True
    return False
