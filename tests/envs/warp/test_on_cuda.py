"""MuJoCo Warp on a GPU: recorded steps, and that nothing waits."""

import gc
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.envs.warp.conftest import actions_of, made
from tests.support.small import ROOT

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(900)]
ROWS = 64


def on_gpu(name: str, rows: int = ROWS) -> Any:
    return made(name, rows, warp=True, device="cuda:0")


@pytest.mark.parametrize("name", ["HalfCheetah-v5", "Humanoid-v5", "Ant-v5"])
def test_one_step_is_that_of_the_cpu(name: str) -> None:
    """To the rounding of float32, from the same starts; the second step is a launch of the recorded graph."""
    ours, theirs = on_gpu(name), made(name, ROWS, warp=False)
    mine, yours = ours.reset(seed=5)[0], theirs.reset(seed=5)[0]
    torch.testing.assert_close(mine.cpu().double(), yours, rtol=1e-4, atol=1e-4)
    for actions_RA in actions_of(theirs, 2):
        mine, yours = ours.step(actions_RA.cuda()), theirs.step(actions_RA)
        torch.testing.assert_close(mine[1].cpu(), yours[1], rtol=1e-2, atol=1e-2)
        assert (mine[0].cpu().double() - yours[0]).abs().quantile(0.99) < 1e-2
    ours.check()


def test_nothing_waits_for_the_gpu() -> None:
    env = on_gpu("Hopper-v5")
    seeds, begun = torch.arange(ROWS, device="cuda"), torch.arange(ROWS, device="cuda") % 3 == 0
    actions = actions_of(env, 3).cuda()
    env.reset(seed=seeds)
    env.step(actions[0])
    env.reset(seed=seeds, options={"reset_mask": begun})
    torch.cuda.set_sync_debug_mode("error")
    try:
        for actions_RA in actions:
            env.step(actions_RA)
            env.reset(seed=seeds, options={"reset_mask": begun})
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert env.physics.qpos.isfinite().all()


def test_a_masked_reset_starts_those_rows_alone() -> None:
    env = on_gpu("HalfCheetah-v5")
    begun = torch.arange(ROWS, device="cuda") % 2 == 0
    env.reset(seed=0)
    env.step(actions_of(env, 1)[0].cuda())
    before = env._observe().clone()
    after, _ = env.reset(seed=torch.arange(ROWS, device="cuda") + 9, options={"reset_mask": begun})
    torch.testing.assert_close(after[~begun], before[~begun], rtol=0, atol=0)
    fresh = made("HalfCheetah-v5", ROWS, warp=False).reset(seed=9)[0]
    torch.testing.assert_close(after[begun].cpu().double(), fresh[begun.cpu()], rtol=1e-6, atol=1e-6)


def test_two_at_once_one_deleted_while_the_other_records() -> None:
    """NVIDIA/warp issue 992: a graph that is deleted breaks a recording under way."""
    first, second = on_gpu("HalfCheetah-v5"), on_gpu("Hopper-v5")
    for env in (first, second):
        env.reset(seed=0)
    first.step(actions_of(first, 1)[0].cuda())
    first.cycle = first  # so that only the garbage collector deletes it
    del first, env
    second.step(actions_of(second, 1)[0].cuda())
    gc.collect()
    again = second.step(actions_of(second, 1)[0].cuda())
    torch.cuda.synchronize()
    assert again[0].isfinite().all()


def test_twice_from_one_state(capsys: pytest.CaptureFixture[str]) -> None:
    """The bits need not be the same; how far they are apart is printed, and small."""
    env = on_gpu("Humanoid-v5")
    seen = []
    for _ in range(2):
        env.reset(seed=0)
        seen.append(env.step(torch.zeros(ROWS, 17, device="cuda"))[0].clone())
    largest = float((seen[0] - seen[1]).abs().max())
    with capsys.disabled():
        print(f"\nHumanoid-v5, one step twice from one state: largest difference {largest:g}")
    assert largest < 1


def test_a_fresh_process_records_with_an_empty_and_with_a_full_kernel_cache(tmp_path: Path) -> None:
    code = (
        "import torch; from tests.envs.warp.conftest import made\n"
        "env = made('InvertedPendulum-v5', 4, warp=True, device='cuda:0'); env.reset(seed=0)\n"
        "for _ in range(3): answer = env.step(torch.zeros(4, 1, device='cuda'))\n"
        "assert answer[0].isfinite().all()\n"
    )
    environment = {**os.environ, "WARP_CACHE_PATH": str(tmp_path)}
    for _ in ("empty", "full"):
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    assert list(tmp_path.rglob("*.cubin"))
