"""Every batched environment keeps what `BatchedEnv` promises, whatever it simulates.

Axes: R rows, one environment each.
"""

import importlib.util
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from torch import Tensor

from distes.envs import TWINS
from distes.envs.base import BatchedEnv
from distes.errors import ConfigurationError

R = 37  # no multiple of a vector unit's width
STEPS = 40
SEEDS_R = torch.arange(R) * 7 + 5


def is_there(entry_point: str) -> bool:
    return importlib.util.find_spec(entry_point.partition(":")[0]) is not None


@pytest.fixture(scope="module", params=[name for name, entry_point in TWINS.items() if is_there(entry_point)])
def name(request: pytest.FixtureRequest) -> str:
    if "mujoco" in TWINS[request.param]:
        pytest.importorskip("mujoco")
    return str(request.param)


def make(name: str, rows: int = R, **arguments: Any) -> BatchedEnv:
    environment = gymnasium.make_vec(f"distes/{name}", num_envs=rows, **arguments)
    assert isinstance(environment, BatchedEnv)
    return environment


def draw_actions(environment: BatchedEnv, seed: int = 0, steps: int = STEPS) -> Tensor:
    """For R rows and some steps, within the space."""
    space, generator = environment.single_action_space, np.random.default_rng(seed)
    if isinstance(space, spaces.Discrete):
        return torch.from_numpy(generator.integers(0, space.n, (steps, R)))
    assert isinstance(space, spaces.Box)
    return torch.from_numpy(generator.uniform(space.low, space.high, (steps, R, *space.shape)).astype(np.float32))


Record = list[tuple[Tensor, ...]]


def play(environment: BatchedEnv, actions_TR: Tensor) -> Record:
    """What each step returned, copied."""
    record = []
    for actions_R in actions_TR:
        *numbers, infos = environment.step(actions_R)
        record.append(tuple(one.clone() for one in (*numbers, *infos.values())))
    return record


def of_rows(record: Record, rows: Sequence[int]) -> Record:
    return [tuple(one[list(rows)] for one in step) for step in record]


def same(one: Record, other: Record) -> bool:
    """Bit for bit; a row that ran on after its end may hold anything, NaN included."""
    pairs = [(a, b) for step, twin in zip(one, other, strict=True) for a, b in zip(step, twin, strict=True)]
    return all(a.numpy().tobytes() == b.numpy().tobytes() for a, b in pairs)


def test_it_is_registered_with_gymnasium(name: str) -> None:
    ours, original = make(name, 3), gymnasium.make(name)
    assert ours.single_observation_space == original.observation_space
    assert ours.single_action_space == original.action_space
    assert ours.observation_space.contains(ours.observation_space.sample())
    assert ours.observation_space.shape == (3, *(original.observation_space.shape or ()))
    assert ours.action_space.contains(np.stack([original.action_space.sample() for _ in range(3)]))
    assert ours.metadata["autoreset_mode"] is AutoresetMode.DISABLED
    assert ours.spec is not None and original.spec is not None
    assert ours.spec.kwargs["max_episode_steps"] == original.spec.max_episode_steps
    assert ours.spec.reward_threshold == original.spec.reward_threshold
    assert type(gymnasium.make(f"distes/{name}").unwrapped) is type(original.unwrapped)


@pytest.mark.parametrize("rows", [1, R])
def test_shapes_and_types(name: str, rows: int) -> None:
    environment = make(name, rows)
    shape = environment.single_observation_space.shape or ()
    observations_RO, infos = environment.reset(seed=3)
    assert observations_RO.shape == (rows, *shape) and infos == {}
    for actions_R in draw_actions(environment)[:3, :rows]:
        observations_RO, rewards_R, terminated_R, truncated_R, infos = environment.step(actions_R)
        assert observations_RO.shape == (rows, *shape)
        assert str(observations_RO.dtype) == f"torch.{environment.single_observation_space.dtype}"
        assert rewards_R.shape == (rows,) and rewards_R.dtype == torch.float64
        for ended_R in (terminated_R, truncated_R):
            assert ended_R.shape == (rows,) and ended_R.dtype == torch.bool
        assert all(one.shape[:1] == (rows,) for one in infos.values())
        assert torch.isfinite(observations_RO).all() and torch.isfinite(rewards_R).all()


def test_seeds_decide(name: str) -> None:
    one, other = make(name), make(name)
    start_RO = one.reset(seed=SEEDS_R)[0].clone()
    assert torch.equal(start_RO, other.reset(seed=SEEDS_R.tolist())[0])
    actions_TR = draw_actions(one)
    assert same(play(one, actions_TR), play(other, actions_TR))
    assert torch.equal(one.reset(seed=8)[0], other.reset(seed=range(8, 8 + R))[0])
    assert len(torch.unique(start_RO, dim=0)) == R


def test_without_seeds_every_start_is_new(name: str) -> None:
    starts = [make(name).reset()[0].clone() for _ in range(2)]
    environment = make(name)
    environment.reset(seed=SEEDS_R)
    starts += [environment.reset()[0].clone() for _ in range(2)]
    assert len(torch.unique(torch.cat(starts), dim=0)) == 4 * R


