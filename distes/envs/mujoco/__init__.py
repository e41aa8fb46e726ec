"""Gymnasium's MuJoCo tasks (version 5) as batched environments.

`physics.py` steps the simulations (MuJoCo, on the CPU); `base.py` starts, narrows and ends episodes; a file per task
says, in torch operations on whole batches, what is observed and rewarded, and when it ends.
"""
