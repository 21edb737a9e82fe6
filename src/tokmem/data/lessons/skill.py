"""Reads skills: folders with a `SKILL.md`, that is YAML front matter and instructions in Markdown.

Only this one file is read. Nothing beside it is opened or run. The format is that of agentskills.io.
"""

from __future__ import annotations

import re
from pathlib import Path

from tokmem.config import parse_yaml
from tokmem.data.fields import expect, read_bytes, take
from tokmem.data.lessons.lesson import Lesson
from tokmem.errors import ConfigError, DataError
from tokmem.records import Procedure, has_visible_text
from tokmem.strict_json import decode_utf8

SKILL = "SKILL.md"
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_MOST_NAME, _MOST_DESCRIPTION = 64, 1024


def read_skill(folder: Path) -> Lesson:
    """Reads the `SKILL.md` of a folder. Fields that it does not use, such as `license`, are left alone.

    Raises:
        DataError: there is no such file, it cannot be read, its front matter is broken, a name or description
            breaks the format's rules, or there are no instructions.
    """
    path = _file(folder)
    where = str(path)
    if not path.is_file():
        inner = sorted(one.parent.name for one in folder.glob(f"*/{SKILL}"))
        do = f"name its skills one by one: {', '.join(inner[:5])}" if inner else "name another folder"
        raise DataError(f"{folder} has no {SKILL}", "the folder of a skill", do)
    try:
        text = decode_utf8(read_bytes(path))
    except ValueError as error:
        raise DataError(f"{where}: {error}", "text in UTF-8", "save it as UTF-8") from error
    front, body = _split(text, where)
    name, description = take(front, "name", str, where), take(front, "description", str, where)
    _check_name(name, folder.resolve().name, where)
    if not has_visible_text(description) or len(description) > _MOST_DESCRIPTION:
        raise DataError(
            f"{where}: a description of {len(description)} characters",
            f"1 to {_MOST_DESCRIPTION}",
            "say what the skill does and when",
        )
    if not has_visible_text(body):
        raise DataError(f"{where}: no instructions", "Markdown after the front matter", "write what to do")
    return Lesson(Procedure(name, description), body.strip(), source=where)


def _file(folder: Path) -> Path:
    """Finds the file of a skill. Some people write its name in lower case."""
    others = [one for one in sorted(folder.glob("*")) if one.name.lower() == SKILL.lower()]
    return next(iter(others), folder / SKILL)  # capitals sort first


def _split(text: str, where: str) -> tuple[dict[str, object], str]:
    """The front matter, and what follows it."""
    lines = text.splitlines()
    ends = [number for number, line in enumerate(lines) if line.rstrip() == "---"]
    wanted = "`---`, YAML with name and description, `---`, then the instructions"
    if len(ends) < 2 or ends[0] != 0:
        raise DataError(f"{where}: no front matter", wanted, "begin the file with it")
    try:
        front = parse_yaml("\n".join(lines[1 : ends[1]]), "front matter")
    except ConfigError as error:
        raise DataError(f"{where}: broken {error.got:.200}", wanted, "mend the YAML") from error
    return expect(front, dict, f"{where}: front matter"), "\n".join(lines[ends[1] + 1 :])


def _check_name(name: str, folder: str, where: str) -> None:
    if _NAME.fullmatch(name) is None or len(name) > _MOST_NAME:
        wanted = f"lower-case letters, digits and single hyphens, at most {_MOST_NAME}"
        raise DataError(f"{where}: name {name!r:.80}", wanted, "rename the skill")
    if name != folder:
        raise DataError(f"{where}: name {name!r} in folder {folder!r}", "the same name", "rename one of them")
