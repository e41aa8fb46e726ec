"""The device on which members are evaluated: the CPU, or an NVIDIA GPU through CUDA."""

import os
import socket
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distes.errors import ConfigurationError, EvaluationError
from distes.noise.to_device import to_device

DEVICES = ("auto", "cpu", "cuda")
# Policy size from which a GPU pays off: products then outweigh kernel launches and transfers of observations.
GPU_PARAMETERS = 300_000


@dataclass(frozen=True)
class WorkerPlace:
    """Where a worker runs.

    Attributes:
        node: Host name of its machine.
        pid: Process number.
        device: `cpu`, or the name of a GPU.
        gpu: The GPU of the node, as CUDA_VISIBLE_DEVICES names it; empty on a CPU.
    """

    node: str
    pid: int
    device: str
    gpu: str = ""

    def __str__(self) -> str:
        return f"{self.device} (GPU {self.gpu})" if self.gpu else self.device


class DeviceCopy:
    """A copy of a host vector on a device, at a fixed address; updated when the vector changes."""

    def __init__(self, device: torch.device) -> None:
        """Copies nothing yet.

        Args:
            device: The device of the copy.
        """
        self._device = device
        self._sent_P: NDArray[np.float32] | None = None
        self._copy_P = torch.empty(0, device=device)

    def of(self, vector_P: NDArray[np.float32]) -> Tensor:
        """Returns the copy, (P,), float32; read-only by convention.

        The bits are compared (a millisecond for millions of numbers), since a strategy may change its vector in place,
        and a population that travels with the calls is a new object in each of them.

        Args:
            vector_P: float32, of the length of the first one.

        Raises:
            ValueError: The vector has another length. The copy is unchanged.
        """
        if self._sent_P is None:
            self._copy_P = torch.empty(len(vector_P), device=self._device)
        elif len(vector_P) != len(self._sent_P):
            raise ValueError(f"a resident vector of {len(self._sent_P)} numbers cannot become one of {len(vector_P)}")
        elif np.array_equal(vector_P.view(np.int32), self._sent_P.view(np.int32)):
            return self._copy_P
        self._copy_P.copy_(to_device(vector_P, self._device))
        self._sent_P = vector_P.copy()
        return self._copy_P


def visible_gpus() -> int:
    """Returns the number of GPUs that this process sees, without starting CUDA.

    It asks the driver's management library. `torch.cuda.is_available` would start CUDA, after which a process can no
    longer fork. Whether torch can use the GPUs shows in `configure_torch`.
    """
    return torch.cuda.device_count()


def choose_device(asked: str, gpus: int, *, on_tensors: bool, parameters: int, where: str = "this machine") -> str:
    """Returns `cpu` or `cuda`; the choice depends on the experiment, and on whether there is a GPU.

    `auto` takes a GPU, if there is one, for environments that run on tensors and for large policies. A small policy in
    environments that are stepped one by one on the CPU is faster there.

    Args:
        asked: `auto`, `cpu` or `cuda`.
        gpus: Number of GPUs.
        on_tensors: Whether the task's environments can run on a GPU.
        parameters: Number of the policy's parameters.
        where: Where the GPUs were counted, for the message.

    Raises:
        ConfigurationError: `cuda` is asked for, and there is no GPU.
    """
    if asked not in DEVICES:
        raise ConfigurationError(f"device must be one of {', '.join(DEVICES)}; got {asked!r}.")
    if asked == "auto":
        return "cuda" if gpus and (on_tensors or parameters >= GPU_PARAMETERS) else "cpu"
    if asked == "cuda" and not gpus:
        raise ConfigurationError(f"device is cuda, but {where} has no GPU{_reason()}: set --device cpu, or auto.")
    return asked


def configure_torch(device: str) -> torch.device:
    """Sets torch to compute in full float32 and reproducibly; returns the device.

    Ray shows a worker its own GPU only (CUDA_VISIBLE_DEVICES), which is therefore number 0.

    Raises:
        EvaluationError: This process sees no GPU, or cannot use it.
    """
    if device == "cpu":
        return torch.device("cpu")
    # Read when cuBLAS starts; without it, products on several streams may differ from run to run.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if not visible_gpus():
        raise EvaluationError(
            f"The worker on {socket.gethostname()} sees no GPU{_reason()} (CUDA_VISIBLE_DEVICES is "
            f"{os.environ.get('CUDA_VISIBLE_DEVICES', 'not set')}): set --device cpu, or mend its driver or its torch."
        )
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:  # such as a driver that is too old for this torch
        reason = " ".join(str(error).partition("\n")[0].split()).rstrip(".")
        raise EvaluationError(
            f"The worker on {socket.gethostname()} cannot use its GPU: {reason}. Set --device cpu, or mend its driver "
            "or its torch."
        ) from error
    torch.set_float32_matmul_precision("highest")  # no TF32: ten bits of mantissa lose small perturbations
    torch.backends.cudnn.allow_tf32 = False  # torch allows it in convolutions
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    return torch.device("cuda", 0)


def place_of(device: torch.device) -> WorkerPlace:
    """Returns where this process runs, and its device."""
    node, pid = socket.gethostname(), os.getpid()
    if device.type == "cpu":
        return WorkerPlace(node, pid, "cpu")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    return WorkerPlace(node, pid, torch.cuda.get_device_name(device), visible[0] or str(device.index or 0))


def _reason() -> str:
    """Why torch sees no GPU, if it was built without CUDA."""
    return "" if torch.version.cuda else f" that torch {torch.__version__} could use, which was built without CUDA"
