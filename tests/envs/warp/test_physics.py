"""MuJoCo Warp against MuJoCo, on Warp's CPU device: single steps, since trajectories part after some.

Axes: R rows, A action.
"""

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from distes.envs.warp.settings import WarpSettings
from distes.errors import ConfigurationError, DistesWarning
from tests.envs.warp.conftest import NAMES, ROWS, Pairs, actions_of, made

# The first run compiles: a minute where nothing else runs, several where much does.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

STATES = 104
MOST = {"qpos": 1e-5, "qvel": 1e-3, "cfrc_ext": 5e-4}  # of |difference| / max(1, |number|), for 99 of 100 numbers


def difference(ours: Tensor, theirs: Tensor) -> Tensor:
    return (ours.double() - theirs).abs() / theirs.abs().clamp(min=1)


def take_over(ours: Any, theirs: Any) -> None:
    """Puts Warp's worlds into the states of MuJoCo's, with all that was computed of them."""
    physics = theirs.physics
    ours.physics.load(physics.qpos, physics.qvel, physics._part("WARMSTART"))
    for name in ours._fields:
        ours.physics[name].copy_(physics[name])


def reached(theirs: Any, every: int, count: int) -> Any:
    """Yields after some random steps, time and again; bodies that have fallen lie and struggle on."""
    theirs.reset(seed=0)
    for step, actions in enumerate(actions_of(theirs, every * count)):
        theirs.step(actions)
        if step % every == every - 1:
            yield


@pytest.mark.parametrize("name", NAMES)
class TestAgainstMuJoCo:
    def test_one_step_from_reached_states(self, name: str, pairs: Pairs) -> None:
        ours, theirs = pairs(name)
        ours.reset(seed=0)
        rounds = STATES // ROWS
        actions = actions_of(theirs, rounds, seed=1)
        differences: dict[str, list[Tensor]] = {}
        for actions_RA, _ in zip(actions, reached(theirs, 7, rounds), strict=True):
            take_over(ours, theirs)
            mine, yours = ours.step(actions_RA), theirs.step(actions_RA)
            for what in ("qpos", "qvel"):
                pair = getattr(ours.physics, what), getattr(theirs.physics, what)
                differences.setdefault(what, []).append(difference(*pair))
            for what in ours._fields:
                differences.setdefault(what, []).append(difference(ours.physics[what], theirs.physics[what]))
            differences.setdefault("observation", []).append(difference(mine[0], yours[0]))
            differences.setdefault("reward", []).append(difference(mine[1], yours[1]))
            for term, value in yours[4].items():
                differences.setdefault(term, []).append(difference(mine[4][term], value))
            assert mine[1].dtype == torch.float64 and mine[2].equal(yours[2]) and mine[3].equal(yours[3])
        for what, parts in differences.items():
            numbers = torch.cat([part.flatten() for part in parts]).numpy()
            most = MOST.get(what, 1e-3)
            assert np.quantile(numbers, 0.99) < most and numbers.max() < 5 * most, (what, numbers.max())
        assert ours.physics.counts.tolist() == [0, 0, 0, 0]

    def test_starts_are_gymnasiums(self, name: str, pairs: Pairs) -> None:
        """With seeds of all sizes; then going on with the same random numbers."""
        ours, theirs = pairs(name)
        seeds = [0, 1, 2**32 - 1, 2**32, 2**63 - 1, 123456789012345, 77, 5]
        for seed in (seeds, None, None):
            mine, yours = ours.reset(seed=seed)[0], theirs.reset(seed=seed)[0]
            torch.testing.assert_close(mine.double(), yours, rtol=1e-5, atol=1e-5)
            np.testing.assert_array_equal(ours.physics.qpos.numpy(), theirs.physics.qpos.float().numpy())
            # Where the ziggurat's rounding differs in the last bit of 53, the last of 24 rarely does.
            np.testing.assert_allclose(ours.physics.qvel.numpy(), theirs.physics.qvel.float().numpy(), rtol=1e-6)


def run(env: Any, seeds: list[int], actions: Tensor) -> list[tuple[Tensor, ...]]:
    """The numbers of an episode, copied."""
    answers = [(env.reset(seed=seeds)[0].clone(),)]
    for actions_RA in actions:
        answers.append(tuple(tensor.clone() for tensor in env.step(actions_RA)[:4]))
    return answers


