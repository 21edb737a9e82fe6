"""The sections of the report, one file for each question that a reader asks."""
