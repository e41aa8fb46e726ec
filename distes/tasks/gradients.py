"""The gradient of fitness by back-propagation, for tasks whose fitness is a differentiable function of answers.

Axes: P parameters, K rows of a block, A numbers of an answer.
"""

import copy
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from distes.errors import ConfigurationError
from distes.policies import virtual_batch_norm
from distes.policies.base import StatefulPolicy
from distes.policies.layout import Layout
from distes.population import Floats

# Answers (K, A) and targets -> the sum of the rows' fitness, a scalar that can be differentiated.
Total = Callable[[Tensor, Tensor], Tensor]


def gradient(policy: nn.Module, centre_P: Floats, blocks: Iterable[tuple[Tensor, Tensor]], total: Total) -> Floats:
    """Returns the gradient of the mean fitness of rows with regard to the parameters, (P,) float32.

    Args:
        policy: The module; it is copied, and not changed.
        centre_P: Its parameters, (P,).
        blocks: The rows: inputs (K, *shape) and targets.
        total: The fitness of a block, summed over its rows.

    Raises:
        ConfigurationError: No gradient reaches the parameters.
    """
    with torch.no_grad():
        module = copy.deepcopy(policy).eval()
    if virtual_batch_norm.layers_of(module):
        raise ConfigurationError(
            "Virtual batch normalisation measures its statistics without a gradient, so the policy has none that "
            "alignment_every could compare with: leave it out."
        )
    layout = Layout(module)
    layout.load(module, centre_P)
    parameters, rows = dict(module.named_parameters()), 0
    with torch.enable_grad():
        for x_KO, targets in blocks:
            if isinstance(module, StatefulPolicy):
                answers = module(x_KO, module.initial_state(len(x_KO)))[0]
            else:
                answers = module(x_KO)
            fitness = total(answers, targets)
            if not fitness.requires_grad:
                raise ConfigurationError(
                    f"No gradient reaches the parameters of {type(module).__name__} from its fitness, so "
                    "alignment_every has nothing to compare with: leave it out."
                )
            fitness.backward()
            rows += len(x_KO)
    parts = []
    for slot in layout.slots:
        parameter = parameters[slot.name]
        found = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        parts.append((found.T if slot.transposed else found).reshape(-1).float() / rows)
    gradient_P: Floats = torch.cat(parts).numpy()
    return gradient_P
