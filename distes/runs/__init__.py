"""The output of a run: its directory, checkpoints, saved policies, metrics and terminal output."""
