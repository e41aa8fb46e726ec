"""Gymnasium's MuJoCo tasks (version 5) with the physics of MuJoCo Warp, on a GPU: `task.physics: warp`.

`tasks.py` has the tasks, whose formulas are those of `distes.envs.mujoco`; `env.py` starts and steps their episodes;
`physics.py` steps the worlds, with the help of one kernel a file. `settings.py` and `notice.py` need no Warp: what a
run says about its physics, and whether it can have it, is known without a GPU.
"""
