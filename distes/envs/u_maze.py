"""UMaze-v0, batched: a point in a cul-de-sac that opens away from the goal, to test novelty search.

Our own, after the hard maze of Lehman and Stanley 2011 ("Abandoning Objectives", Evolutionary Computation 19(2)) and
the trap of three walls of Conti et al. 2018 (arXiv:1712.06560): reward leads straight into the trap, and the way
around it first leads away from the goal. Axes: W walls, D = 2 the axes x and y.
"""

import math
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from distes.envs.classic import ColumnEnv
from distes.envs.single import SingleEnv
from distes.errors import ConfigurationError

EDGE = 1.0  # the field is the square of x and y from -EDGE to EDGE
# (lowest x, highest x, lowest y, highest y). They overlap at the corners: between walls that only touch, a point slips
# through along the seam.
WALLS = ((-0.5, 0.5, 0.2, 0.3), (-0.5, -0.4, -0.5, 0.3), (0.4, 0.5, -0.5, 0.3))
START = (0.0, -0.2)
JITTER = 0.05  # starts are uniform, up to this far from START along each axis
GOAL = (0.0, 0.7)
REACHED = 0.1  # from the goal
STEP = 0.04  # the longest move along each axis


class UMaze(ColumnEnv):
    """R points, each in a maze of its own.

    An observation is the point's position (x, y) and its free distance to the left, to the right, down and up.
    """

    # Place, distance from the goal, steps of the episode.
    columns, state_columns, clock_column = 4, (0, 1), 3

    def __init__(self, num_envs: int, max_episode_steps: int | None = None, device: str | torch.device = "cpu") -> None:
        """Makes R mazes.

        Args:
            num_envs: R.
            max_episode_steps: Steps after which an episode is truncated; None for never.
            device: The device of all tensors.
        """
        walls_WD2 = torch.tensor(WALLS, dtype=torch.float64).unflatten(1, (2, 2))
        self._low_DW1, self._high_DW1 = walls_WD2.permute(2, 1, 0).unsqueeze(-1).contiguous().to(device)
        self._edges = torch.tensor([-EDGE, EDGE], dtype=torch.float64).to(device)
        self._start_D = torch.tensor(START, dtype=torch.float64).to(device)
        low = np.array([-EDGE, -EDGE, 0, 0, 0, 0], dtype=np.float32)
        high = np.array([EDGE, EDGE, *[2 * EDGE] * 4], dtype=np.float32)
        box = spaces.Box(low, high, dtype=np.float32)
        super().__init__(num_envs, box, spaces.Box(-1.0, 1.0, (2,), np.float32), max_episode_steps, device)

    def _bind(self) -> None:
        rows = self.num_envs
        self._place_DR, (self._distance_R, self._clock_R) = self.block_CR[:2], self.block_CR[2:]
        self._position_RD = self._place_DR.t()
        self._free_2DR = self._tensor("free", (4, rows)).unflatten(0, (2, 2))  # where the way ends, low and high
        self._room_D2R = self._tensor("room", (4, rows)).unflatten(0, (2, 2))
        self._seen = [
            (self.observations_RO[:, :2], self._position_RD),
            (self.observations_RO[:, 2:], self._room_D2R.flatten(0, 1).t()),
        ]
        self._move_RD = self._tensor("move", (rows, 2))
        self._goal_DR, self._offset_DR = self._filled("goal", GOAL), self._tensor("offset", (2, rows))
        self._before_R = self._tensor("before", (rows,))
        self._ends_WR = self._tensor("ends", (len(WALLS), rows))
        self._beside_WR = self._tensor("beside", (len(WALLS), rows), torch.bool)
        self._ahead_WR = self._tensor("ahead", (len(WALLS), rows), torch.bool)

    def _start(self, options: dict[str, Any], mask_R: Tensor | None) -> Tensor:
        return self._start_D + JITTER * (2 * self._uniform(2, mask_R) - 1)

    def _given(self, state: Any) -> Tensor:
        state_RS = super()._given(state).to(self.dtype)  # first: what is rounded may be in a wall
        x_R, y_R = state_RS.unbind(1)
        free_R = (state_RS.abs() <= EDGE).all(1)
        for left, right, low, high in WALLS:
            free_R &= (x_R <= left) | (x_R >= right) | (y_R <= low) | (y_R >= high)
        if not free_R.all():
            x, y = state_RS[int((~free_R).nonzero()[0])].tolist()
            raise ConfigurationError(
                f"The place to start from ({x:g}, {y:g}) is in a wall or outside: give x and y from {-EDGE:g} to "
                f"{EDGE:g}, outside the walls."
            )
        return state_RS

    def _observe(self) -> Tensor:
        self._look(0)
        self._look(1)
        return self._write()

    def step(self, actions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Any]]:
        """Steps all rows; the info has the `position`, (R, 2)."""
        return *super().step(actions)[:4], {"position": self._position_RD}

    def advance(self, actions: Tensor) -> None:
        """Moves each point by `STEP` times its action, (R, 2), clipped to [-1, 1]; see the base class.

        It moves along x and then along y, and stops at walls, so that it slides along them; no step is long enough to
        pass through one, since what counts is where the way ends. The reward is the decrease of the distance
        from the goal; the first reward also subtracts the distance at the start. So the return, after any number of
        steps, is minus the distance from the goal. The episode ends at the goal.
        """
        move_RD, before_R = self._move_RD, self._before_R
        move_RD.copy_(actions).clamp_(-1, 1).mul_(STEP)
        torch.clamp(self._clock_R, max=1, out=before_R)  # 0 at the start: no distance has been paid for
        before_R.mul_(self._distance_R)
        self._go(0)
        self._look(1)
        self._go(1)  # which changes nothing of where the way along y ends
        self._look(0)
        self._clock_R.add_(1)
        self._write()
        torch.sub(before_R, self._distance_R, out=self.rewards_R)
        torch.lt(self._distance_R, REACHED, out=self.terminated_R)
        torch.ge(self._clock_R, self.limit, out=self.truncated_R)

    def _go(self, axis: int) -> None:
        place_R, (low_R, high_R) = self._place_DR[axis], self._free_2DR[:, axis]
        place_R.add_(self._move_RD[:, axis])
        torch.clamp(place_R, low_R, high_R, out=place_R)

    def _look(self, axis: int) -> None:
        """Finds where the way along an axis ends, on either side: at the edge of the field or at a wall.

        A point exactly on the side of a wall is outside it, and may move along it. So numbers are compared as they are,
        and no rounding lets a point in.
        """
        along_R, across_R = self._place_DR[axis], self._place_DR[1 - axis]
        beside_WR, ahead_WR, ends_WR = self._beside_WR, self._ahead_WR, self._ends_WR
        torch.gt(across_R, self._low_DW1[1 - axis], out=beside_WR)
        torch.lt(across_R, self._high_DW1[1 - axis], out=ahead_WR)
        beside_WR.logical_and_(ahead_WR)
        torch.le(self._high_DW1[axis], along_R, out=ahead_WR)
        ahead_WR.logical_and_(beside_WR)
        torch.where(ahead_WR, self._high_DW1[axis], self._edges[0], out=ends_WR)
        torch.amax(ends_WR, 0, out=self._free_2DR[0, axis])
        torch.ge(self._low_DW1[axis], along_R, out=ahead_WR)
        ahead_WR.logical_and_(beside_WR)
        torch.where(ahead_WR, self._low_DW1[axis], self._edges[1], out=ends_WR)
        torch.amin(ends_WR, 0, out=self._free_2DR[1, axis])

    def _write(self) -> Tensor:
        """Writes observations and distances, which follow from positions and from where ways end."""
        torch.sub(self._place_DR, self._free_2DR[0], out=self._room_D2R[:, 0])
        torch.sub(self._free_2DR[1], self._place_DR, out=self._room_D2R[:, 1])
        for seen, values in self._seen:
            seen.copy_(values)
        torch.sub(self._place_DR, self._goal_DR, out=self._offset_DR)
        self._offset_DR.square_()
        torch.add(self._offset_DR[0], self._offset_DR[1], out=self._distance_R)
        self._distance_R.sqrt_()
        return self.observations_RO


