"""Starts inference engines on exported banks, and asks their servers."""
