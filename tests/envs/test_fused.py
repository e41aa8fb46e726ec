"""The compiled loops of the classic tasks: what is generated, and its bits beside those of the definition."""

import pickle
from typing import Any

import pytest
import torch
from torch import Tensor

from distes.envs import classic, fusion
from distes.envs.classic import ColumnEnv
from distes.envs.fused_step import FusedStep

ROWS = 37  # neither a multiple of a vector's length nor below one


def actions_of(simulator: ColumnEnv, generator: torch.Generator) -> Tensor:
    """Random ones, beyond the bounds where they are continuous."""
    space: Any = simulator.single_action_space
    if hasattr(space, "n"):
        return torch.randint(int(space.n), (simulator.num_envs,), generator=generator)
    return 3 * torch.randn(simulator.num_envs, *space.shape, generator=generator)


def both(name: str, **keywords: Any) -> tuple[ColumnEnv, ColumnEnv]:
    """The definition, and one whose steps are fused from the first on; from the same starts, far from rest."""
    kind = fusion.SIMULATORS[name]
    pair = kind(ROWS, 60, **keywords), kind(ROWS, 60, **keywords)
    for simulator in pair:
        simulator.reset(seed=1)
        simulator.reset(seed=1, options={"state": 2 * simulator.state_RS})
    pair[1]._fused_step = FusedStep(name, pair[1].advance, pair[1]._results, pair[1].memories)
    return pair


@pytest.mark.parametrize("name", fusion.SIMULATORS)
def test_what_is_kept_is_what_is_generated(name: str) -> None:
    assert (fusion.FOLDER / f"{name}.py").read_text() == fusion.generated(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", fusion.SIMULATORS)
def test_a_fused_step_has_the_bits_of_its_definition(name: str) -> None:
    plain, fused = both(name)
    generator = torch.Generator().manual_seed(3)
    for step in range(90):
        actions = actions_of(plain, generator)
        for one, other in zip(plain.step(actions)[:4], fused.step(actions)[:4], strict=True):
            assert torch.equal(one, other)
        assert torch.equal(plain.block_CR.view(torch.int64), fused.block_CR.view(torch.int64))
        if step in (30, 50):  # fewer rows, and in another order
            keep = torch.randperm(plain.num_envs, generator=generator)[: plain.num_envs // 2]
            plain.narrow(keep)
            fused.narrow(keep)
        if step == 70:
            mask_R = torch.arange(plain.num_envs) % 3 == 0
            plain.reset(seed=9, options={"reset_mask": mask_R})
            fused.reset(seed=9, options={"reset_mask": mask_R})
    assert isinstance(fused._fused_step, FusedStep) and fused._fused_step._usable


@pytest.mark.slow
def test_other_formulas_than_the_generated_ones_are_left_to_torch() -> None:
    for name, keywords in (("pendulum", {"g": 3.0}), ("cartpole", {"sutton_barto_reward": True})):
        plain, fused = both(name, **keywords)
        generator = torch.Generator().manual_seed(3)
        for _ in range(5):
            actions = actions_of(plain, generator)
            plain.step(actions)
            fused.step(actions)
            assert torch.equal(plain.block_CR, fused.block_CR) and torch.equal(plain.rewards_R, fused.rewards_R)
        assert isinstance(fused._fused_step, FusedStep) and fused._fused_step._usable is False


@pytest.mark.slow
def test_a_loop_that_differs_in_a_bit_is_not_used() -> None:
    plain, fused = both("pendulum")
    step = fused._fused_step
    assert isinstance(step, FusedStep)
    real = step._loops[-1][0]

    def wrong(rows: int, block: Any, observations: Any) -> Any:
        real(rows, block, observations)
        observations.view("int32")[0] += 1

    step._loops = [*step._loops[:-1], (wrong, step._loops[-1][1])]
    generator = torch.Generator().manual_seed(3)
    for _ in range(3):
        actions = actions_of(plain, generator)
        assert torch.equal(plain.step(actions)[0], fused.step(actions)[0])
    assert step._usable is False


@pytest.mark.slow
def test_an_action_that_there_is_not_is_refused() -> None:
    _, fused = both("cartpole")
    good = torch.zeros(ROWS, dtype=torch.int64)
    for _ in range(3):
        fused.step(good)
    for bad in (2, -1):
        with pytest.raises((IndexError, RuntimeError), match="out of range"):
            fused.step(good.index_fill(0, torch.tensor([5]), bad))


@pytest.mark.slow
def test_loops_are_loaded_when_they_are_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classic, "WORTH_COMPILING", 3)
    simulator = fusion.SIMULATORS["cartpole"](4)
    simulator.reset(seed=0)
    loaded = []
    for _ in range(4):
        simulator.step(torch.zeros(4, dtype=torch.int64))
        loaded.append(simulator._fused_step is not None)
    assert loaded == [False, False, True, True]
    again = pickle.loads(pickle.dumps(simulator))
    assert again._fused_step is None and torch.equal(again.block_CR, simulator.block_CR)
