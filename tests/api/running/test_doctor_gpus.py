"""What the doctor says of GPUs, which are made up here: one line for each."""

from types import SimpleNamespace

import pytest
import torch

from distes.api.running import doctor


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> list[SimpleNamespace]:
    made = [
        SimpleNamespace(name="NVIDIA H100", total_memory=79 * 2**30, major=9, minor=0),
        SimpleNamespace(name="Tesla K80", total_memory=11 * 2**30, major=3, minor=7),
    ]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(made))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: made[number])
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_80", "sm_90"])
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    return made


def test_each_has_a_line_and_one_too_old_for_this_torch_is_a_fault(gpus: list[SimpleNamespace]) -> None:
    first, second = doctor._gpus()
    assert (first.name, first.text, first.level) == ("GPU 0", "NVIDIA H100, 79 GiB, sm_90, CUDA 13.0", "ok")
    assert (second.name, second.level) == ("GPU 1", "fault")
    assert second.text == f"Tesla K80, 11 GiB, sm_37: torch {torch.__version__} is built for sm_80, sm_90"


def test_a_driver_that_torch_cannot_use_is_a_fault(
    gpus: list[SimpleNamespace], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(number: int) -> None:
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 11000).\nPlease update")

    monkeypatch.setattr(torch.cuda, "get_device_properties", refuse)
    assert {(one.level, one.text) for one in doctor._gpus()} == {
        ("fault", "The NVIDIA driver on your system is too old (found version 11000).")
    }
