"""Reinforcement learning in Gymnasium's environments: one by one or as batched simulators."""
