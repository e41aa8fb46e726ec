"""What becomes a CUDA graph, and how: on a device that is none, and by Warp's recording on the CPU."""

import contextlib
import gc
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from distes.envs.warp import recorded
from distes.envs.warp.recorded import Recorded
from tests.envs.warp.conftest import ROWS, Pairs, actions_of


class FakeWarp:
    """Writes down what is done; a graph launches what was called while it was recorded."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.recording: list[str] | None = None

    def stream_from_torch(self, stream: Any) -> Any:
        return stream

    def ScopedStream(self, stream: Any) -> Any:
        return contextlib.nullcontext()

    @contextlib.contextmanager
    def ScopedCapture(self, stream: Any, force_module_load: bool) -> Iterator[Any]:
        assert not gc.isenabled() and not force_module_load
        self.recording = []
        capture = SimpleNamespace(graph=self.recording)
        try:
            yield capture
        finally:
            self.recording = None

    def capture_launch(self, graph: list[str], stream: Any) -> None:
        self.done += [f"{what} by graph" for what in graph]

    def work(self) -> None:
        (self.done if self.recording is None else self.recording).append("work")

    def saved(self) -> Any:
        self.done.append("save")
        return lambda: self.done.append("put back")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeWarp:
    fake = FakeWarp()
    waits = SimpleNamespace(wait_stream=lambda other: fake.done.append("wait"))
    monkeypatch.setattr(recorded, "stream_of", lambda device: waits)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: waits)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: fake.done.append("synchronize"))
    return fake


def test_the_first_call_compiles_and_records_and_changes_no_more_than_one_does(fake: FakeWarp) -> None:
    call = Recorded(fake, torch.device("cuda", 0), fake.work, fake.saved)
    call()
    assert fake.done == ["wait", "save", "work", "put back", "work by graph", "wait"]
    fake.done.clear()
    call()
    assert fake.done == ["wait", "work by graph", "wait"]
    fake.done.clear()
    call.close()
    call.close()
    call()
    assert fake.done[:3] == ["synchronize", "wait", "save"] and fake.done.count("synchronize") == 1


def test_a_recording_that_fails_leaves_the_garbage_collector_on(fake: FakeWarp) -> None:
    def fails() -> None:
        if fake.recording is not None:
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        Recorded(fake, torch.device("cuda", 0), fails, fake.saved)()
    assert gc.isenabled()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["HalfCheetah-v5", "Humanoid-v5"])
def test_what_is_recorded_does_again_what_calls_do(name: str, pairs: Pairs) -> None:
    """On the CPU, by Warp's own recording: nothing in a start or a step is decided in Python, or made anew."""
    import warp as wp

    env, _ = pairs(name)
    physics, actions = env.physics, actions_of(env, 3)
    env.reset(seed=5)
    called = [env.step(actions_RA)[0].clone() for actions_RA in actions]
    seeds, launch = torch.arange(ROWS) + 5, {}
    for what in ("_launch_start", "_launch_step"):
        with wp.ScopedDevice("cpu"), wp.ScopedCapture(device="cpu") as capture:
            getattr(physics, what)()
        launch[what] = capture.graph
    before = physics._begin, physics._step
    physics._begin, physics._step = (lambda what=what: wp.capture_launch(launch[what]) for what in launch)
    try:
        env.reset(seed=seeds)
        for actions_RA, expected in zip(actions, called, strict=True):
            torch.testing.assert_close(env.step(actions_RA)[0], expected, rtol=0, atol=0)
    finally:
        physics._begin, physics._step = before
