"""The code blocks of README and docs."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A code block: its language, and its text."""

    language: str
    text: str


def blocks(page: Path) -> list[Block]:
    return [Block(*found) for found in FENCE.findall(page.read_text("utf-8"))]


def commands(block: Block) -> Iterator[list[str]]:
    """The words of each command of a block, without comments and variables; a recorded session's too."""
    text = block.text.replace("\\\n", " ")
    lines = text.splitlines()
    if block.language == "console":
        lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    for line in lines:
        words = shlex.split(line, comments=True)
        while words and re.fullmatch(r"[A-Z0-9_]+=.*", words[0]):
            words.pop(0)
        if words:
            yield words


def page_commands(page: Path) -> list[list[str]]:
    return [words for b in blocks(page) if b.language in ("bash", "console") for words in commands(b)]


def prose_commands(page: Path) -> list[list[str]]:
    """The words of each command of `tokmem` that stands in a sentence or in a table."""
    found = re.findall(r"`(tokmem [a-z][^`]*)`", FENCE.sub("", page.read_text("utf-8")))
    return [shlex.split(text) for text in found]
