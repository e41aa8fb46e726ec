"""Batched simulators: many environments of one kind in one tensor program.

Importing this package registers them with Gymnasium as `distes/CartPole-v1` and so on: `gymnasium.make_vec` gives ours,
`gymnasium.make` the single environment that each is a twin of: Gymnasium's or, for `UMaze-v0`, our own, which is
registered here as well. A simulator is imported when it is made.
"""

import gymnasium

gymnasium.register(
    "UMaze-v0", entry_point="distes.envs.u_maze:SingleUMaze", reward_threshold=-0.1, max_episode_steps=100
)

# The single one's id -> what makes its batched twin: (num_envs, device, **the original's own arguments) -> BatchedEnv
TWINS = {
    "CartPole-v1": "distes.envs.cartpole:CartPole",
    "Pendulum-v1": "distes.envs.pendulum:Pendulum",
    "MountainCarContinuous-v0": "distes.envs.mountain_car:MountainCarContinuous",
    "Acrobot-v1": "distes.envs.acrobot:Acrobot",
    "UMaze-v0": "distes.envs.u_maze:UMaze",
    "InvertedPendulum-v5": "distes.envs.mujoco.inverted_pendulum:InvertedPendulum",
    "InvertedDoublePendulum-v5": "distes.envs.mujoco.inverted_double_pendulum:InvertedDoublePendulum",
    "Swimmer-v5": "distes.envs.mujoco.swimmer:Swimmer",
    "HalfCheetah-v5": "distes.envs.mujoco.half_cheetah:HalfCheetah",
    "Hopper-v5": "distes.envs.mujoco.hopper:Hopper",
    "Walker2d-v5": "distes.envs.mujoco.walker2d:Walker2d",
    "Ant-v5": "distes.envs.mujoco.ant:Ant",
    "Humanoid-v5": "distes.envs.mujoco.humanoid:Humanoid",
}

for _id, _vector_entry_point in TWINS.items():
    _original = gymnasium.spec(_id)
    gymnasium.register(
        f"distes/{_id}",
        entry_point=_original.entry_point,
        vector_entry_point=_vector_entry_point,
        reward_threshold=_original.reward_threshold,
        max_episode_steps=_original.max_episode_steps,
        kwargs=_original.kwargs,
    )
