"""Retrieval for methods that show examples or tools: a pool, and what embeds its texts."""
