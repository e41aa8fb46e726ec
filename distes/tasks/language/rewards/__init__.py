"""A user's reward, in a process of the worker's own."""
