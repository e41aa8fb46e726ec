"""Weight decay, towards zero or towards the initial centre.

The latter is the anchored weight decay of Schweighofer, Hayes, Dailey, Miikkulainen and Qiu 2026, "Overcoming
Forgetting in LLM Fine-Tuning with Evolution Strategies", arXiv:2605.30148: a penalty on the distance from the initial
parameters.

Axes: P parameters.
"""

import hashlib
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal

import numpy as np

from distes.errors import ConfigurationError, did_you_mean
from distes.population import Floats
from distes.runs.state_check import require
from distes.strategies.arguments import require_finite
from distes.strategies.update.estimate import norm
from distes.strategies.update.optimizer import FlatOptimizer, require_size

Towards = Literal["zero", "initial"]
TOWARDS = ("zero", "initial")


class Decay:
    """The gradient of l2_coeff / 2 |theta - origin|^2, with the origin 0 or the initial centre. It never changes.

    Attributes:
        initial_P: The origin, (P,) float32, read-only; None for 0.
    """

    def __init__(self, l2_coeff: float, towards: Towards, optimizer: FlatOptimizer) -> None:
        """Keeps a copy of the optimiser's centre if decay is towards the initial one.

        Args:
            l2_coeff: The coefficient.
            towards: `zero` or `initial`.
            optimizer: The optimiser, at the initial centre.

        Raises:
            ConfigurationError: The coefficient is negative or not finite, there is no such origin, or the optimiser
                decays towards zero on its own account.
        """
        require_finite("l2_coeff", l2_coeff, at_least=0)
        if towards not in TOWARDS:
            raise ConfigurationError(
                f"decay_towards must be one of {', '.join(TOWARDS)}; got {towards!r}.{did_you_mean(towards, TOWARDS)}",
                argument="decay_towards",
            )
        self._l2_coeff, self.initial_P = np.float32(l2_coeff), None
        if towards == "initial":
            _require_no_other(optimizer)
            self.initial_P = optimizer.centre_P
            self.initial_P.flags.writeable = False

    def __deepcopy__(self, memo: object) -> "Decay":
        return self  # a worker's copy of the strategy needs no copy of the initial centre

    def gradient(self, centre_P: Floats) -> Floats:
        """Returns l2_coeff (theta - origin), (P,) float32, which is added to the gradient that is descended."""
        from_origin_P = centre_P if self.initial_P is None else centre_P - self.initial_P
        gradient_P: Floats = self._l2_coeff * from_origin_P
        return gradient_P

    def metrics(self, centre_P: Floats) -> dict[str, float]:
        """Returns the distance of a centre from the initial one, where that is known."""
        return {} if self.initial_P is None else {"norm/from_initial": norm(centre_P - self.initial_P)}

    def state_dict(self) -> dict[str, str]:
        """Returns a digest of the initial centre, which is not saved itself: a resumed run starts from it."""
        return {} if self.initial_P is None else {"initial": self._digest}

    def check(self, state: Mapping[str, Any]) -> None:
        """Checks that a state is of a strategy that started from the same initial centre.

        Raises:
            ConfigurationError: The stored centre has another size.
            CheckpointError: The initial centre was another one.
        """
        if self.initial_P is not None:
            require_size(np.asarray(state["centre_P"]), len(self.initial_P))
            wanted = f"{self._digest!r}, the digest of the initial parameters that this strategy decays towards"
            require(state.get("initial") == self._digest, "/initial", wanted)

    @cached_property
    def _digest(self) -> str:
        assert self.initial_P is not None
        return hashlib.sha256(self.initial_P.data).hexdigest()[:16]


def _require_no_other(optimizer: FlatOptimizer) -> None:
    """Checks that an optimiser has no weight decay of its own, which is always towards zero.

    Raises:
        ConfigurationError: It has.
    """
    for name in ("weight_decay", "lambd"):  # the latter is ASGD's
        value = optimizer.argument(name)
        if value:
            raise ConfigurationError(
                f"decay_towards initial, and {name} {value:g} of {optimizer.title} decays towards zero: set "
                f"optimizer_args to {{{name}: 0}}, and l2_coeff to the decay that you want.",
                argument="decay_towards",
            )
