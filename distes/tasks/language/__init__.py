"""Prompts, answers and rewards for language models."""
