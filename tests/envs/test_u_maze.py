"""The maze: walls hold, reward leads into the trap, and there is a way around it.

Axes: R rows, one maze each; T steps; D the axes x and y.
"""

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from torch import Tensor

from distes.envs.u_maze import EDGE, GOAL, JITTER, REACHED, START, STEP, WALLS, SingleUMaze, UMaze, picture
from distes.errors import ConfigurationError
from distes.tasks.base import Request
from distes.tasks.gym.gym import Gym
from tests.support.small import parts

NAME = "distes/UMaze-v0"
TRAP = GOAL[1] - WALLS[0][2]  # from its bottom to the goal
AROUND = [(0.0, -0.7), (0.7, -0.7), (0.7, 0.7), GOAL]  # a way to the goal


def in_a_wall(places_ND: Tensor) -> Tensor:
    """Or outside of the field."""
    x_N, y_N = places_ND.unbind(-1)
    inside_N = (places_ND.abs() > EDGE).any(-1)
    for left, right, low, high in WALLS:
        inside_N = inside_N | ((left < x_N) & (x_N < right) & (low < y_N) & (y_N < high))
    return inside_N


def steered(maze: UMaze, target: tuple[float, float]) -> Tensor:
    """The actions that lead straight to a place."""
    return ((torch.tensor(target, dtype=torch.float64) - maze.state_RS) / STEP).clamp(-1, 1)


def around(maze: UMaze) -> tuple[Tensor, Tensor]:
    """Leads all points along `AROUND`: the sums of rewards, and who has reached the goal."""
    return_R, place = torch.zeros(maze.num_envs, dtype=torch.float64), 0
    for _ in range(100):
        _, rewards_R, terminated_R, _, _ = maze.step(steered(maze, AROUND[place]))
        return_R += rewards_R
        if terminated_R.all():
            break
        place += bool(((maze.state_RS - torch.tensor(AROUND[place])).abs() < STEP).all()) and place < 3
    return return_R, terminated_R


@pytest.mark.parametrize("largest", [0.3, 1.0, 40.0])
def test_walls_hold(largest: float) -> None:
    """Random walks from everywhere: all of the way of each step, along x and then along y, is outside of walls."""
    rows, generator = 400, torch.Generator().manual_seed(3)
    maze = UMaze(rows)
    start_RD = 2 * torch.rand(rows, 2, generator=generator, dtype=torch.float64) - 1
    start_RD[in_a_wall(start_RD)] = torch.tensor(START, dtype=torch.float64)
    maze.reset(options={"state": start_RD})
    drift_RD, stopped = torch.randn(rows, 2, generator=generator), 0
    share_N = torch.linspace(0, 1, 21, dtype=torch.float64)
    for _ in range(150):
        before_RD = maze.state_RS
        actions_RD = largest * (torch.randn(rows, 2, generator=generator) + drift_RD)
        position_RD = maze.step(actions_RD)[4]["position"]
        moved_RD = position_RD - before_RD
        along_x, along_y = before_RD.clone(), position_RD.clone()
        for part in share_N:
            along_x[:, 0] = before_RD[:, 0] + part * moved_RD[:, 0]
            along_y[:, 1] = before_RD[:, 1] + part * moved_RD[:, 1]
            assert not in_a_wall(along_x.round(decimals=12)).any() and not in_a_wall(along_y.round(decimals=12)).any()
        wanted_RD = STEP * actions_RD.clamp(-1, 1).to(torch.float64)
        stopped += int(((moved_RD - wanted_RD).abs() > 1e-12).sum())
    assert stopped > 1000


def test_a_step_is_what_a_walk_in_many_small_ones_is() -> None:
    """A slow twin that stops before the first small step that would end in a wall."""
    rows, small, generator = 3000, 200, torch.Generator().manual_seed(5)
    maze = UMaze(rows)
    start_RD = 1.5 * torch.rand(rows, 2, generator=generator, dtype=torch.float64) - 0.75
    start_RD[in_a_wall(start_RD)] = torch.tensor(START, dtype=torch.float64)
    maze.reset(options={"state": start_RD})
    place_RD, actions_RD = maze.state_RS, torch.randn(rows, 2, generator=generator)
    stopped_R = torch.zeros(rows, dtype=torch.bool)
    for axis in (0, 1):
        goes_R = torch.ones(rows, dtype=torch.bool)
        for _ in range(small):
            tried_RD = place_RD.clone()
            tried_RD[:, axis] += STEP * actions_RD[:, axis].clamp(-1, 1) / small
            goes_R &= ~in_a_wall(tried_RD)
            place_RD = torch.where(goes_R[:, None], tried_RD, place_RD)
        stopped_R |= ~goes_R
    position_RD = maze.step(actions_RD)[4]["position"]
    torch.testing.assert_close(position_RD, place_RD, rtol=0, atol=1.01 * STEP / small)
    assert 50 < stopped_R.sum() < rows / 2


