"""Replaces the layers of a module by layers of many members."""

import copy
from collections.abc import Callable, Mapping

from torch import nn

from distes.members.layers.base import MemberLayer
from distes.members.layers.cells import GRUCell, LSTMCell, RNNCell
from distes.members.layers.convolution import Convolution
from distes.members.layers.embedding import Embedding
from distes.members.layers.linear import Linear
from distes.members.layers.norms import Norm
from distes.members.layers.rms_norm import rms_norm_kind
from distes.members.layers.scaled_embedding import embedding_scale
from distes.members.layers.tied_linear import TiedLinear
from distes.members.layers.virtual_batch_norm import VirtualBatchNorm
from distes.policies import virtual_batch_norm
from distes.policies.layout import Layout, Slot, is_conv1d
from distes.policies.virtual_batch_norm import STATISTICS

CELLS: dict[type, Callable[..., MemberLayer]] = {
    nn.GRUCell: GRUCell,
    nn.LSTMCell: LSTMCell,
    nn.RNNCell: RNNCell,
}


def member_layer(
    name: str, layer: nn.Module, slots: dict[str, Slot], tied: dict[str, str] | None = None
) -> MemberLayer | None:
    """Returns a layer's form for many members, or None where it has none.

    Args:
        name: Its name in the module.
        layer: The layer.
        slots: The slots of all parameters, by name.
        tied: Further names of parameters that two layers share, with the names that have slots.
    """
    prefix = f"{name}." if name else ""
    own = {key: slots.get(prefix + key) for key, _ in layer.named_parameters(recurse=False)}
    kind = type(layer)
    if kind is nn.Linear and own.get("weight") is None and tied and prefix + "weight" in tied:
        shared, bias = slots[tied[prefix + "weight"]], own.get("bias")
        if shared.transposed or ("bias" in own and bias is None):
            return None
        return TiedLinear(shared, bias)
    if not own or None in own.values():  # a parameter shared with an earlier layer is listed there alone
        return None
    weight, bias = own.get("weight"), own.get("bias")
    if weight is not None:
        if kind is nn.Linear or is_conv1d(layer):
            return Linear(weight, bias)
        if isinstance(layer, nn.Conv1d | nn.Conv2d) and kind in (nn.Conv1d, nn.Conv2d):
            return Convolution(weight, bias, layer)
        if (scale := embedding_scale(layer)) is not None:
            return Embedding(weight, scale)
        if isinstance(layer, nn.LayerNorm | nn.RMSNorm | nn.GroupNorm) and kind in (
            nn.LayerNorm,
            nn.RMSNorm,
            nn.GroupNorm,
        ):
            return Norm(weight, bias, layer)
        if (norm := rms_norm_kind(layer)) is not None:
            plain = nn.RMSNorm(weight.shape, norm.eps, elementwise_affine=False)
            return Norm(weight, None, plain, plus_one=norm.plus_one)
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


def tied_parameters(module: nn.Module, slots: Mapping[str, Slot]) -> dict[str, str]:
    """Returns the names of parameters that an earlier layer has, too, each with the name that has a slot."""
    names = {id(one): name for name, one in module.named_parameters() if name in slots}
    every = module.named_parameters(remove_duplicate=False)
    return {name: names[id(one)] for name, one in every if id(one) in names and names[id(one)] != name}


def left_over(module: nn.Module, layout: Layout) -> list[str]:
    """Returns which layers have parameters and no form for many members, such as `model.experts (MoE)`."""
    slots = {slot.name: slot for slot in (*layout.slots, *statistics_slots(module))}
    tied = tied_parameters(module, slots)
    return [
        f"{name} ({type(layer).__name__})" if name else type(layer).__name__
        for name, layer in module.named_modules()
        if any(True for _ in layer.parameters(recurse=False)) and member_layer(name, layer, slots, tied) is None
    ]


def replace_layers(module: nn.Module, layout: Layout) -> tuple[nn.Module, list[MemberLayer]] | None:
    """Copies a module and replaces its layers.

    Returns:
        The copy and its new layers; None where a parameter is in no layer that can be replaced.
    """
    slots = {slot.name: slot for slot in (*layout.slots, *statistics_slots(module))}
    tied = tied_parameters(module, slots)
    copied = copy.deepcopy(module)
    layers, covered = [], set[str]()
    for name, layer in list(copied.named_modules(remove_duplicate=False)):
        new = member_layer(name, layer, slots, tied)
        if new is None:
            continue
        if not name:
            copied = new
        else:
            parent, _, child = name.rpartition(".")
            setattr(copied.get_submodule(parent), child, new)
        layers.append(new)
        prefix = f"{name}." if name else ""
        covered |= {prefix + key for key, _ in layer.named_parameters(recurse=False)} - tied.keys()
    return (copied, layers) if covered == {slot.name for slot in layout.slots} else None
