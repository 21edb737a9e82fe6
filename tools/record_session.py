"""Writes the recorded session of docs/start.md anew: runs its commands in an empty folder.

A block marked `console` is a line `$ COMMAND` and what the command showed. The commands run in the order of
the page. They need `smollm2` in the cache, or a network to fetch it.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

PAGE = Path(__file__).parents[1] / "docs/start.md"
BLOCK = re.compile(r"(?<=```console\n)\$ ([^\n]*)\n(.*?)(?=```)", re.DOTALL)
WIDTH = "118"


def sessions(text: str) -> list[tuple[str, str]]:
    """The commands of a page, and what they showed."""
    return BLOCK.findall(text)


def shown(command: str, folder: Path) -> str:
    """Runs a command in a folder and returns its standard output, without blanks at the ends of lines."""
    settings = {"COLUMNS": WIDTH, "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"}
    words = shlex.split(command)
    if words[0] == "tokmem":
        words[:1] = [sys.executable, "-c", "from tokmem.cli.main import main; main()"]
    done = subprocess.run(
        words, cwd=folder, env=os.environ | settings, stdout=subprocess.PIPE, encoding="utf-8", check=True
    )
    return "".join(f"{line.rstrip()}\n" for line in done.stdout.splitlines())


def main() -> None:
    """Rewrites the page."""
    with TemporaryDirectory() as folder:
        text = BLOCK.sub(
            lambda block: f"$ {block[1]}\n{shown(block[1], Path(folder))}", PAGE.read_text("utf-8")
        )
    PAGE.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
