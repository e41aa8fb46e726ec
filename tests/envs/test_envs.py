"""The batched classic control tasks step for step beside Gymnasium's own, and what they promise to a GPU.

Axes: R rows, one environment each, S numbers of the state.
"""

import math
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

import distes.envs
from distes.envs.classic import ColumnEnv
from distes.errors import ConfigurationError

NAMES = ["CartPole-v1", "Pendulum-v1", "MountainCarContinuous-v0", "Acrobot-v1"]
R = 12

Actions = Callable[[np.random.Generator, NDArray[Any]], NDArray[Any]]  # of a generator and the state, (R, S)


def make(name: str, rows: int = R, **arguments: Any) -> ColumnEnv:
    environment = gymnasium.make_vec(f"distes/{name}", num_envs=rows, **arguments)
    assert isinstance(environment, ColumnEnv)
    return environment


def pushes(count: int) -> Actions:
    return lambda generator, state_RS: generator.integers(0, count, len(state_RS))


def forces(largest: float) -> Actions:
    return lambda generator, state_RS: generator.uniform(-largest, largest, (len(state_RS), 1)).astype(np.float32)


def with_the_speed(generator: np.random.Generator, state_RS: NDArray[Any]) -> NDArray[Any]:
    """Brings the car to the goal, over the left end with luck."""
    force_R1 = np.sign(state_RS[:, 1:]) * generator.uniform(0.3, 1, (len(state_RS), 1))
    return force_R1.astype(np.float32)


def spin(generator: np.random.Generator, state_RS: NDArray[Any]) -> NDArray[Any]:
    """Brings the links up."""
    return 1 + np.sign(state_RS[:, 3]).astype(np.int64)


class Originals:
    """R of Gymnasium's own environments."""

    def __init__(self, name: str, **arguments: Any) -> None:
        self.environments: list[Any] = [gymnasium.make(name, **arguments).unwrapped for _ in range(R)]

    def reset(self, row: int, seed: int) -> None:
        """The car's state is in single precision after the first step; here from the start."""
        one = self.environments[row]
        one.reset(seed=seed)
        if "MountainCar" in type(one).__name__:
            one.state = one.state.astype(np.float32)

    @property
    def state_RS(self) -> Tensor:
        return torch.from_numpy(np.array([one.state for one in self.environments], dtype=np.float64))

    def step(self, actions: NDArray[Any]) -> tuple[Tensor, Tensor, Tensor]:
        steps = [one.step(action) for one, action in zip(self.environments, actions, strict=True)]
        observations, rewards, terminated, _, _ = zip(*steps, strict=True)
        return (
            torch.from_numpy(np.stack(observations)),
            torch.tensor([float(reward) for reward in rewards], dtype=torch.float64),
            torch.tensor(terminated),
        )


@pytest.mark.parametrize(
    ("name", "arguments", "actions", "tolerance", "least_ends"),
    [
        ("CartPole-v1", {}, pushes(2), 1e-9, 100),
        ("CartPole-v1", {"sutton_barto_reward": True}, pushes(2), 1e-9, 100),
        ("Pendulum-v1", {}, forces(3.0), 1e-8, 0),
        ("Pendulum-v1", {"g": 3.7}, forces(2.0), 1e-8, 0),
        ("MountainCarContinuous-v0", {}, forces(1.0), 0, 0),
        ("MountainCarContinuous-v0", {}, with_the_speed, 0, 20),
        ("MountainCarContinuous-v0", {"goal_velocity": 0.03}, with_the_speed, 0, 10),
        # Gymnasium rounds what a clipped force adds once less: some 1e-9 per step.
        ("MountainCarContinuous-v0", {}, forces(1.5), 5e-6, 0),
        ("Acrobot-v1", {}, pushes(3), 1e-9, 0),
        ("Acrobot-v1", {}, spin, 1e-6, 20),
    ],
)
def test_trajectories_are_gymnasiums(
    name: str, arguments: dict[str, Any], actions: Actions, tolerance: float, least_ends: int
) -> None:
    """500 steps from Gymnasium's random starts; rows whose episode ends start anew in both.

    The tolerance comes on top of one rounding to single precision, in which both return observations; 0: equal bits.
    """
    originals, ours, generator = Originals(name, **arguments), make(name, **arguments), np.random.default_rng(1)
    for row in range(R):
        originals.reset(row, seed=row)
    ours.reset(options={"state": originals.state_RS})
    ends = 0
    for step in range(500):
        actions_R = actions(generator, originals.state_RS.numpy())
        observations_RO, rewards_R, terminated_R = originals.step(actions_R)
        seen_RO, got_R, ended_R, _, _ = ours.step(torch.from_numpy(actions_R))
        rounding = 1.2e-7 if tolerance else 0.0
        torch.testing.assert_close(seen_RO, observations_RO, rtol=rounding, atol=tolerance)
        torch.testing.assert_close(got_R, rewards_R, rtol=0, atol=max(tolerance, 1e-12))
        assert torch.equal(ended_R, terminated_R), step
        # A pendulum near its upper rest, and links that fly high, multiply the last bit of double precision.
        if (name == "Pendulum-v1" and step % 100 == 0) or (actions is spin and step % 50 == 0):
            ours.reset(options={"state": originals.state_RS})
        if terminated_R.any():
            ends += int(terminated_R.sum())
            for row in terminated_R.nonzero()[:, 0].tolist():
                originals.reset(row, seed=1000 * step + row)
            ours.reset(options={"reset_mask": terminated_R, "state": originals.state_RS})
    assert ends >= least_ends


