"""Weights that two layers share, such as an embedding that is also the last layer: a state lists them once.

torch's own `state_dict` lists them under each layer's name, as tensors of their own once they are on disk.
"""

from typing import Any

import torch
from torch import nn


def list_once(module: nn.Module) -> None:
    """Changes a module's `state_dict` and `load_state_dict`: shared weights have the name of `named_parameters` only.

    A state that lists them under all names can be loaded, too, if their numbers are equal.
    """
    module.register_state_dict_post_hook(_leave_out)
    module.register_load_state_dict_pre_hook(_put_back)


def further_names(module: nn.Module) -> dict[str, str]:
    """Returns the names of parameters that an earlier layer has, too, each with its name there."""
    first = {id(one): name for name, one in module.named_parameters()}
    every = module.named_parameters(remove_duplicate=False)
    return {name: first[id(one)] for name, one in every if first[id(one)] != name}


def _leave_out(module: nn.Module, state: dict[str, Any], prefix: str, metadata: dict[str, Any]) -> None:
    for name in further_names(module):
        state.pop(prefix + name, None)


def _put_back(
    module: nn.Module,
    state: dict[str, Any],
    prefix: str,
    metadata: dict[str, Any],
    strict: bool,
    missing: list[str],
    unexpected: list[str],
    errors: list[str],
) -> None:
    for name, first in further_names(module).items():
        if prefix + first not in state:
            continue  # torch says that it is missing
        shared, listed = state[prefix + first], state.setdefault(prefix + name, state[prefix + first])
        if listed is not shared and not torch.equal(listed, shared):
            errors.append(f"{prefix + name} is tied to {prefix + first}, and the state has other numbers for it")
