"""Starts inference engines on exported banks, and sends queries to them."""
