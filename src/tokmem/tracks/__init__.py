"""Experiments: each track reads from its config to its result, top to bottom."""
