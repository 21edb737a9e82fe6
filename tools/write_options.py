"""Writes src/tokmem/cli/options.json: the help of every setting, which `--help` reads without torch.

python tools/write_options.py
"""

from __future__ import annotations

import json

from tokmem.cli.flags import TABLE
from tokmem.config import help_table
from tokmem.tracks.registry import track

TRACKS = ("atomic", "compositional")  # whose settings are options of a command


def options_text() -> str:
    """The settings of these tracks as JSON, one setting a line."""
    tracks = [f"{json.dumps(name)}: [\n{_lines(name)}\n]" for name in TRACKS]
    return "{\n" + ",\n".join(tracks) + "\n}\n"


def _lines(name: str) -> str:
    rows = [row for row in help_table(track(name).config) if row.type != "section"]
    return ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)


if __name__ == "__main__":
    TABLE.write_text(options_text(), "utf-8")
