"""Reads lessons from what people have: a prompt, a skill, a list of tools."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence
from pathlib import Path

from tokmem.data.calls.schema_check import check_schema
from tokmem.data.fields import did_you_mean, read_bytes
from tokmem.data.lessons.lesson import Lesson
from tokmem.data.lessons.server import is_server, read_server
from tokmem.data.lessons.skill import SKILL, read_skill
from tokmem.data.lessons.tools import read_tools
from tokmem.errors import ConfigError, DataError
from tokmem.records import Procedure, has_visible_text
from tokmem.strict_json import decode_utf8

_MOST_DESCRIPTION = 200
_FRONT_MATTER = re.compile(r"\s*---[ \t]*\n[\w-]+[ \t]*:.*?\n---[ \t]*(\n|$)", re.DOTALL)


def read_lessons(sources: Sequence[str | Path], skip: Collection[str] = ()) -> tuple[Lesson, ...]:
    """Reads the lessons of several sources, in order.

    Args:
        sources: for each a prompt (a text file), a folder with a `SKILL.md`, tools (.json, .jsonl), or an MCP
            server as `read_server` takes it.
        skip: names of lessons to leave out, such as a tool whose schema is not valid.

    Raises:
        ConfigError: no lesson has a name to skip, or none is left.
        DataError: a source cannot be read or is not what it seems to be, two lessons have one name, or the
            schema of a tool is none.
    """
    found = [lesson for source in sources for lesson in _read(source)]
    lessons = _without(found, skip)
    seen: dict[str, str] = {}
    for lesson in lessons:
        if lesson.name in seen:
            raise DataError(
                f"procedure {lesson.name!r} in {seen[lesson.name]} and in {lesson.source}",
                "different names",
                "rename one of them, or learn them into two banks",
            )
        seen[lesson.name] = lesson.source
        _check_tool(lesson)
    return tuple(lessons)


def _without(lessons: Sequence[Lesson], skip: Collection[str]) -> Sequence[Lesson]:
    names = [lesson.name for lesson in lessons]
    for name in skip:
        if name not in names:
            raise ConfigError(
                f"--skip {name}{did_you_mean(name, names)}", "a name in the sources", "correct it"
            )
    kept = [lesson for lesson in lessons if lesson.name not in skip]
    if not kept:
        raise ConfigError("all lessons are skipped", "at least one to learn", "skip fewer")
    return kept


def _check_tool(lesson: Lesson) -> None:
    try:
        check_schema(lesson.procedure, lesson.source)
    except DataError as error:
        do = f"{error.do}, or leave the tool out (--skip {lesson.name})"
        raise DataError(error.got, error.wanted, do) from error


def _read(source: str | Path) -> Sequence[Lesson]:
    if isinstance(source, str) and is_server(source):
        return read_server(source)
    path = Path(source)
    if path.is_dir() or path.name.lower() == SKILL.lower():
        return [read_skill(path if path.is_dir() else path.parent)]
    if path.suffix.lower() in (".json", ".jsonl"):
        return read_tools(path)
    return [read_prompt(path)]


def read_prompt(path: Path) -> Lesson:
    """Reads a prompt: the procedure is named for the file, and its first line describes it.

    Raises:
        DataError: the file cannot be read, is not UTF-8, shows nothing, or begins with front matter.
    """
    try:
        text = decode_utf8(read_bytes(path)).replace("\r\n", "\n")
    except ValueError as error:
        raise DataError(f"{path}: {error}", "text in UTF-8", "save it as UTF-8") from error
    if not has_visible_text(text):
        raise DataError(f"{path} is empty", "the prompt to learn", "write it, or name another file")
    if _FRONT_MATTER.match(text):
        raise DataError(
            f"{path} begins with front matter (---)",
            "a prompt, or a skill in a folder of its own",
            f"save it as {path.parent / path.stem / SKILL}, or remove the front matter",
        )
    name = _name(path.stem)
    if not has_visible_text(name):
        raise DataError(f"{path}: a name without letters", "a file named for the procedure", "rename it")
    first = next(line for line in text.splitlines() if has_visible_text(line))
    return Lesson(Procedure(name, first.strip()[:_MOST_DESCRIPTION]), text.strip(), source=str(path))


def _name(stem: str) -> str:
    """A file's name as that of a procedure: its letters with their marks and its digits, else hyphens."""
    letters = unicodedata.normalize("NFC", stem)
    kept = (c if c.isalnum() or c == "_" or unicodedata.category(c).startswith("M") else " " for c in letters)
    return "-".join("".join(kept).split())
