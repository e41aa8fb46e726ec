"""Base class of policies that run another module, whose parameters are a function of the searched vector.

Axes: B members, P searched parameters, W parameters of the module that runs.
"""

import copy
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from distes.policies.layout import Layout
from distes.population import Floats


class ParametrizedPolicy(nn.Module, ABC):
    """A policy that is searched in other coordinates than the parameters of the module that runs.

    Strategies, genomes and checkpoints hold the searched vector, which is that of this module's own parameters. Members
    are written from it and then mapped, and the inner module runs with its layers replaced, as it would by itself. A
    saved policy is the inner module with the parameters that it runs with, so nothing that reads it needs the map.

    Attributes:
        inner: The module that runs. It has no parameter that is searched; its statistics of virtual batch normalisation
            are those of the present parameters.
        weights: The layout of its parameters.
    """

    inner: nn.Module
    weights: Layout

    def __init__(self, inner: nn.Module) -> None:
        """Takes the parameters of the inner module out of the search.

        Args:
            inner: The module that runs; it is changed.
        """
        super().__init__()
        self.weights = Layout(inner)
        self.inner = inner.requires_grad_(False)

    @property
    @abstractmethod
    def description(self) -> dict[str, Any]:
        """`class_path` and `init_args` of the inner module."""

    @abstractmethod
    def parameters_of(self, searched_BP: Tensor) -> Tensor:
        """Maps searched vectors to parameters of the inner module, (B, P) -> (B, W) float32, on their device.

        A row of the result depends, to the last bit, on its own row alone.
        """

    def forward(self, *inputs: Tensor) -> Any:
        """Runs the inner module with the parameters that follow from those of this module."""
        own = dict(self.named_parameters())
        slots = self._searched.slots
        parts = [own[slot.name].T if slot.transposed else own[slot.name] for slot in slots]
        weights_1W = self.parameters_of(torch.cat([part.reshape(-1) for part in parts]).unsqueeze(0))
        dtypes = self.weights.dtypes
        named = {name: value.to(dtypes[name]) for name, value in self.weights.named(weights_1W[0]).items()}
        return functional_call(self.inner, named, inputs)

    @property
    def _searched(self) -> Layout:
        """The layout of the searched vector."""
        if not hasattr(self, "_searched_layout"):
            self._searched_layout = Layout(self)
        return self._searched_layout

    def plain(self) -> nn.Module:
        """Returns a copy of the inner module, with the parameters that it runs with."""
        searched_P = torch.from_numpy(self._searched.flatten(self))
        device = next(self.parameters()).device
        weights_W: Floats = self.parameters_of(searched_P.to(device).unsqueeze(0))[0].detach().cpu().numpy()
        module = copy.deepcopy(self.inner).requires_grad_(True)
        self.weights.load(module, weights_W)
        return module