def test_a_row_does_not_depend_on_its_companions(name: str) -> None:
    among = make(name)
    among.reset(seed=SEEDS_R)
    actions_TR = draw_actions(among)
    record = play(among, actions_TR)
    for rows in ([0], [R - 1], [18], [3, 30, 4], list(range(R - 1, 4, -1))):
        few = make(name, len(rows))
        few.reset(seed=SEEDS_R[rows])
        assert same(play(few, actions_TR[:, rows]), of_rows(record, rows)), rows


def test_resetting_some_rows_leaves_the_others_alone(name: str) -> None:
    environment, undisturbed = make(name), make(name)
    actions_TR = draw_actions(environment)
    for one in (environment, undisturbed):
        one.reset(seed=SEEDS_R)
        play(one, actions_TR[:10])
    mask_R = torch.arange(R) % 3 == 0
    reset, kept = mask_R.nonzero()[:, 0].tolist(), (~mask_R).nonzero()[:, 0].tolist()
    start_RO = environment.reset(seed=SEEDS_R + 1000, options={"reset_mask": mask_R})[0].clone()
    assert torch.equal(start_RO[reset], make(name).reset(seed=SEEDS_R + 1000)[0][reset])
    record = play(environment, actions_TR[10:])
    assert same(of_rows(record, kept), of_rows(play(undisturbed, actions_TR[10:]), kept))
    fresh = make(name)
    fresh.reset(seed=SEEDS_R + 1000)
    assert same(of_rows(record, reset), of_rows(play(fresh, actions_TR[10:]), reset))
    assert environment.num_envs == R


def test_a_mask_without_seeds_resets_too(name: str) -> None:
    environment = make(name)
    before_RO = environment.reset(seed=SEEDS_R)[0].clone()
    mask = np.arange(R) < 5
    after_RO, _ = environment.reset(options={"reset_mask": mask})
    changed = (before_RO != after_RO).any(1).numpy()
    assert (changed == mask).all()


def test_narrowing_keeps_rows_in_the_order_given(name: str) -> None:
    environment, whole = make(name), make(name)
    actions_TR = draw_actions(environment)
    for one in (environment, whole):
        start_RO = one.reset(seed=SEEDS_R)[0].clone()
        play(one, actions_TR[:10])
    record = play(whole, actions_TR[10:])
    rows = [30, 2, 3, 36, 11]
    environment.narrow(torch.tensor(rows))
    assert environment.num_envs == environment.observation_space.shape[0] == 5  # type: ignore[index]
    assert same(play(environment, actions_TR[10:20, rows]), of_rows(record[:10], rows))
    environment.narrow(torch.tensor([4, 1]))
    assert same(play(environment, actions_TR[20:, [11, 2]]), of_rows(record[10:], [11, 2]))
    mask_R = torch.tensor([False, True])
    some_RO, _ = environment.reset(seed=torch.tensor([0, 99]), options={"reset_mask": mask_R})
    assert torch.equal(some_RO[1], make(name, 1).reset(seed=99)[0][0])
    assert torch.equal(environment.reset(seed=SEEDS_R)[0], start_RO)
    assert environment.num_envs == R
    whole.reset(seed=SEEDS_R)
    assert same(play(environment, actions_TR), play(whole, actions_TR))


def test_episodes_are_truncated_at_the_limit(name: str) -> None:
    environment = make(name, max_episode_steps=6)
    actions_TR = draw_actions(environment)
    environment.reset(seed=SEEDS_R)
    early = [step[3] for step in play(environment, actions_TR[:4])]
    late_R = torch.arange(R) < 9
    environment.reset(seed=1, options={"reset_mask": late_R})
    environment.narrow(torch.arange(R).flip(0))
    truncated = [*early, *(step[3].flip(0) for step in play(environment, actions_TR[4:10]))]
    assert not torch.stack(truncated[:5]).any()
    assert torch.equal(truncated[5], ~late_R)
    assert not truncated[8][late_R].any()
    assert truncated[9][late_R].all()


@pytest.mark.parametrize(
    ("seed", "mask"),
    [
        (torch.arange(R - 1), None),
        (list(range(R + 1)), None),
        (None, torch.ones(R - 1, dtype=torch.bool)),
        (None, np.ones((R, 1), dtype=bool)),
    ],
)
def test_seeds_and_masks_of_another_size_are_refused(name: str, seed: Any, mask: Any) -> None:
    environment = make(name)
    environment.reset(seed=0)
    with pytest.raises(ConfigurationError, match=str(R)):
        environment.reset(seed=seed, options=None if mask is None else {"reset_mask": mask})


def test_actions_of_another_shape_are_refused(name: str) -> None:
    environment = make(name)
    environment.reset(seed=0)
    actions_R = draw_actions(environment)[0]
    for wrong in (actions_R[:-1], actions_R.unsqueeze(0), actions_R.flatten()[: R + 1].repeat(2)):
        with pytest.raises(ConfigurationError, match=rf"\({R},"):
            environment.step(wrong)
    environment.narrow(torch.arange(4))
    with pytest.raises(ConfigurationError, match=r"\(4,"):
        environment.step(actions_R)
