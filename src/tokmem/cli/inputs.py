"""Refuses input files that are missing, and says which command makes such a file."""

from __future__ import annotations

from pathlib import Path

from tokmem.errors import DataError

CORPUS, EXPERIMENT = "my.jsonl", "experiment.yaml"
EXAMPLES = ("weekday.jsonl", "both.jsonl")
FILES = (CORPUS, "my.procedures.jsonl", EXPERIMENT, "queries.txt", *EXAMPLES, "polite.txt")
"""What `tokmem init` writes."""


def input_file(path: Path | None) -> Path | None:
    """Returns the path of an input file, or None.

    Raises:
        DataError: there is no such file.
    """
    if path is not None and not path.exists():
        written = path.name if path.name in FILES else "files to begin with"
        do = f"check the path; `tokmem init` writes {written}"
        raise DataError(f"{path} does not exist", "a file that can be read", do)
    return path