class SingleUMaze(SingleEnv):
    """A single maze with Gymnasium's interface, which can be drawn."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 30}  # noqa: RUF012, Gymnasium declares it so

    def __init__(self, render_mode: str | None = None) -> None:
        """Makes the maze.

        Args:
            render_mode: "rgb_array" for pictures, or None.
        """
        super().__init__(UMaze(1), render_mode)

    def render(self) -> NDArray[np.uint8] | None:
        """Returns a picture of the current state, or None where `render_mode` is None."""
        return None if self.render_mode is None else picture(self.batched.state_RS.numpy())  # type: ignore[attr-defined]


def picture(places_ND: NDArray[np.floating[Any]], size: int = 240) -> NDArray[np.uint8]:
    """Draws the maze: walls black, the goal green, points blue.

    Args:
        places_ND: The positions of any number of points, (N, 2).
        size: The width and height of the picture, in pixels.

    Returns:
        (size, size, 3), uint8.
    """
    middles = EDGE * ((2 * np.arange(size) + 1) / size - 1)  # of pixels
    x, y = middles[None, :], -middles[:, None]
    image = np.full((size, size, 3), 255, np.uint8)
    image[np.hypot(x - GOAL[0], y - GOAL[1]) < REACHED] = (60, 180, 75)
    for left, right, low, high in WALLS:
        image[(left < x) & (x < right) & (low < y) & (y < high)] = 0
    for place_x, place_y in np.asarray(places_ND).tolist():
        image[np.hypot(x - place_x, y - place_y) < STEP / math.sqrt(2)] = (40, 80, 220)
    return image
