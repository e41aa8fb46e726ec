"""Layers of many members, which replace torch's layers in the population forward."""
