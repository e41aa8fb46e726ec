"""From shared noise to directions in parameter space, and back to their weighted sum."""
