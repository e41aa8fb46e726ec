"""The training loop, its budget, and how it is stopped."""