def test_one_slides_along_walls_and_not_through_their_seams() -> None:
    """Whoever never goes down does not get out of the trap, in whatever corner it pushes."""
    maze, generator = UMaze(300), torch.Generator().manual_seed(8)
    maze.reset(seed=0)
    for step in range(200):
        actions_RD = torch.randn(300, 2, generator=generator)
        actions_RD[:, 1].abs_()
        position_RD = maze.step(actions_RD)[4]["position"]
        assert (position_RD[:, 0].abs() <= WALLS[2][0]).all() and (position_RD[:, 1] <= WALLS[0][2]).all(), step
    assert (position_RD[:, 1] == WALLS[0][2]).all()
    place_R = position_RD[:, 0].clone()
    for _ in range(40):
        position_RD = maze.step(torch.tensor([[1.0, 1.0]]).expand(300, 2))[4]["position"]
    assert (position_RD == torch.tensor([WALLS[2][0], WALLS[0][2]], dtype=torch.float64)).all()
    assert (place_R < WALLS[2][0]).any()


def test_what_is_seen_is_the_place_and_how_far_it_is_to_each_side() -> None:
    maze = UMaze(4)
    places = [[0.0, -0.3], [0.7, 0.25], [0.45, -0.9], [0.0, 0.2]]
    seen_RO, _ = maze.reset(options={"state": torch.tensor(places, dtype=torch.float64)})
    inner, outer, low, bottom, top = WALLS[2][0], WALLS[2][1], WALLS[1][2], WALLS[0][2], WALLS[0][3]
    expected = [
        [inner, inner, 0.7, bottom + 0.3],
        [0.7 - outer, 0.3, 1.25, 0.75],
        [1.45, 0.55, 0.1, low + 0.9],
        [inner, inner, 1.2, 0.0],
    ]
    torch.testing.assert_close(seen_RO[:, :2], torch.tensor(places))
    torch.testing.assert_close(seen_RO[:, 2:], torch.tensor(expected))
    assert top < GOAL[1] - REACHED
    generator = np.random.default_rng(0)
    for _ in range(300):
        seen_RO = maze.step(torch.from_numpy(generator.uniform(-2, 2, (4, 2))))[0]
        assert maze.observation_space.contains(seen_RO.numpy())


def test_the_return_is_minus_the_distance_whenever_one_stops() -> None:
    maze, generator = UMaze(20), torch.Generator().manual_seed(1)
    maze.reset(seed=4)
    return_R = torch.zeros(20, dtype=torch.float64)
    for _ in range(50):
        return_R += maze.step(torch.randn(20, 2, generator=generator))[1]
        distance_R = torch.linalg.vector_norm(maze.state_RS - torch.tensor(GOAL, dtype=torch.float64), dim=1)
        torch.testing.assert_close(return_R, -distance_R, rtol=0, atol=1e-12)


def test_the_straight_way_ends_in_the_trap() -> None:
    maze = UMaze(50, 100)
    maze.reset(seed=7)
    return_R = torch.zeros(50, dtype=torch.float64)
    for step in range(100):
        _, rewards_R, terminated_R, truncated_R, infos = maze.step(steered(maze, GOAL))
        return_R += rewards_R
        assert not terminated_R.any() and truncated_R.all() == (step == 99)
    assert (infos["position"][:, 1] == WALLS[0][2]).all()
    torch.testing.assert_close(return_R, torch.full_like(return_R, -TRAP), rtol=0, atol=0.01)


