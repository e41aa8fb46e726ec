"""Pools: hand chunks to workers, and collect what they return by slot."""
