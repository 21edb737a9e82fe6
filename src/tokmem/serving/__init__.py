"""Engines that serve an exported bank, and a client that asks them."""
