"""Policies that are language models."""
