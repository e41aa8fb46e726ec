"""The kernels compile for a GPU that is not here: NVRTC needs no driver."""

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch

from scripts.gpu.precompile import compile_for, noting
from tests.envs.warp.conftest import Pairs, actions_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
ARCH = 90


@pytest.mark.parametrize("name", ["starts", "frames", "faults"])
def test_our_kernels_compile_for_a_gpu(name: str, tmp_path: Path) -> None:
    import warp as wp

    module = importlib.import_module(f"distes.envs.warp.{name}")
    (file,) = wp.compile_aot_module(module, arch=ARCH, module_dir=tmp_path, use_ptx=False)
    assert file.suffix == ".cubin" and file.stat().st_size > 1000


def test_modules_of_a_step_compile_for_a_gpu(pairs: Pairs) -> None:
    """Some of them, as `scripts/gpu/precompile.py` does with all; the CPU's kernels stay as they were."""
    env, _ = pairs("InvertedPendulum-v5")
    with noting() as seen:
        env.reset(seed=0)
        env.step(actions_of(env, 1)[0])
    modules: list[Any] = sorted(
        (pair for pair in seen if not pair[0].name.startswith("distes.")), key=lambda pair: pair[0].name
    )
    assert len(modules) > 20 and len(modules) < len(seen)
    for module, block in modules[::15]:
        (file,) = compile_for(module, block, ARCH)
        assert file.suffix == ".cubin" and f"sm{ARCH}" in file.name
    assert env.step(torch.zeros(env.num_envs, 1))[0].isfinite().all()
