"""The parts of an update: fitness shaping, gradient estimates, recombination, optimisers, schedules, novelty."""