@pytest.mark.parametrize(
    ("name", "scale_S", "actions"),
    [
        ("CartPole-v1", [2.4, 3, 0.21, 3], pushes(2)),
        ("Pendulum-v1", [20, 8], forces(3.0)),
        ("MountainCarContinuous-v0", [0.9, 0.07], forces(1.5)),
        ("Acrobot-v1", [math.pi, math.pi, 4 * math.pi, 9 * math.pi], pushes(3)),
    ],
)
def test_one_step_from_anywhere_is_gymnasiums(name: str, scale_S: list[float], actions: Actions) -> None:
    """The whole state space, its edges included: walls, greatest speeds, angles beyond a turn, both kinds of end."""
    originals, ours, generator = Originals(name), make(name), np.random.default_rng(2)
    ended, dtype = [], np.float32 if "MountainCar" in name else np.float64
    for _ in range(200):
        state_RS = (generator.uniform(-1, 1, (R, len(scale_S))) * scale_S).astype(dtype)
        if "MountainCar" in name:
            state_RS[:, 0] = np.clip(state_RS[:, 0] - np.float32(0.3), -1.2, 0.6)
        for one, state_S in zip(originals.environments, state_RS, strict=True):
            one.reset(seed=0)
            one.state = state_S.copy()
        ours.reset(options={"state": torch.from_numpy(state_RS)})
        torch.testing.assert_close(
            ours.state_RS.to(torch.float64).sin(),
            torch.from_numpy(state_RS).to(torch.float64).sin(),
            rtol=0,
            atol=1e-12,
        )
        actions_R = actions(generator, state_RS)
        observations_RO, rewards_R, terminated_R = originals.step(actions_R)
        seen_RO, got_R, ended_R, _, _ = ours.step(torch.from_numpy(actions_R))
        torch.testing.assert_close(seen_RO, observations_RO, rtol=2e-7, atol=1e-8)
        torch.testing.assert_close(got_R, rewards_R, rtol=0, atol=1e-8)
        assert torch.equal(ended_R, terminated_R)
        torch.testing.assert_close(
            torch.cos(ours.state_RS), torch.cos(originals.state_RS).to(ours.dtype), rtol=0, atol=1e-7
        )
        ended.append(terminated_R.clone())
    share = float(torch.stack(ended).double().mean())
    assert share == 0 if name == "Pendulum-v1" else 0.01 < share < 0.99


@pytest.mark.parametrize(
    ("name", "options", "low_S", "high_S"),
    [
        ("CartPole-v1", {}, [-0.05] * 4, [0.05] * 4),
        ("CartPole-v1", {"low": -0.2, "high": 0.1}, [-0.2] * 4, [0.1] * 4),
        ("Pendulum-v1", {}, [-math.pi, -1], [math.pi, 1]),
        ("Pendulum-v1", {"x_init": 0.5, "y_init": 0.25}, [-0.5, -0.25], [0.5, 0.25]),
        ("MountainCarContinuous-v0", {}, [-0.6, 0], [-0.4, 0]),
        ("MountainCarContinuous-v0", {"high": -0.5}, [-0.6, 0], [-0.5, 0]),
        ("Acrobot-v1", {}, [-0.1] * 4, [0.1] * 4),
        ("Acrobot-v1", {"low": -0.3}, [-0.3] * 4, [0.1] * 4),
    ],
)
def test_random_starts_are_uniform(
    name: str, options: dict[str, float], low_S: list[float], high_S: list[float]
) -> None:
    """Between Gymnasium's bounds, column for column independent. Bounds of some six standard deviations."""
    rows = 20_000
    ours = make(name, rows)
    ours.reset(seed=5, options=options)
    state_RS = ours.state_RS.to(torch.float64).numpy()
    low, high = np.array(low_S), np.array(high_S)
    one = gymnasium.make(name).unwrapped
    theirs = []
    for seed in range(200):
        one.reset(seed=seed, options=dict(options))
        theirs.append(one.state)  # type: ignore[attr-defined]
    assert (low - 1e-7 <= np.min(theirs, 0)).all() and (np.max(theirs, 0) <= high + 1e-7).all()
    assert (low - 1e-7 <= state_RS.min(0)).all() and (state_RS.max(0) <= high + 1e-7).all()
    drawn = high > low
    unit = (state_RS[:, drawn] - low[drawn]) / (high - low)[drawn]
    expected = (np.arange(rows) + 0.5) / rows
    assert np.abs(np.sort(unit, axis=0) - expected[:, None]).max() < 3 / math.sqrt(rows)  # Kolmogorov and Smirnov's
    correlation = np.atleast_2d(np.corrcoef(unit.T))
    assert np.abs(correlation - np.eye(len(correlation))).max() < 6 / math.sqrt(rows)


