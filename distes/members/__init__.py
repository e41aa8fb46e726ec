"""Many members of one policy: their parameters, and one forward pass for all of them."""
