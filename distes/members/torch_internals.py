"""Everything that distes uses of torch without torch promising it, as seen in torch 2.13.

Each function says what it is for. `tests/test_internals.py` fails when a part is gone, and says which.
"""

import torch
from torch import nn


def has_hooks(module: nn.Module) -> bool:
    """Returns whether a module has forward hooks of its own, so that `module(x)` does more than `module.forward(x)`.

    Without hooks, `forward` is called directly: the search for hooks in `nn.Module.__call__` takes as long as a small
    layer.
    """
    return bool(module._forward_hooks or module._forward_pre_hooks)


def spare_the_compiler() -> None:
    """Saves the import of torch's compiler, which takes a second, longer than the rest of the start.

    `torch.optim.Optimizer.add_param_group` imports the compiler only to mark its own function as not to be compiled. A
    mark that is there already is not set again, so it is set here. Other versions of torch are left as they are, and
    import the compiler.
    """
    method = getattr(torch.optim.Optimizer.add_param_group, "__wrapped__", None)
    if method is not None and not hasattr(method, "__dynamo_disable"):
        setattr(method, "__dynamo_disable", method)
