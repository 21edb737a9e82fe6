"""Trains the bundled backbone: makes documents, trains on them, measures and publishes the result."""
