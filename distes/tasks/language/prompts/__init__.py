"""Prompts and texts: read, checked, cut into parts, drawn."""
