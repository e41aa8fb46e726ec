"""The batched MuJoCo environments against Gymnasium's own, version 5.

Axes: R rows, A action.
"""

import subprocess
import sys
import warnings
from typing import Any

import gymnasium
import mujoco
import numpy as np
import pytest
import torch
from torch import Tensor

import distes.envs
from distes.envs.mujoco import library
from distes.envs.mujoco.ant import Ant
from distes.envs.mujoco.base import MujocoEnv
from distes.envs.mujoco.half_cheetah import HalfCheetah
from distes.envs.mujoco.physics import ASSETS, load_model
from distes.envs.mujoco.sums import numpy_sum
from distes.errors import ConfigurationError
from tests.support.small import ROOT

SPEC = int(mujoco.mjtState.mjSTATE_INTEGRATION)
NAMES = [id for id, path in distes.envs.TWINS.items() if ".mujoco." in path]
# What may differ from Gymnasium's in the last bit: sines, cosines, powers, and a norm by BLAS.
INEXACT = {"InvertedDoublePendulum-v5"}
INEXACT_TERMS = {"distance_from_origin"}
# Every argument of the originals that changes numbers, away from its default.
OTHER_ARGUMENTS: dict[str, dict[str, Any]] = {
    "InvertedPendulum-v5": {"frame_skip": 3, "reset_noise_scale": 0.05},
    "InvertedDoublePendulum-v5": {"frame_skip": 2, "reset_noise_scale": 0.2, "healthy_reward": 3.0},
    "Swimmer-v5": {
        "frame_skip": 2,
        "forward_reward_weight": 1.7,
        "ctrl_cost_weight": 0.3,
        "reset_noise_scale": 0.2,
        "exclude_current_positions_from_observation": False,
    },
    "HalfCheetah-v5": {
        "frame_skip": 3,
        "forward_reward_weight": 1.7,
        "ctrl_cost_weight": 0.3,
        "reset_noise_scale": 0.2,
        "exclude_current_positions_from_observation": False,
    },
    "Hopper-v5": {
        "frame_skip": 3,
        "forward_reward_weight": 1.7,
        "ctrl_cost_weight": 0.3,
        "healthy_reward": 0.7,
        "terminate_when_unhealthy": False,
        "healthy_state_range": (-3.0, 2.0),
        "healthy_z_range": (1.0, 1.3),
        "healthy_angle_range": (-0.1, 0.05),
        "reset_noise_scale": 0.02,
        "exclude_current_positions_from_observation": False,
    },
    "Walker2d-v5": {
        "frame_skip": 3,
        "forward_reward_weight": 1.7,
        "ctrl_cost_weight": 0.3,
        "healthy_reward": 0.7,
        "terminate_when_unhealthy": False,
        "healthy_z_range": (1.0, 1.3),
        "healthy_angle_range": (-0.1, 0.05),
        "reset_noise_scale": 0.02,
        "exclude_current_positions_from_observation": False,
    },
    "Ant-v5": {
        "frame_skip": 3,
        "forward_reward_weight": 1.7,
        "ctrl_cost_weight": 0.3,
        "contact_cost_weight": 0.1,
        "healthy_reward": 0.7,
        "main_body": "front_left_leg",
        "terminate_when_unhealthy": False,
        "healthy_z_range": (0.5, 0.8),
        "contact_force_range": (-0.5, 2.0),
        "reset_noise_scale": 0.2,
        "exclude_current_positions_from_observation": False,
        "include_cfrc_ext_in_observation": False,
    },
    "Humanoid-v5": {
        "frame_skip": 3,
        "forward_reward_weight": 1.7,
        "ctrl_cost_weight": 0.3,
        "contact_cost_weight": 1e-3,
        "contact_cost_range": (0.5, 4.0),
        "healthy_reward": 0.7,
        "terminate_when_unhealthy": False,
        "healthy_z_range": (1.2, 1.39),
        "reset_noise_scale": 0.02,
        "exclude_current_positions_from_observation": False,
        "include_cinert_in_observation": False,
        "include_cvel_in_observation": False,
        "include_qfrc_actuator_in_observation": False,
        "include_cfrc_ext_in_observation": False,
    },
}


def batched(name: str, rows: int, **arguments: Any) -> MujocoEnv:
    made = gymnasium.make_vec(f"distes/{name}", num_envs=rows, **{"info_terms": True, **arguments})
    assert isinstance(made, MujocoEnv)
    return made


