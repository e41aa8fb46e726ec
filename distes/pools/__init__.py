"""Pools evaluate populations: they hand chunks to workers and collect the results in a fixed order."""
