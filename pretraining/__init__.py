"""Trains the bundled backbones: makes documents, trains on them, measures and publishes the result."""
