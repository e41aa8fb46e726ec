"""Random numbers that are the same everywhere: the shared noise table, sums of its slices, and seeded draws."""