def originals(name: str, rows: int, **arguments: Any) -> list[gymnasium.Env[Any, Any]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the precision of Gymnasium's own spaces
        return [gymnasium.make(name, disable_env_checker=True, **arguments) for _ in range(rows)]


def random_actions(env: MujocoEnv, steps: int, seed: int = 0, dtype: Any = np.float32) -> np.ndarray:
    """(steps, R, A), some beyond the bounds, which MuJoCo clamps and rewards do not."""
    high = env.single_action_space.high  # type: ignore[attr-defined]
    shape = (steps, env.num_envs, len(high))
    return (np.random.default_rng(seed).uniform(-1.2, 1.2, shape) * high).astype(dtype)


def full_state(original: gymnasium.Env[Any, Any]) -> np.ndarray:
    """Positions, velocities, warm start, controls, time and so on."""
    model, data = original.unwrapped.model, original.unwrapped.data  # type: ignore[attr-defined]
    state = np.empty(mujoco.mj_stateSize(model, SPEC))
    mujoco.mj_getState(model, data, state, SPEC)
    return state


def assert_same(name: str, what: str, ours: Tensor, theirs: Any) -> None:
    if name in INEXACT or what in INEXACT_TERMS:
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-12, atol=1e-12, err_msg=what)
    else:
        np.testing.assert_array_equal(ours.numpy(), theirs, err_msg=what)


def assert_same_step(name: str, ours: Any, theirs: list[Any]) -> list[bool]:
    """Compares a step of all rows, every term of `info` included, and returns where episodes ended."""
    observations, rewards, terminated, truncated, info = ours
    assert observations.dtype == rewards.dtype == torch.float64
    assert_same(name, "observations", observations, np.stack([step[0] for step in theirs]))
    assert_same(name, "rewards", rewards, [step[1] for step in theirs])
    assert terminated.tolist() == [step[2] for step in theirs]
    assert truncated.tolist() == [step[3] for step in theirs]
    assert info.keys() == theirs[0][4].keys()
    for term in info:
        assert_same(name, term, info[term], np.stack([np.asarray(step[4][term]) for step in theirs]))
    return [bool(step[2] or step[3]) for step in theirs]


