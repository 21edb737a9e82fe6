"""Experiments: one folder a track, and the loop that runs all of them."""
