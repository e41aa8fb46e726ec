"""What a run says about physics on MuJoCo Warp."""

from distes.envs.mujoco.base import MujocoEnv
from distes.envs.warp.model import substituted


def notice(twin: MujocoEnv) -> str:
    """Sentences on what MuJoCo Warp does otherwise than MuJoCo, for a task.

    Args:
        twin: The task on the CPU.
    """
    solver = " with the solver Newton in place of PGS" if substituted(twin.physics.model) else ""
    return (
        f"Members are simulated by MuJoCo Warp in float32{solver}; evaluations, and all scores that are reported, by "
        "MuJoCo itself.\n"
        "On a GPU MuJoCo Warp does not repeat its bits: there, if the run is repeated or resumed, noise, members and "
        "updates are the same bit for bit, and episodes have the same distribution only."
    )
