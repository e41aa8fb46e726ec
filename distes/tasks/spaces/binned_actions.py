"""Box actions in bins: a policy answers with a number for each level of each dimension, and the largest one counts.

As `ac_bins` in the released code of Salimans et al. 2017 (arXiv:1703.03864, section 3.1, discretises the actions of
Hopper and Swimmer so) and of Uber.

Axes: R rows, A action numbers = dimensions * levels, D dimensions, K levels.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from distes.errors import ConfigurationError
from distes.population import Floats
from distes.tasks.spaces import complete
from distes.tasks.spaces.actions import Action, BoxAction

FORMS = "uniform:N, such as uniform:10, or custom:-1,V,...,1"


def levels_of(text: str) -> NDArray[np.float64]:
    """Reads the levels of each dimension, (K,), rising from -1 to 1.

    Args:
        text: `uniform:N`, N levels at equal distances, or `custom:V,V,...`.

    Raises:
        ConfigurationError: It is neither.
    """
    kind, _, rest = text.partition(":")
    try:
        if kind == "uniform":
            levels_K = np.linspace(-1, 1, int(rest))
        elif kind == "custom":
            levels_K = np.array([float(part) for part in rest.split(",")])
        else:
            raise ValueError
        if len(levels_K) < 2 or levels_K[0] != -1 or levels_K[-1] != 1 or not (np.diff(levels_K) > 0).all():
            raise ValueError
    except ValueError as error:
        raise ConfigurationError(
            f"action_bins must be {FORMS}: at least 2 levels, rising from -1 (the lower bound) to 1 (the upper one); "
            f"got {text!r}.",
            argument="action_bins",
        ) from error
    return levels_K


class BinnedAction(Action):
    """A Box action of one of K levels in each dimension: low + (high - low) (level + 1) / 2."""

    noisy, law = True, "gumbel"

    def __init__(self, box: BoxAction, levels_K: NDArray[np.float64]) -> None:
        """Takes the Box and the levels.

        Args:
            box: Clips to the bounds, which are finite.
            levels_K: From -1 to 1, rising.
        """
        self._box, self._groups = box, (box.size, len(levels_K))
        self.size, self.noise_size = box.size * len(levels_K), box.size
        low_D1, high_D1 = (bound.astype(np.float64)[:, None] for bound in box.bounds)
        # (high - low) could overflow
        self._levels_DK = (low_D1 * ((1 - levels_K) / 2) + high_D1 * ((1 + levels_K) / 2)).astype(box.bounds[0].dtype)
        self._tensors: dict[torch.device, Tensor] = {}

    def read_all(self, numbers_RA: Floats, noise_RD: Floats | None = None) -> Any:
        """Returns (R, *shape), in the dtype of the space; noise is added to the levels."""
        place_RD = numbers_RA.reshape(-1, *self._groups).argmax(2)
        return self._box.read_all(self._levels_DK[np.arange(self._groups[0]), place_RD], noise_RD)

    def module(self) -> nn.Module:
        """See the base class."""
        return nn.Sequential(complete.Binned(torch.from_numpy(self._levels_DK.copy())), self._box.module())

    def empty(self, rows: int, device: torch.device) -> Tensor:
        """Returns (R, *shape), in the dtype of the space."""
        self._tensors.setdefault(device, torch.from_numpy(self._levels_DK.copy()).to(device))
        return self._box.empty(rows, device)

    def read_batch(self, numbers_RA: Tensor, out: Tensor, noise_RD: Tensor | None = None) -> None:
        """Writes (R, *shape), in the dtype of the space; noise is added to the levels."""
        place_RD = numbers_RA.unflatten(1, self._groups).argmax(2)
        levels_DK = self._tensors[out.device]
        self._box.read_batch(levels_DK[torch.arange(len(levels_DK), device=out.device), place_RD], out, noise_RD)
