"""From an environment's observations to rows of numbers, and from a policy's numbers to actions."""