@pytest.mark.parametrize("name", NAMES)
class TestAsGymnasium:
    def test_a_thousand_steps(self, name: str) -> None:
        """With starts of their own for rows that end, and rows dropped half-way."""
        env, theirs, seeds = batched(name, 3), originals(name, 3), [5, 2**62 + 1, 77]
        observations, info = env.reset(seed=seeds)
        assert info == {}
        assert_same(
            name, "start", observations, np.stack([e.reset(seed=s)[0] for e, s in zip(theirs, seeds, strict=True)])
        )
        actions, ends = random_actions(env, 1000), 0
        for step in range(1000):
            if step == 500:
                env.narrow(torch.tensor([2, 0]))
                theirs, actions = [theirs[2], theirs[0]], actions[:, [2, 0]]
            taken = actions[step]
            ended = assert_same_step(
                name, env.step(torch.from_numpy(taken)), [e.step(a) for e, a in zip(theirs, taken, strict=True)]
            )
            if step % 50 == 49:
                for state, original in zip(env.physics.state, theirs, strict=True):
                    np.testing.assert_array_equal(state, full_state(original))
            if any(ended):
                ends += sum(ended)
                observations, _ = env.reset(options={"reset_mask": torch.tensor(ended)})
                for row in np.flatnonzero(ended):
                    assert_same(name, "start", observations[row], theirs[row].reset()[0])
        assert ends >= 2  # of the time limit, if of nothing else

    def test_every_argument(self, name: str) -> None:
        arguments = OTHER_ARGUMENTS[name]
        env, theirs = (
            batched(name, 2, max_episode_steps=30, **arguments),
            originals(name, 2, max_episode_steps=30, **arguments),
        )
        assert env.single_observation_space == theirs[0].observation_space
        assert env.single_action_space == theirs[0].action_space
        assert_same(
            name, "start", env.reset(seed=3)[0], np.stack([e.reset(seed=3 + row)[0] for row, e in enumerate(theirs)])
        )
        for taken in random_actions(env, 30):
            ended = assert_same_step(
                name, env.step(torch.from_numpy(taken)), [e.step(a) for e, a in zip(theirs, taken, strict=True)]
            )
        assert "Pendulum" in name or ended == [True, True]

    def test_one_step_from_any_state(self, name: str) -> None:
        """Positions, velocities, warm start and time are taken from the state; to 1e-9, for states of any kind."""
        env, (original,) = batched(name, 6), originals(name, 1)
        env.reset(seed=0)
        original.reset(seed=0)
        for actions in random_actions(env, 40):
            env.step(torch.from_numpy(actions))
        states = env.physics.state.clone()
        env.physics.load(states)
        env.physics.qvel.add_(torch.randn(env.physics.qvel.shape, generator=torch.Generator().manual_seed(1)))
        states = env.physics.state.clone()
        env.physics.load(states)
        np.testing.assert_array_equal(env.physics.state, states)
        actions = random_actions(env, 1, seed=2, dtype=np.float64)[0]
        observations, rewards, _, _, info = env.step(torch.from_numpy(actions))
        model, data = original.unwrapped.model, original.unwrapped.data  # type: ignore[attr-defined]
        for row, action in enumerate(actions):
            mujoco.mj_setState(model, data, states[row].numpy(), SPEC)
            mujoco.mj_forward(model, data)
            mujoco.mj_setState(model, data, states[row].numpy(), SPEC)
            observation, reward, _, _, terms = original.unwrapped.step(action)
            np.testing.assert_allclose(observations[row], observation, rtol=1e-9, atol=1e-9)
            np.testing.assert_allclose(rewards[row], reward, rtol=1e-9, atol=1e-9)
            for term, value in terms.items():
                np.testing.assert_allclose(info[term][row], value, rtol=1e-9, atol=1e-9)

    def test_a_state_that_becomes_infinite(self, name: str) -> None:
        """MuJoCo puts it back to the model's default in the midst of a step; the other rows notice nothing."""
        env, theirs = batched(name, 3), originals(name, 3)
        env.reset(seed=0)
        for row, original in enumerate(theirs):
            original.reset(seed=row)
        env.physics.qvel[1] = 1e12
        theirs[1].unwrapped.data.qvel[:] = 1e12  # type: ignore[attr-defined]
        for taken in random_actions(env, 3):
            assert_same_step(
                name, env.step(torch.from_numpy(taken)), [e.step(a) for e, a in zip(theirs, taken, strict=True)]
            )
        assert env.physics.qvel.abs().max() < 1e6

    def test_a_row_depends_on_nothing_but_its_seed_and_actions(self, name: str) -> None:
        many, alone = batched(name, 9), batched(name, 1)
        actions = random_actions(many, 12)
        many.reset(seed=list(range(100, 109)))
        alone.reset(seed=[107])
        for taken in torch.from_numpy(actions):
            one, all_ = alone.step(taken[7:8]), many.step(taken)
            for ours, among in zip(one[:4], all_[:4], strict=True):
                torch.testing.assert_close(ours, among[7:8], rtol=0, atol=0)

    def test_narrowed_rows_come_back_with_a_reset(self, name: str) -> None:
        env, fresh = batched(name, 5), batched(name, 5)
        env.reset(seed=0)
        env.step(torch.from_numpy(random_actions(env, 1)[0]))
        env.narrow(torch.tensor([4, 1, 2]))
        env.narrow(torch.tensor([2, 0]))
        assert env.num_envs == env.physics.rows == 2 and env.observation_space.shape[0] == 2  # type: ignore[index]
        env.step(torch.from_numpy(random_actions(env, 1)[0]))
        torch.testing.assert_close(env.reset(seed=9)[0], fresh.reset(seed=9)[0], rtol=0, atol=0)
        assert env.num_envs == env.physics.rows == 5
        for taken in torch.from_numpy(random_actions(env, 3)):
            torch.testing.assert_close(env.step(taken)[:2], fresh.step(taken)[:2], rtol=0, atol=0)

    def test_info_is_left_out_unless_asked_for(self, name: str) -> None:
        env, told = batched(name, 2, info_terms=False), batched(name, 2)
        for made in (env, told):
            made.reset(seed=0)
        taken = torch.from_numpy(random_actions(env, 1)[0])
        ours, theirs = env.step(taken), told.step(taken)
        assert ours[4] == {}
        torch.testing.assert_close(ours[:4], theirs[:4], rtol=0, atol=0)

    def test_inference_mode_comes_and_goes(self, name: str) -> None:
        with torch.inference_mode():
            env = batched(name, 3)
            env.reset(seed=0)
            env.narrow(torch.tensor([0, 2]))
        taken = torch.from_numpy(random_actions(env, 1)[0])
        env.step(taken)
        with torch.inference_mode():
            env.reset(options={"reset_mask": torch.tensor([True, False])})
            env.step(taken)
        env.reset(options={"reset_mask": torch.tensor([False, True])})
        assert env.step(taken.requires_grad_())[1].requires_grad is False

    @pytest.mark.gpu
    def test_results_go_to_the_device(self, name: str) -> None:
        env, ours = batched(name, 4), batched(name, 4, device="cuda")
        torch.testing.assert_close(env.reset(seed=0)[0], ours.reset(seed=0)[0].cpu(), rtol=0, atol=0)
        taken = torch.from_numpy(random_actions(env, 1)[0])
        expected, got = env.step(taken), ours.step(taken.cuda())
        for here, there in zip((*expected[:4], *expected[4].values()), (*got[:4], *got[4].values()), strict=True):
            assert there.device.type == "cuda"
            torch.testing.assert_close(here, there.cpu(), rtol=0, atol=0)
        ours.narrow(torch.tensor([1, 3], device="cuda"))
        assert ours.step(taken[:2].cuda())[0].shape[0] == 2


