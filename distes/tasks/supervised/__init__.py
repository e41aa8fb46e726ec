"""Supervised learning: labelled data, its parts, losses and accuracy."""
