"""Measurements of speed and memory; run them from the repository's root."""