def test_a_way_around_reaches_the_goal_and_is_worse_than_the_trap_for_long() -> None:
    maze = UMaze(50, 100)
    maze.reset(seed=7)
    return_R, terminated_R = around(maze)
    assert terminated_R.all() and (maze.block_CR[3] < 80).all()
    assert (return_R > -REACHED).all() and (return_R <= 0).all()
    threshold = gymnasium.spec(NAME).reward_threshold
    assert threshold is not None and (return_R >= threshold).all()
    maze.reset(seed=7)
    for target in AROUND[:2]:  # beside the trap, everybody is much further away than its bottom is, and than the start
        for _ in range(20):
            maze.step(steered(maze, target))
    start = GOAL[1] - START[1]
    assert (maze.block_CR[2] > start + 0.5).all() and start > TRAP + 0.3


def test_starts_are_uniform_around_one_place() -> None:
    maze = UMaze(5000)
    maze.reset(seed=2)
    unit_RD = (maze.state_RS - torch.tensor(START, dtype=torch.float64)) / JITTER
    assert (unit_RD.abs() <= 1).all()
    expected_R = torch.linspace(-1, 1, 5000, dtype=torch.float64)
    for axis in (0, 1):
        assert (unit_RD[:, axis].sort().values - expected_R).abs().max() < 6 / 5000**0.5
    assert abs(float(torch.corrcoef(unit_RD.T)[0, 1])) < 6 / 5000**0.5


@pytest.mark.parametrize("place", [(0.0, 0.25), (-0.45, 0.0), (1.01, 0.0), (0.0, float("nan"))])
def test_a_start_in_a_wall_or_outside_is_refused(place: tuple[float, float]) -> None:
    maze = UMaze(2)
    state_RS = torch.tensor([START, place], dtype=torch.float64)
    with pytest.raises(ConfigurationError, match=r"is in a wall or outside: give x and y from -1 to 1, outside the"):
        maze.reset(options={"state": state_RS})

    with pytest.raises(ConfigurationError, match="is in a wall"):  # single precision's 0.4 is above 0.4
        maze.reset(options={"state": torch.tensor([START, (WALLS[2][0], 0.0)])})


def test_actions_without_meaning_hurt_their_own_row_alone() -> None:
    maze, alone = UMaze(2), UMaze(1)
    maze.reset(seed=[3, 4])
    alone.reset(seed=4)
    actions_RD = torch.tensor([[float("nan"), 0.0], [0.5, -1.0]])
    for _ in range(5):
        _, rewards_R, _, _, infos = maze.step(actions_RD)
        twin = alone.step(actions_RD[1:])
        assert rewards_R.isnan().tolist() == [True, False]
        assert torch.equal(infos["position"][1:], twin[4]["position"]) and torch.equal(rewards_R[1:], twin[1])


def test_tensors_stay_where_they_are() -> None:
    """What a CUDA graph of one width recorded is right again whenever the environment has this width."""
    maze, actions_RD = UMaze(20), torch.ones(20, 2)
    maze.reset(seed=0)

    def addresses(rows: int) -> list[int]:
        *returned, infos = maze.step(actions_RD[:rows])
        return [tensor.data_ptr() for tensor in (*returned, *infos.values())]

    whole = addresses(20)
    maze.narrow(torch.arange(7))
    seven = addresses(7)
    maze.reset(seed=1)
    assert addresses(20) == whole
    maze.narrow(torch.arange(5, 12))
    assert addresses(7) == seven


def test_a_step_waits_for_no_number() -> None:
    """Tensors without numbers ("meta"): whatever in `step` wanted to know one would raise."""
    maze = UMaze(8, device="meta")
    maze.reset(seed=0)
    *returned, infos = maze.step(torch.zeros(8, 2, device="meta"))
    for tensor in (*returned, *infos.values()):
        assert tensor.device.type == "meta" and len(tensor) == 8


@pytest.mark.gpu
def test_a_gpu_does_the_same() -> None:
    cpu, gpu, generator = UMaze(1000), UMaze(1000, device="cuda"), torch.Generator().manual_seed(6)
    torch.testing.assert_close(gpu.reset(seed=4)[0].cpu(), cpu.reset(seed=4)[0])
    for _ in range(60):
        actions_RD = torch.randn(1000, 2, generator=generator)
        *returned, infos = gpu.step(actions_RD.cuda())
        *twins, twin_infos = cpu.step(actions_RD)
        for one, twin in zip((*returned, infos["position"]), (*twins, twin_infos["position"]), strict=True):
            torch.testing.assert_close(one.cpu(), twin, rtol=0, atol=1e-6)


