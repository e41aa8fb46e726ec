"""What all tests share."""

import contextlib
import signal
from collections import Counter
from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings

from tests.support.alone import pytest_runtest_protocol  # noqa: F401 (a hook)

with contextlib.suppress(ImportError):
    import triton  # noqa: F401 (first: torch imports it for torch.export, and after some simulators that crashes)

# A machine that is busy with other things is no reason to fail.
settings.register_profile("distes", deadline=None)
settings.load_profile("distes")


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips what is marked `gpu` where there is no GPU, and says which tests stay together among several processes.

    Those marked `alone` do, since a file's cluster may outlive a test. Those of a file do, since they share what it
    makes.
    """
    on_gpu = torch.cuda.is_available()
    for item in items:
        if item.get_closest_marker("gpu") and not on_gpu:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
        together = "alone" if item.get_closest_marker("alone") else item.path.stem
        item.add_marker(pytest.mark.xdist_group(together))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says once for each reason how many tests were skipped."""
    reasons = Counter(
        str(report.longrepr[2]).removeprefix("Skipped: ") for report in terminalreporter.getreports("skipped")
    )
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count} skipped: {reason}")


@pytest.fixture(autouse=True)
def _gpu_as_a_worker_has_it(request: pytest.FixtureRequest) -> None:
    """Float32 throughout and repeatable: torch by itself takes TF32 for convolutions."""
    if request.node.get_closest_marker("gpu"):
        from distes.pools.device import configure_torch

        configure_torch("cuda")


torch.set_num_threads(1)  # as in every worker; the serial pool does the same to the process it runs in


@pytest.fixture(autouse=True)
def _modes_of_torch() -> Iterator[None]:
    """A test that leaves gradients off, or another dtype, would fail those that come later; it fails itself."""
    yield
    found = torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_default_dtype()
    torch.set_grad_enabled(True)
    assert found == (True, False, torch.float32), f"gradients, inference mode, dtype: {found}"


@pytest.fixture(autouse=True)
def _sigterm() -> Iterator[None]:
    """Ray, where a test starts it by itself, listens to SIGTERM for as long as the process lives."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    if signal.getsignal(signal.SIGTERM) is not before:
        signal.signal(signal.SIGTERM, before)