def test_one_seed_counts_up_and_a_mask_takes_its_own() -> None:
    env, listed = batched("Hopper-v5", 3), batched("Hopper-v5", 3)
    torch.testing.assert_close(env.reset(seed=4)[0], listed.reset(seed=torch.tensor([4, 5, 6]))[0], rtol=0, atol=0)
    before = env.reset(seed=4)[0].clone()
    after, _ = env.reset(seed=[0, 50, 0], options={"reset_mask": np.array([False, True, False])})
    torch.testing.assert_close(after[[0, 2]], before[[0, 2]], rtol=0, atol=0)
    torch.testing.assert_close(after[1], listed.reset(seed=50)[0][0], rtol=0, atol=0)


def test_episodes_are_truncated_row_by_row() -> None:
    env = batched("HalfCheetah-v5", 2, max_episode_steps=3)
    env.reset(seed=0)
    actions = torch.zeros(2, 6)
    assert [env.step(actions)[3].tolist() for _ in range(2)] == [[False, False]] * 2
    env.reset(options={"reset_mask": torch.tensor([False, True])})
    assert [env.step(actions)[3].tolist() for _ in range(3)] == [[True, False], [True, False], [True, True]]
    without = HalfCheetah(2)
    without.reset(seed=0)
    assert not any(without.step(actions)[3].any() for _ in range(1100))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 3, 7, 8, 9, 16, 17, 84, 128, 129, 300, 1000])
def test_numpy_sum(n: int, dtype: Any) -> None:
    rows = np.random.default_rng(n).standard_normal((13, n)).astype(dtype)
    expected = np.array([np.sum(row) for row in rows])
    np.testing.assert_array_equal(numpy_sum(torch.from_numpy(rows)), expected)
    np.testing.assert_array_equal(numpy_sum(torch.from_numpy(rows.T.copy()).T), expected)
    assert numpy_sum(torch.from_numpy(rows)).dtype == torch.from_numpy(rows).dtype


