"""A pool whose workers are Ray actors. Ray is imported here only."""
