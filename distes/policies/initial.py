"""Initial parameters of a policy's linear layers and convolutions, as other programs choose them."""

from typing import Literal

import torch
from torch import nn

from distes.errors import ConfigurationError

Initial = Literal["torch", "normc", "zero"]
INITIALS = ("torch", "normc", "zero")


def initialize_(module: nn.Module, init: Initial) -> None:
    """Sets the initial parameters of all linear layers and convolutions, in place.

    torch    Those of torch, which stay.
    normc    Weights are Gaussian, and those of each output have the Euclidean norm 1; biases are 0: `normc_initializer`
             in the released code of Salimans et al. 2017 (arXiv:1703.03864), and of Uber.
    zero     All are 0, as in the code of Mania et al. 2018 (arXiv:1803.07055).

    Args:
        module: The policy, or a part of it.
        init: `torch`, `normc` or `zero`.

    Raises:
        ConfigurationError: `init` is none of them.
    """
    if init not in INITIALS:
        raise ConfigurationError(f"init must be one of {', '.join(INITIALS)}; got {init!r}.", argument="init")
    if init == "torch":
        return
    with torch.no_grad():
        for layer in module.modules():
            if not isinstance(layer, nn.Linear | nn.Conv2d):
                continue
            if init == "normc":
                layer.weight.normal_()
                norm = layer.weight.flatten(1).square().sum(1).sqrt()
                layer.weight.div_(norm.reshape(-1, *[1] * (layer.weight.dim() - 1)))
            else:
                layer.weight.zero_()
            if layer.bias is not None:
                layer.bias.zero_()