def assert_same(one: list[tuple[Tensor, ...]], other: list[tuple[Tensor, ...]], rows: Any) -> None:
    for ours, theirs in zip(one, other, strict=True):
        for mine, yours in zip(ours, theirs, strict=True):
            torch.testing.assert_close(mine, yours[rows], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("name", ["Ant-v5", "HalfCheetah-v5", "Humanoid-v5"])
def test_a_row_depends_on_its_seed_and_actions_alone(name: str, pairs: Pairs) -> None:
    """The same bits twice, alone, and in another order."""
    env, _ = pairs(name)
    seeds, actions, order = list(range(100, 100 + ROWS)), actions_of(env, 12), torch.arange(ROWS).flip(0)
    first = run(env, seeds, actions)
    assert_same(run(env, seeds, actions), first, slice(None))
    assert_same(run(env, seeds[::-1], actions[:, order]), first, order)
    alone = made(name, 1, warp=True)
    assert_same(run(alone, seeds[5:6], actions[:, 5:6]), first, slice(5, 6))


def test_a_masked_reset_leaves_the_others_as_they_were(pairs: Pairs) -> None:
    """To the last bit, and for as long as they go on; the row that starts does as one that starts first."""
    env, _ = pairs("Humanoid-v5")
    seeds, actions = list(range(ROWS)), actions_of(env, 10)
    undisturbed = run(env, seeds, actions)
    begun = torch.zeros(ROWS, dtype=torch.bool)
    begun[[2, 6]] = True
    run(env, seeds, actions[:5])
    fresh, _ = env.reset(seed=torch.arange(ROWS) + 50, options={"reset_mask": begun})
    fresh = fresh.clone()
    torch.testing.assert_close(fresh[~begun], undisturbed[5][0][~begun], rtol=0, atol=0)
    for number, actions_RA in enumerate(actions[5:]):
        answer = env.step(actions_RA)
        for mine, yours in zip(answer[:4], undisturbed[6 + number], strict=True):
            torch.testing.assert_close(mine[~begun], yours[~begun], rtol=0, atol=0)
        # Its own time limit begins anew.
        assert not answer[3].any()
    late = run(env, [50 + row for row in range(ROWS)], actions[5:])
    env.reset(seed=seeds)
    env.reset(seed=torch.arange(ROWS) + 50, options={"reset_mask": begun})
    for number, actions_RA in enumerate(actions[5:]):
        torch.testing.assert_close(env.step(actions_RA)[0][begun], late[1 + number][0][begun], rtol=0, atol=0)


def test_narrowed_rows_go_on_and_come_back(pairs: Pairs) -> None:
    env, _ = pairs("HalfCheetah-v5")
    seeds, actions = list(range(ROWS)), actions_of(env, 10)
    whole = run(env, seeds, actions)
    run(env, seeds, actions[:4])
    kept = torch.tensor([7, 1, 2])
    env.narrow(kept)
    assert env.num_envs == env.physics.rows == 3
    for number, actions_RA in enumerate(actions[4:]):
        for mine, yours in zip(env.step(actions_RA[kept])[:4], whole[5 + number], strict=True):
            torch.testing.assert_close(mine, yours[kept], rtol=0, atol=0)
    assert_same(run(env, seeds, actions), whole, slice(None))


def test_time_limit() -> None:
    short = made("InvertedPendulum-v5", ROWS, warp=True)
    short._max_episode_steps = 3
    begun = torch.arange(ROWS) == 4
    short.reset(seed=0)
    short.step(actions_of(short, 1)[0])
    short.reset(seed=torch.arange(ROWS), options={"reset_mask": begun})
    truncated = [short.step(actions)[3].clone() for actions in actions_of(short, 3)]
    assert truncated[1].equal(~begun) and truncated[2].all()


def lay_down(env: Any, rows: list[int]) -> None:
    """Humanoids on their backs just above the ground: they need far more contacts than those that begin to fall."""
    env.physics.qpos[rows, 2] = 0.3
    env.physics.qpos[rows, 3:7] = torch.tensor([0.5**0.5, 0.0, 0.5**0.5, 0.0])


class TestTooLittleRoom:
    def test_too_few_rows_of_constraints_fail_that_world_alone(self, pairs: Pairs) -> None:
        env, _ = pairs("Humanoid-v5")
        tight = made("Humanoid-v5", ROWS, warp=True, settings=WarpSettings(njmax=16))
        failed, answers = torch.zeros(ROWS, dtype=torch.bool), {}
        for way in (tight, env):
            way.reset(seed=0)
            lay_down(way, [2, 5])
            answers[way] = []
            for actions_RA in torch.zeros(6, ROWS, 17):
                observation, reward, terminated, *_ = way.step(actions_RA)
                answers[way].append(observation.clone())
                if way is tight:
                    assert terminated[reward.isnan()].all()
                    failed |= reward.isnan()
        assert failed.nonzero().flatten().tolist() == [2, 5]
        for mine, roomy in zip(answers[tight], answers[env], strict=True):
            torch.testing.assert_close(mine[~failed], roomy[~failed], rtol=0, atol=0)
        tight.check()  # which is for contacts
        assert tight.physics.totals[3] >= 2

    @pytest.mark.parametrize("nconmax", [1, 2])
    def test_too_few_contacts_raise_and_name_the_number(self, nconmax: int) -> None:
        """They share one buffer, so nobody knows whose were lost; the bits do not outlast the check."""
        tight = made("Humanoid-v5", ROWS, warp=True, settings=WarpSettings(nconmax=nconmax))
        tight.reset(seed=0)
        lay_down(tight, list(range(ROWS)))
        for actions_RA in torch.zeros(6, ROWS, 17):
            tight.step(actions_RA)
        said = rf"room for {nconmax} per world \(nconmax\).*set --task.physics warp:nconmax={2 * nconmax}\."
        with pytest.raises(ConfigurationError, match=said):
            tight.check()
        tight.check()

    def test_the_defaults_are_enough_after_a_fall(self, pairs: Pairs) -> None:
        env, _ = pairs("Humanoid-v5")
        env.reset(seed=0)
        lay_down(env, list(range(ROWS)))
        for actions_RA in actions_of(env, 20, seed=9):
            assert env.step(actions_RA)[1].isfinite().all()
        env.check()
        assert env.physics.totals[:1] == [0]


def test_a_solver_without_success_is_counted_and_warned_of_once() -> None:
    """With one iteration in place of 50, and bodies on the ground; that the steps count is seen by the share."""
    env = made("Humanoid-v5", ROWS, warp=True)
    env.physics._m.opt.iterations = 1
    env.reset(seed=0)
    lay_down(env, list(range(ROWS)))
    for actions_RA in torch.zeros(3, ROWS, 17):
        env.step(actions_RA)
    with pytest.warns(DistesWarning, match=rf"limit of 50 iterations in [1-9]\d* of {3 * ROWS} steps"):
        env.check()
    assert 0 < env.physics.totals[1] <= 3 * ROWS
    env.physics.counts[1] = 100
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env.check()


@pytest.mark.parametrize("name", ["HalfCheetah-v5", "Humanoid-v5"])
@pytest.mark.parametrize("number", [torch.nan, torch.inf])
def test_a_world_that_is_not_finite_ends_and_spoils_no_other(name: str, number: float, pairs: Pairs) -> None:
    env, _ = pairs(name)
    actions = actions_of(env, 6)
    sound = run(env, list(range(ROWS)), actions)
    env.reset(seed=0)
    others = torch.arange(ROWS) != 3
    for step, actions_RA in enumerate(actions):
        if step == 2:
            env.physics.qvel[3] = number
        answer = env.step(actions_RA)
        if step <= 2:
            assert bool(answer[1][3].isnan()) == bool(answer[2][3]) == (step == 2)
        for mine, yours in zip(answer[:4], sound[1 + step], strict=True):
            torch.testing.assert_close(mine[others], yours[others], rtol=0, atol=0)
    assert env.physics.qpos.isfinite().all() and env.physics.qvel.isfinite().all()
    counts = env.physics.counts.tolist()
    env.physics.counts.zero_()
    assert counts[3] == 1


def test_another_integrator(pairs: Pairs) -> None:
    """`train_integrator` is heeded: one step of implicitfast, against MuJoCo's own."""
    import mujoco

    ours, theirs = (made("Hopper-v5", ROWS, warp=warp) for warp in (True, False))
    for env in (ours, theirs):
        env.integrate_with(int(mujoco.mjtIntegrator.mjINT_IMPLICITFAST))
        env.reset(seed=0)
    rk4, _ = pairs("Hopper-v5")
    rk4.reset(seed=0)
    actions_RA = actions_of(ours, 1)[0]
    mine, yours, exact = ours.step(actions_RA)[0], theirs.step(actions_RA)[0], rk4.step(actions_RA)[0]
    torch.testing.assert_close(mine.double(), yours, rtol=1e-4, atol=1e-4)
    assert (mine - exact).abs().max() > 1e-3


def test_returns_have_the_same_distribution() -> None:
    """Of one policy, over episodes from the same starts: by their means, and by their whole distribution."""
    weights = torch.randn(11, 3, generator=torch.Generator().manual_seed(3)).double() * 0.3
    returns = []
    for warp in (True, False):
        env = made("Hopper-v5", 48, warp=warp)
        seen, running = env.reset(seed=0)[0], torch.ones(48, dtype=torch.bool)
        total = torch.zeros(48, dtype=torch.float64)
        for _ in range(45):
            seen, reward, terminated, *_ = env.step(torch.tanh(seen.double() @ weights).float())
            total += reward * running
            running = running & ~terminated
            if not running.any():
                break
        assert not running.any()
        returns.append(total)
    mine, yours = returns
    error = (mine.var() / len(mine) + yours.var() / len(yours)).sqrt()
    assert yours.std() > 0.1 and (mine.mean() - yours.mean()).abs() < 2 * error
    assert abs(mine.mean() / yours.mean() - 1) < 0.05
    everywhere = torch.cat(returns).unsqueeze(1)  # Kolmogorov and Smirnov's distance, at its 5 % level
    assert ((mine < everywhere).double().mean(1) - (yours < everywhere).double().mean(1)).abs().max() < 0.28
