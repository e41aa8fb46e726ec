"""Random numbers that are equal in all processes: the shared noise table, sums of its slices, and seeded draws."""
