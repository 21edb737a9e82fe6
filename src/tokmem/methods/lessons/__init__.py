"""Lessons: a frozen model with a text in its prompt teaches a memory token to stand for the text."""
