"""What a run leaves behind and shows: its directory, checkpoints, saved policies and metrics."""
