"""An optimiser's step along a gradient of fitness.

Salimans et al. 2017, arXiv:1703.03864, algorithm 2, line 11. Axes: P parameters.
"""

from distes.population import Floats
from distes.strategies.update.decay import Decay
from distes.strategies.update.estimate import norm, not_finite, of_step
from distes.strategies.update.optimizer import FlatOptimizer


def ascend(optimizer: FlatOptimizer, gradient_P: Floats, decay: Decay, generation: int) -> dict[str, float]:
    """Takes an optimiser's step along a gradient of fitness, and returns its metrics.

    Args:
        optimizer: Holds the centre, and the learning rate of this step.
        gradient_P: The gradient of fitness, which is maximised.
        decay: Weight decay, added to the gradient before the optimiser sees it (not decoupled).
        generation: The generation, from 0, for messages.

    Raises:
        ConfigurationError: The centre or the optimiser's memory is no longer finite; the step has been taken.
    """
    before_P = optimizer.centre_P
    # The one minus sign: torch's optimisers minimise, and fitness is maximised. In place, since vectors may be large.
    descended_P = decay.gradient(before_P)
    descended_P -= gradient_P
    optimizer.step(descended_P)
    after_P = optimizer.centre_P
    if not optimizer.is_finite():
        raise not_finite(generation)
    return {
        "norm/gradient": norm(gradient_P),
        **of_step(before_P, after_P),
        **decay.metrics(after_P),
        "learning_rate": optimizer.learning_rate,
    }
