"""Policies: torch modules that map observations (rows, ...) to numbers (rows, A), which a task turns into actions.

A constructor that declares `observation_size`, `observation_shape` or `action_size` is given the task's.
Any other `torch.nn.Module` works by its import path.
"""
