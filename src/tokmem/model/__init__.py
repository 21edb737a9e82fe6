"""The frozen model with a bank beside it."""
