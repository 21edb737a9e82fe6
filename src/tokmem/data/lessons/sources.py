"""Reads lessons from what people have: a prompt, a skill, a list of tools."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from tokmem.data.fields import read_bytes
from tokmem.data.lessons.lesson import Lesson
from tokmem.data.lessons.server import is_server, read_server
from tokmem.data.lessons.skill import SKILL, read_skill
from tokmem.data.lessons.tools import read_tools
from tokmem.errors import DataError
from tokmem.records import Procedure, has_visible_text
from tokmem.strict_json import decode_utf8

_MOST_DESCRIPTION = 200


def read_lessons(sources: Sequence[str | Path]) -> tuple[Lesson, ...]:
    """Reads the lessons of several sources, in order.

    Args:
        sources: for each a prompt (a text file), a folder with a `SKILL.md`, tools (.json, .jsonl), or an MCP
            server as `read_server` takes it.

    Raises:
        DataError: a source cannot be read or is not what it seems to be, or two lessons have one name.
    """
    lessons = [lesson for source in sources for lesson in _read(source)]
    seen: dict[str, str] = {}
    for lesson in lessons:
        if lesson.name in seen:
            raise DataError(
                f"procedure {lesson.name!r} in {seen[lesson.name]} and in {lesson.source}",
                "different names",
                "rename one of them, or learn them into two banks",
            )
        seen[lesson.name] = lesson.source
    return tuple(lessons)


def _read(source: str | Path) -> Sequence[Lesson]:
    if isinstance(source, str) and is_server(source):
        return read_server(source)
    path = Path(source)
    if path.is_dir() or path.name == SKILL:
        return [read_skill(path if path.is_dir() else path.parent)]
    if path.suffix.lower() in (".json", ".jsonl"):
        return read_tools(path)
    return [read_prompt(path)]


def read_prompt(path: Path) -> Lesson:
    """Reads a prompt: the procedure is named for the file, and its first line describes it.

    Raises:
        DataError: the file cannot be read, is not UTF-8, or shows nothing.
    """
    try:
        text = decode_utf8(read_bytes(path)).replace("\r\n", "\n")
    except ValueError as error:
        raise DataError(f"{path}: {error}", "text in UTF-8", "save it as UTF-8") from error
    if not has_visible_text(text):
        raise DataError(f"{path} is empty", "the prompt to learn", "write it, or name another file")
    name = re.sub(r"\W+", "-", path.stem).strip("-")
    if not name:
        raise DataError(f"{path}: a name without letters", "a file named for the procedure", "rename it")
    first = next(line for line in text.splitlines() if has_visible_text(line))
    return Lesson(Procedure(name, first.strip()[:_MOST_DESCRIPTION]), text.strip(), source=str(path))
