"""Perturbations: numbered directions in parameter space, made from the shared noise, and their weighted sums."""
