"""Normalisation by the root mean square as language models write it: modules of many names, known by what they do."""

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812, torch's own abbreviation

EPSILONS = ("variance_epsilon", "eps", "epsilon")


class RMSNormKind(NamedTuple):
    """What such a layer computes.

    Attributes:
        eps: Added to the mean square.
        plus_one: Whether it scales by 1 + weight, as Gemma does, and not by its weight.
    """

    eps: float
    plus_one: bool


def rms_norm_kind(layer: nn.Module) -> RMSNormKind | None:
    """Finds out what a module called *RMSNorm computes, by running it; None if it is no such norm.

    Args:
        layer: The module; it is not changed. Its weight may be on the meta device.
    """
    parameters = dict(layer.named_parameters(recurse=False))
    if not type(layer).__name__.endswith("RMSNorm") or set(parameters) != {"weight"} or parameters["weight"].dim() != 1:
        return None
    size = len(parameters["weight"])
    weight, x = torch.linspace(0.5, 1.5, size), _rows(size)
    own = copy.deepcopy(layer, memo={id(parameters["weight"]): nn.Parameter(weight, requires_grad=False)})
    eps = next((float(value) for name in EPSILONS if isinstance(value := getattr(layer, name, None), float)), None)
    if eps is None:
        return None
    try:
        with torch.no_grad():
            got = own(x)
    except Exception:  # whatever a foreign forward raises, it is no norm that is known here
        return None
    for plus_one in (False, True):
        expected = F.rms_norm(x, (size,), None, eps) * (weight + plus_one)
        if isinstance(got, Tensor) and got.shape == x.shape and torch.allclose(got, expected, rtol=1e-5, atol=1e-6):
            return RMSNormKind(eps, plus_one)
    return None


def _rows(size: int) -> Tensor:
    """Small, usual and large rows: the small ones show what is added to the mean square."""
    x = torch.sin(torch.arange(3.0 * size)).view(3, size)
    return x * torch.tensor([[1e-3], [1.0], [30.0]])