class TestWhatGoesWrong:
    @pytest.mark.parametrize(("name", "height"), [("HalfCheetah-v5", 1), ("Ant-v5", 2)])
    def test_a_row_in_which_mujoco_fails_ends_with_nan(self, name: str, height: int, tmp_path: Any) -> None:
        """With so little memory that the solver fails where a row is pressed into the floor, but not in the air."""
        whole = batched(name, 3)
        text = (ASSETS / f"{name.removesuffix('-v5').replace('HalfC', 'half_c').lower()}.xml").read_text()
        path, actions, found = tmp_path / "cramped.xml", torch.from_numpy(random_actions(whole, 3)), False
        for kilobytes in range(10, 80, 2):
            path.write_text(text.replace("<worldbody>", f'<size memory="{kilobytes}K"/><worldbody>', 1))
            cramped = batched(name, 3, xml_file=str(path))
            for env in (cramped, whole):
                env.reset(seed=0)
                env.physics.qpos[:, height] += 50
                env.physics.qpos[1, height] = -0.3
            _, rewards, terminated, _, _ = cramped.step(actions[0])
            expected = whole.step(actions[0])[1]
            torch.testing.assert_close(rewards[[0, 2]], expected[[0, 2]], rtol=0, atol=0)
            if rewards[1].isnan():
                found = True
                break
        assert found and terminated[1] and cramped.physics.qpos[1, height] == -0.3
        cramped.physics.qpos[1] = cramped.physics.qpos[0]  # it goes on where there is no error
        assert cramped.step(actions[1])[1].isfinite().all()

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"num_envs": 0}, "num_envs is 0: give at least 1"),
            ({"frame_skip": 0}, "frame_skip is 0: give at least 1"),
            ({"max_episode_steps": 0}, "max_episode_steps is 0: give at least 1"),
            ({"xml_file": "ants.xml"}, r"xml_file: there is no file '.*assets/ants.xml'\. Name one of Gymnasium's"),
            ({"xml_file": str(ROOT / "README.md")}, r"xml_file: MuJoCo cannot read '.*README.md': \S"),
            ({"main_body": "wing"}, "main_body must be the name or the number of a body of the model; got 'wing'"),
            ({"main_body": 99}, "main_body must be the name or the number of a body of the model; got 99"),
        ],
    )
    def test_arguments(self, arguments: dict[str, Any], message: str) -> None:
        with pytest.raises(ConfigurationError, match=message):
            Ant(**{"num_envs": 2, **arguments})

    def test_calls(self) -> None:
        env = batched("Hopper-v5", 3)
        env.reset(seed=0)
        for actions in (torch.zeros(3), torch.zeros(1, 3), torch.zeros(3, 4)):
            with pytest.raises(ConfigurationError, match=r"The actions have shape .*: 3 rows take \(3, 3\)"):
                env.step(actions)
        with pytest.raises(ConfigurationError, match="2 seeds for 3 rows"):
            env.reset(seed=[1, 2])
        with pytest.raises(ConfigurationError, match="reset_mask has shape"):
            env.reset(options={"reset_mask": torch.ones(2, dtype=torch.bool)})

    @pytest.mark.parametrize("missing", ["mujoco", "mujoco.batch"])
    @pytest.mark.slow
    def test_without_mujoco_or_with_an_old_one(self, missing: str) -> None:
        code = f"""
import sys
sys.modules[{missing!r}] = None
import gymnasium, distes.envs
from distes.errors import ConfigurationError
try:
    gymnasium.make_vec("distes/Ant-v5", num_envs=2)
except ConfigurationError as error:
    print(error)
"""
        run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        assert run.stdout.startswith("The batched MuJoCo environments need mujoco 4.0 or later")
        assert run.stdout.strip().endswith("pip install 'mujoco>=4.0'.")

    def test_islands_are_looked_for_where_there_can_be_several(self, tmp_path: Any) -> None:
        body = '<body><freejoint/><geom size="1"/></body>'
        off = int(mujoco.mjtDisableBit.mjDSBL_ISLAND)
        for bodies, expected in ((1, off), (2, 0)):
            path = tmp_path / f"{bodies}.xml"
            path.write_text(f"<mujoco><worldbody>{body * bodies}</worldbody></mujoco>")
            assert load_model(str(path)).opt.disableflags & off == expected

    def test_no_clock_is_read_in_the_physics(self) -> None:
        """MuJoCo's bindings read one at every stage of a substep; nobody here looks at `MjData.timer`."""
        library.load()
        model = mujoco.MjModel.from_xml_string("<mujoco><worldbody/></mujoco>")
        data = mujoco.MjData(model)
        mujoco.mj_step(model, data)
        assert data.timer[mujoco.mjtTimer.mjTIMER_STEP].number >= 1
        assert data.timer[mujoco.mjtTimer.mjTIMER_STEP].duration == 0

    @pytest.mark.slow
    def test_nothing_is_printed(self, tmp_path: Any) -> None:
        """Neither of the models nor of states that became infinite; and no MUJOCO_LOG.TXT."""
        code = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import gymnasium, torch, distes.envs
for name in {NAMES}:
    env = gymnasium.make_vec("distes/" + name, num_envs=2)
    env.reset(seed=0)
    env.physics.qvel[1] = 1e12
    env.step(torch.zeros(2, *env.single_action_space.shape))
"""
        run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert (run.stdout, run.stderr, list(tmp_path.iterdir())) == ("", "", [])