def test_rows_go_on_in_their_own_sequences() -> None:
    """Without seeds each reset takes the next numbers, for a row alone and among others alike."""
    among, alone = make("CartPole-v1", 5), make("CartPole-v1", 1)
    among.reset(seed=10)
    alone.reset(seed=13)
    mask = torch.tensor([False, False, False, True, False])
    second_RO = among.reset(options={"reset_mask": mask})[0].clone()
    assert torch.equal(second_RO[3:4], alone.reset()[0])
    third_RO = among.reset()[0].clone()
    assert torch.equal(third_RO[3:4], alone.reset()[0])
    among.narrow(torch.tensor([3, 0]))
    fourth_RO = among.reset(options={"reset_mask": torch.tensor([True, False])})[0].clone()
    assert torch.equal(fourth_RO[:1], alone.reset()[0]) and torch.equal(fourth_RO[1], third_RO[0])
    assert torch.equal(among.reset()[0][3:4], alone.reset()[0])


@pytest.mark.parametrize("name", NAMES)
def test_the_limit_may_be_none(name: str) -> None:
    ours = make(name, 2, max_episode_steps=None)
    ours.reset(seed=0)
    actions_R = torch.from_numpy(np.stack([ours.single_action_space.sample() for _ in range(2)]))
    assert not any(ours.step(actions_R)[3].any() for _ in range(1100))


@pytest.mark.filterwarnings("ignore:.*already returned terminated:UserWarning")
@pytest.mark.parametrize("name", NAMES)
def test_episodes_are_truncated_where_gymnasium_does(name: str) -> None:
    ours, original = make(name, 2), gymnasium.make(name)
    ours.reset(seed=0)
    original.reset(seed=0)
    action = original.action_space.sample()
    actions_R = torch.from_numpy(np.stack([action, action]))
    for _ in range(1000):
        truncated = original.step(action)[3]
        assert ours.step(actions_R)[3].tolist() == [truncated, truncated]
        if truncated:
            return
    raise AssertionError("never")


@pytest.mark.parametrize("name", NAMES)
def test_tensors_stay_where_they_are(name: str) -> None:
    """What a CUDA graph of one width recorded is right again whenever the environment has this width."""
    ours = make(name, 20)
    ours.reset(seed=0)
    actions_R = torch.from_numpy(np.stack([ours.single_action_space.sample() for _ in range(20)]))

    def addresses(rows: int) -> list[int]:
        *returned, _ = ours.step(actions_R[:rows])
        return [tensor.data_ptr() for tensor in (*returned, ours.block_CR)]

    whole = addresses(20)
    ours.narrow(torch.arange(7))
    seven = addresses(7)
    ours.reset(seed=1)
    assert addresses(20) == whole
    ours.narrow(torch.arange(5, 12))
    assert addresses(7) == seven


@pytest.mark.parametrize("name", NAMES)
def test_a_step_waits_for_no_number(name: str) -> None:
    """Tensors without numbers ("meta"): whatever in `step` wanted to know one would raise."""
    ours = make(name, 8, device="meta")
    ours.reset(seed=0)
    discrete = isinstance(ours.single_action_space, spaces.Discrete)
    shape, dtype = ((8,), torch.int64) if discrete else ((8, 1), torch.float32)
    *returned, _ = ours.step(torch.zeros(shape, dtype=dtype, device="meta"))
    for tensor in returned:
        assert tensor.device.type == "meta" and len(tensor) == 8
        with pytest.raises(RuntimeError, match="meta"):
            bool(tensor.any())


