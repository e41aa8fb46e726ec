"""A pool whose workers are Ray actors. Only this package imports Ray."""
