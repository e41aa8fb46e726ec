"""Replaces the layers of a module by layers of many members."""

import copy
from collections.abc import Callable

from torch import nn

from distes.members.layers.base import MemberLayer
from distes.members.layers.cells import GRUCell, LSTMCell, RNNCell
from distes.members.layers.convolution import Convolution
from distes.members.layers.embedding import Embedding
from distes.members.layers.linear import Linear
from distes.members.layers.norms import Norm
from distes.members.layers.virtual_batch_norm import VirtualBatchNorm
from distes.policies import virtual_batch_norm
from distes.policies.layout import Layout, Slot
from distes.policies.virtual_batch_norm import STATISTICS

CELLS: dict[type, Callable[..., MemberLayer]] = {
    nn.GRUCell: GRUCell,
    nn.LSTMCell: LSTMCell,
    nn.RNNCell: RNNCell,
}


def member_layer(name: str, layer: nn.Module, slots: dict[str, Slot]) -> MemberLayer | None:
    """Returns a layer's form for many members, or None where it has none."""
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
        if type(layer) is virtual_batch_norm.VirtualBatchNorm and bias is not None:
            mean, variance = (slots[prefix + name] for name in STATISTICS)
            return VirtualBatchNorm(weight, bias, (mean, variance), layer)
    of_input, of_memory = own.get("weight_ih"), own.get("weight_hh")
    if isinstance(layer, nn.RNNCellBase) and kind in CELLS and of_input is not None and of_memory is not None:
        if isinstance(layer, nn.RNNCell) and layer.nonlinearity != "tanh":
            return None
        biases = own.get("bias_ih"), own.get("bias_hh")
        return CELLS[kind]((of_input, of_memory), biases, layer.hidden_size)
    return None


def statistics_slots(module: nn.Module) -> tuple[Slot, ...]:
    """Returns where the statistics of a module's virtual batch normalisation lie in a member's row of statistics."""
    slots, start = list[Slot](), 0
    for layer_name, layer in virtual_batch_norm.layers_of(module).items():
        for name in STATISTICS:
            slots.append(Slot(f"{layer_name}.{name}".removeprefix("."), (layer.features,), start))
            start += layer.features
    return tuple(slots)


def replace_layers(module: nn.Module, layout: Layout) -> tuple[nn.Module, list[MemberLayer]] | None:
    """Copies a module and replaces its layers.

    Returns:
        The copy and its new layers; None where a parameter is in no layer that can be replaced.
    """
    slots = {slot.name: slot for slot in (*layout.slots, *statistics_slots(module))}
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
    return (copied, layers) if covered == {slot.name for slot in layout.slots} else None
