"""The eight tasks on MuJoCo Warp; all that they observe and reward is told in `distes.envs.mujoco`."""

from distes.envs.mujoco import (
    ant,
    half_cheetah,
    hopper,
    humanoid,
    inverted_double_pendulum,
    inverted_pendulum,
    swimmer,
    walker2d,
)
from distes.envs.warp.env import WarpEnv


class InvertedPendulum(WarpEnv, inverted_pendulum.InvertedPendulum):
    """InvertedPendulum-v5 on MuJoCo Warp."""


class InvertedDoublePendulum(WarpEnv, inverted_double_pendulum.InvertedDoublePendulum):
    """InvertedDoublePendulum-v5 on MuJoCo Warp."""


class Swimmer(WarpEnv, swimmer.Swimmer):
    """Swimmer-v5 on MuJoCo Warp."""


class HalfCheetah(WarpEnv, half_cheetah.HalfCheetah):
    """HalfCheetah-v5 on MuJoCo Warp."""


class Hopper(WarpEnv, hopper.Hopper):
    """Hopper-v5 on MuJoCo Warp."""


class Walker2d(WarpEnv, walker2d.Walker2d):
    """Walker2d-v5 on MuJoCo Warp."""


class Ant(WarpEnv, ant.Ant):
    """Ant-v5 on MuJoCo Warp."""


class Humanoid(WarpEnv, humanoid.Humanoid):
    """Humanoid-v5 on MuJoCo Warp."""
