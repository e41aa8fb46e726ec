"""Policies: plain torch modules from observations (rows, ...) to numbers (rows, A) that a task makes actions of.

A constructor that declares `observation_size`, `observation_shape` or `action_size` is given the task's.
Any other `torch.nn.Module` works by its import path.
"""