@pytest.mark.gpu
@pytest.mark.parametrize("name", NAMES)
def test_a_gpu_does_the_same_in_a_graph(name: str) -> None:
    """Single steps and a captured one, against the CPU's, to float tolerance."""
    rows, cpu, gpu = 1000, make(name, 1000), make(name, 1000, device="cuda")
    start_RO = cpu.reset(seed=4)[0]
    torch.testing.assert_close(gpu.reset(seed=4)[0].cpu(), start_RO)
    space, generator = cpu.single_action_space, np.random.default_rng(3)
    if isinstance(space, spaces.Discrete):
        actions_TR = torch.from_numpy(generator.integers(0, space.n, (30, rows)))
    else:
        assert isinstance(space, spaces.Box)
        actions_TR = torch.from_numpy(generator.uniform(space.low, space.high, (30, rows, 1)).astype(np.float32))
    fixed_R = actions_TR[0].cuda()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for actions_R in actions_TR[:3]:
            fixed_R.copy_(actions_R)
            returned = gpu.step(fixed_R)
            for one, twin in zip(returned[:4], cpu.step(actions_R)[:4], strict=True):
                torch.testing.assert_close(one.cpu(), twin, rtol=0, atol=1e-5)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        returned = gpu.step(fixed_R)
    for actions_R in actions_TR[3:]:
        fixed_R.copy_(actions_R)
        graph.replay()
        for one, twin in zip(returned[:4], cpu.step(actions_R)[:4], strict=True):
            torch.testing.assert_close(one.cpu(), twin, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"low": 0.2}, r"Starts from low=0.2 to high=0.05"),
        ({"high": "far"}, r"The option 'high' is 'far': give a number"),
        ({"state": torch.zeros(3, 5)}, r"has shape \(3, 5\) .*: give a tensor of shape \(3, 4\)"),
        ({"state": torch.zeros(3, 4, dtype=torch.int64)}, r"type torch.int64: .* of a float type"),
        ({"reset_mask": torch.zeros(3)}, r"reset_mask has shape \(3,\) and type torch.float32: 3 rows take"),
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, Any], message: str) -> None:
    ours = make("CartPole-v1", 3)
    ours.reset(seed=0)
    with pytest.raises(ConfigurationError, match=message):
        ours.reset(options=options)


@pytest.mark.parametrize(
    ("seed", "message"),
    [
        (-1, r"seeds go from -1 to 1: give some from 0"),
        ([0, 2**63, 1], r"seeds go from 0 to 9223372036854775808"),
        (torch.zeros(3), r"tensor of shape \(3,\) and type torch.float32: 3 rows take"),
        ([1, 2], r"There are 2 seeds for 3 rows"),
    ],
)
def test_seeds_that_mean_nothing_are_refused(seed: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make("CartPole-v1", 3).reset(seed=seed)


@pytest.mark.parametrize("limit", [0, -3, 2**24 + 1])
def test_a_limit_that_cannot_be_counted_to_is_refused(limit: int) -> None:
    with pytest.raises(ConfigurationError, match=rf"max_episode_steps is {limit}: give a number from 1 to 16777216"):
        make("MountainCarContinuous-v0", 3, max_episode_steps=limit)


@pytest.mark.parametrize("name", NAMES)
def test_it_must_be_reset_first(name: str) -> None:
    ours = make(name, 1)
    actions_R = torch.from_numpy(np.stack([ours.single_action_space.sample()]))
    with pytest.raises(gymnasium.error.ResetNeeded, match=r"step\(\) was called before reset\(\)"):
        ours.step(actions_R)
    with pytest.raises(gymnasium.error.ResetNeeded, match="call reset\\(\\) without reset_mask first"):
        ours.reset(options={"reset_mask": torch.ones(1, dtype=torch.bool)})


def test_it_has_a_row_at_least() -> None:
    with pytest.raises(ConfigurationError, match="num_envs is 0: a batched environment has at least one row"):
        make("CartPole-v1", 0)


def test_every_name_has_its_original() -> None:
    assert set(NAMES) <= set(distes.envs.TWINS) <= set(gymnasium.registry)


def test_the_largest_seed() -> None:
    ours = make("CartPole-v1", 2)
    start_RO = ours.reset(seed=2**63 - 2)[0].clone()
    assert torch.equal(start_RO, ours.reset(seed=[2**63 - 2, 2**63 - 1])[0])


def test_inference_mode_may_come_and_go() -> None:
    ours, plain = make("CartPole-v1", 2), make("CartPole-v1", 2)
    actions_R = torch.tensor([0, 1])
    with torch.inference_mode():
        ours.reset(seed=1)
        ours.step(actions_R)
    ours.reset()
    plain.reset(seed=1)
    plain.reset()
    assert torch.equal(ours.step(actions_R)[0], plain.step(actions_R)[0])
