"""On what members are evaluated: the processor, or an NVIDIA GPU through CUDA."""

import os
import socket
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distes.errors import ConfigurationError, EvaluationError

DEVICES = ("auto", "cpu", "cuda")
# From so many parameters on, products outweigh what it costs to launch them and to carry observations to and fro.
GPU_PARAMETERS = 300_000


@dataclass(frozen=True)
class WorkerPlace:
    """Where a worker is.

    Attributes:
        node: The name of its machine.
        pid: Its process there.
        device: `cpu`, or the name of a GPU.
        gpu: Which GPU of the node, as CUDA_VISIBLE_DEVICES has it; empty on a processor.
    """

    node: str
    pid: int
    device: str
    gpu: str = ""

    def __str__(self) -> str:
        return f"{self.device} (GPU {self.gpu})" if self.gpu else self.device


class DeviceCopy:
    """A host vector's copy on a device: sent when the vector has changed, and always at the same place in memory."""

    def __init__(self, device: torch.device) -> None:
        """Sends nothing yet.

        Args:
            device: Where the copy lives.
        """
        self._device = device
        self._sent_P: NDArray[np.float32] | None = None
        self._copy_P = torch.empty(0, device=device)

    def of(self, vector_P: NDArray[np.float32]) -> Tensor:
        """Returns the copy, (P,), float32; read-only by convention.

        Bits are compared, which takes a thousandth of a second for millions of numbers, since a population that Ray
        hands over is another object in every chunk.

        Args:
            vector_P: float32, of the length of the first one.

        Raises:
            ValueError: It has another length. The copy stays what it was.
        """
        if self._sent_P is None:
            self._copy_P = torch.empty(len(vector_P), device=self._device)
        elif len(vector_P) != len(self._sent_P):
            raise ValueError(f"a resident vector of {len(self._sent_P)} numbers cannot become one of {len(vector_P)}")
        elif np.array_equal(vector_P.view(np.int32), self._sent_P.view(np.int32)):
            return self._copy_P
        self._copy_P.copy_(torch.tensor(vector_P))
        self._sent_P = vector_P.copy()
        return self._copy_P


def visible_gpus() -> int:
    """How many GPUs there are for this process; starts nothing on them, nor CUDA itself.

    Asks the driver's management library, where `torch.cuda.is_available` starts CUDA: a process that has done so cannot
    be forked any more. Whether torch can use them shows in `configure_torch`.
    """
    return torch.cuda.device_count()


def choose_device(asked: str, gpus: int, *, on_tensors: bool, parameters: int, where: str = "this machine") -> str:
    """Decides between `cpu` and `cuda`. The answer depends on the experiment, and on whether there is a GPU at all.

    `auto` takes a GPU where there is one and it pays: for environments that live on tensors, and for large policies. A
    small policy in environments that are stepped one by one on the processor is faster there.

    Args:
        asked: `auto`, `cpu` or `cuda`.
        gpus: How many there are.
        on_tensors: Whether the task's environments can live on a GPU.
        parameters: Of the policy.
        where: They were looked for; for the message.

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
    """Makes this process ready to compute on a device: in float32 throughout, and the same bits every time.

    Ray shows a worker its own GPU alone (CUDA_VISIBLE_DEVICES), so that is always number 0.

    Raises:
        EvaluationError: There is no GPU for it.
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
    torch.set_float32_matmul_precision("highest")  # no TF32, whose ten bits would drown small perturbations
    torch.backends.cudnn.allow_tf32 = False  # torch allows it in convolutions
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    return torch.device("cuda", 0)


def place_of(device: torch.device) -> WorkerPlace:
    """Where this process is, and what it computes on."""
    node, pid = socket.gethostname(), os.getpid()
    if device.type == "cpu":
        return WorkerPlace(node, pid, "cpu")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    return WorkerPlace(node, pid, torch.cuda.get_device_name(device), visible[0] or str(device.index or 0))


def _reason() -> str:
    """Why torch sees none, where it is torch itself."""
    return "" if torch.version.cuda else f" that torch {torch.__version__} could use, which was built without CUDA"