class TestTheSingleOne:
    def test_it_is_as_gymnasium_wants_it(self) -> None:
        check_env(SingleUMaze(), skip_render_check=True)
        with pytest.raises(gymnasium.error.UnsupportedMode, match="render_mode is 'human': there is rgb_array"):
            SingleUMaze("human")

    def test_it_does_as_a_row_does(self) -> None:
        single, maze = gymnasium.make("UMaze-v0"), UMaze(3, 100)
        seen_RO, _ = maze.reset(seed=[5, 11, 7])
        assert single.reset(seed=11)[0].tobytes() == seen_RO[1].numpy().tobytes()
        generator, ended = np.random.default_rng(2), False
        steps = 0
        while not ended:
            actions_RD = generator.uniform(-1, 1, (3, 2)).astype(np.float32)
            seen_RO, rewards_R, terminated_R, truncated_R, infos = maze.step(torch.from_numpy(actions_RD))
            seen_O, reward, terminated, truncated, info = single.step(actions_RD[1])
            assert seen_O.tobytes() == seen_RO[1].numpy().tobytes() and reward == float(rewards_R[1])
            assert (terminated, truncated) == (bool(terminated_R[1]), bool(truncated_R[1]))
            assert info["position"].tobytes() == infos["position"][1].numpy().tobytes()
            ended, steps = terminated or truncated, steps + 1
        assert steps == 100

    def test_it_is_drawn(self) -> None:
        single: Any = gymnasium.make("UMaze-v0", render_mode="rgb_array")
        single.reset(options={"state": np.array([START])})
        before = single.render()
        for _ in range(10):
            single.step(np.array([0.0, -1.0], np.float32))
        after = single.render()
        assert before.shape == (240, 240, 3) and before.dtype == np.uint8
        # (x, y) -> pixel: the point has left START for a place below
        row_of = [int((1 - y) / 2 * 240) for y in (START[1], START[1] - 10 * STEP, 0.25, GOAL[1])]
        point, white, black = [40, 80, 220], [255] * 3, [0] * 3
        assert before[row_of[0], 120].tolist() == point and before[row_of[1], 120].tolist() == white
        assert after[row_of[0], 120].tolist() == white and after[row_of[1], 120].tolist() == point
        assert after[row_of[2], 120].tolist() == black and after[row_of[3], 120].tolist() == [60, 180, 75]
        assert gymnasium.make("UMaze-v0").render_mode is None and SingleUMaze().render() is None

    def test_many_points_can_be_drawn(self) -> None:
        image = picture(np.array([[-0.8, 0.0], [0.8, 0.0]]), size=100)
        assert image[50, 10].tolist() == image[50, 90].tolist() == [40, 80, 220]


def test_it_is_evaluated_the_same_way_batched_and_one_by_one() -> None:
    outcomes = []
    for name, stepping in ((NAME, "auto"), ("UMaze-v0", "auto"), ("UMaze-v0", "one_by_one")):
        task = Gym(name, stepping=stepping, behaviour="info:position")  # type: ignore[arg-type]
        of = parts(task)
        request = Request(np.array([4, 4, 5, 5], np.uint64))
        outcome = task.evaluate(of.members([1, 1, 2, 2], [1, -1] * 2), request)
        assert outcome.behaviour_BD is not None
        # where a member ends is what it did, and its fitness is minus the distance from there to the goal
        distance_B = np.linalg.norm(outcome.behaviour_BD - GOAL, axis=1)
        np.testing.assert_allclose(outcome.fitness_B, -distance_B, atol=1e-6)
        outcomes.append((outcome.fitness_B.tolist(), outcome.steps_B.tolist(), outcome.behaviour_BD.tolist()))
        assert (task.max_steps, task.reward_threshold) == (100, -REACHED)
        assert task.on_device == (stepping == "auto")
    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert len(set(outcomes[0][0])) > 1
    with pytest.raises(ConfigurationError, match=r"is batched: name it 'UMaze-v0'"):
        Gym(NAME, stepping="one_by_one").check()
