"""Layers with one weight per member, which take the place of torch's own in the population forward."""
