"""Which device members are evaluated on, how a worker gets ready for it, and the centre's copy there."""

import os
import socket

import numpy as np
import pytest
import torch

from distes.errors import ConfigurationError, EvaluationError
from distes.pools import device
from distes.pools.device import (
    GPU_PARAMETERS,
    DeviceCopy,
    WorkerPlace,
    choose_device,
    configure_torch,
    place_of,
    visible_gpus,
)


@pytest.mark.parametrize(
    ("asked", "gpus", "on_tensors", "parameters", "expected"),
    [
        ("auto", 0, True, 10**7, "cpu"),
        ("auto", 2, False, GPU_PARAMETERS - 1, "cpu"),
        ("auto", 2, False, GPU_PARAMETERS, "cuda"),
        ("auto", 1, True, 10, "cuda"),
        ("cpu", 2, True, 10**7, "cpu"),
        ("cuda", 1, False, 10, "cuda"),
    ],
)
def test_takes_a_gpu_where_there_is_one_and_it_pays(
    asked: str, gpus: int, on_tensors: bool, parameters: int, expected: str
) -> None:
    assert choose_device(asked, gpus, on_tensors=on_tensors, parameters=parameters) == expected


def test_a_gpu_that_is_not_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    with pytest.raises(ConfigurationError, match=r"^device is cuda, but the Ray cluster has no GPU: set --device cpu"):
        choose_device("cuda", 0, on_tensors=True, parameters=1, where="the Ray cluster")
    monkeypatch.setattr(torch.version, "cuda", None)
    message = r"^device is cuda, but this machine has no GPU that torch .+ could use, which was built without CUDA: set"
    with pytest.raises(ConfigurationError, match=message):
        choose_device("cuda", 0, on_tensors=True, parameters=1)


def test_another_word_is_a_sentence() -> None:
    with pytest.raises(ConfigurationError, match="device must be one of auto, cpu, cuda; got 'gpu'"):
        choose_device("gpu", 1, on_tensors=True, parameters=1)


def test_a_worker_that_sees_no_gpu_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "visible_gpus", lambda: 0)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "so that it is taken back")
    with pytest.raises(EvaluationError, match=r"The worker on .+ sees no GPU.*\(CUDA_VISIBLE_DEVICES is 3\): set"):
        configure_torch("cuda")


def test_a_gpu_that_torch_cannot_use_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 11040).\nPlease update it.")

    monkeypatch.setattr(device, "visible_gpus", lambda: 1)
    monkeypatch.setattr(torch.cuda, "init", refuse)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "so that it is taken back")
    with pytest.raises(EvaluationError, match=r"cannot use its GPU: The NVIDIA driver .* 11040\)\. Set --device cpu"):
        configure_torch("cuda")


def test_counting_gpus_does_not_start_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has started it cannot be forked any more."""

    def refuse(*_: object) -> int:
        raise AssertionError("CUDA is started")

    monkeypatch.setattr(torch.cuda, "_is_compiled", lambda: True)
    monkeypatch.setattr(torch.cuda, "_device_count_nvml", lambda: 2)
    for name in ("_cuda_getDeviceCount", "_cuda_init"):
        monkeypatch.setattr(torch._C, name, refuse, raising=False)
    assert visible_gpus() == 2
    assert not torch.cuda.is_initialized()


def test_a_processor_needs_no_preparation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    assert configure_torch("cpu") == torch.device("cpu")
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ


def test_computes_in_float32_and_repeatably(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "visible_gpus", lambda: 1)
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic
    torch.set_float32_matmul_precision("high")
    try:
        assert configure_torch("cuda") == torch.device("cuda", 0)
        assert torch.get_float32_matmul_precision() == "highest"
        assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cudnn.benchmark
        assert torch.backends.cudnn.deterministic
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic = before[1:]


def test_a_place_is_the_node_the_process_and_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert place_of(torch.device("cpu")) == WorkerPlace(socket.gethostname(), os.getpid(), "cpu")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,6")
    assert str(place_of(torch.device("cuda", 0))) == "NVIDIA H200 (GPU 5)"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert str(place_of(torch.device("cuda", 0))) == "NVIDIA H200 (GPU 0)"


def test_a_resident_vector_is_sent_when_its_bits_change_and_stays_in_its_place() -> None:
    resident = DeviceCopy(torch.device("cpu"))
    vector_P = np.array([1, 2, np.nan, 0], np.float32)
    first = resident.of(vector_P)
    np.testing.assert_array_equal(first.numpy(), vector_P)
    version, place = first._version, first.data_ptr()
    again = resident.of(vector_P.copy())
    assert again.data_ptr() == place and again._version == version  # nothing was written
    vector_P[3] = -0.0  # in place, and equal but for its sign
    assert np.signbit(resident.of(vector_P).numpy()).tolist() == [False, False, False, True]
    assert resident.of(vector_P).data_ptr() == place


def test_a_vector_of_another_length_is_refused_and_the_copy_stays() -> None:
    resident = DeviceCopy(torch.device("cpu"))
    resident.of(np.arange(3, dtype=np.float32))
    for _ in range(2):  # and it is not remembered as sent
        with pytest.raises(ValueError, match="of 3 numbers cannot become one of 4"):
            resident.of(np.arange(4, dtype=np.float32))
    assert resident.of(np.arange(3, dtype=np.float32)).tolist() == [0, 1, 2]


def test_a_vector_that_cannot_be_written_is_sent_all_the_same() -> None:
    """As Ray hands it over."""
    vector_P = np.arange(3, dtype=np.float32)
    vector_P.flags.writeable = False
    assert DeviceCopy(torch.device("cpu")).of(vector_P).tolist() == [0, 1, 2]
