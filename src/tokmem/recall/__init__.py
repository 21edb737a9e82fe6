"""Recall: routing a query to its memory token and writing the response."""
