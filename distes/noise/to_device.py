"""Sends small arrays to a device without waiting for what it still computes."""

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor


def to_device(array: NDArray[Any], device: torch.device) -> Tensor:
    """Returns an array as a tensor on a device; the array may be written to afterwards.

    A copy from pageable memory makes the host wait until the GPU has done all earlier work. A copy from page-locked
    memory, which torch keeps for later copies, does not.

    Args:
        array: The array, on the host.
        device: Where the tensor is needed.
    """
    tensor = torch.tensor(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


class Resident:
    """An array that does not change, sent once to the device that needs it; after unpickling it is sent anew."""

    def __init__(self, array: NDArray[Any]) -> None:
        """Sends nothing yet.

        Args:
            array: The array.
        """
        self._array = array
        self._sent: tuple[torch.device, Tensor] | None = None

    def on(self, device: torch.device) -> Tensor:
        """Returns the array on a device; read-only by convention."""
        if self._sent is None or self._sent[0] != device:
            self._sent = device, to_device(self._array, device)
        return self._sent[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_sent": None}
