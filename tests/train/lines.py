"""Reads the lines of a metrics file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def learned(path: Path) -> list[dict[str, Any]]:
    """All that a run writes again bit for bit: each line without what tells of the machine's speed."""
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return [{name: value for name, value in line.items() if name != "speed"} for line in lines]
