"""The sections of the report, one file for each question of a reader."""
