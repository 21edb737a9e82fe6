"""Reads and writes your own corpus: JSON lines, one example a line.

    {"query": "...", "procedure": "...", "response": "..."}
    {"query": "...", "turns": [{"procedure": "...", "response": "..."}, ...]}

``query`` and one of the two forms are required; ``instruction``, ``references``, ``demonstrations``, ``id``
and ``split`` are optional. A file ``name.procedures.jsonl`` beside ``name.jsonl`` may give the ``name``,
``description`` and ``parameters`` of each procedure.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tokmem.data.calls.schema_check import check_schema
from tokmem.data.corpus import SPLITS, Corpus, Split, content_rank
from tokmem.data.fields import (
    did_you_mean,
    expect,
    parse_object,
    read_bytes,
    refuse_unknown,
    take,
    take_name,
    take_texts,
    text_lines,
)
from tokmem.errors import ConfigError, DataError
from tokmem.files import atomic_write_text
from tokmem.records import Demonstration, Example, Procedure, Turn

_TURN = ("procedure", "response")
_FIELDS = ("query", *_TURN, "turns", "instruction", "references", "demonstrations", "id", "split")
# What files for other libraries call these fields.
_ELSEWHERE = {
    **dict.fromkeys(("prompt", "input", "question", "text", "utterance"), "`query`"),
    **dict.fromkeys(("completion", "output", "answer", "target", "label"), "`response`"),
    **dict.fromkeys(("task", "tool", "intent", "name"), "`procedure`"),
    "messages": "`query`, `procedure` and `response`",
}


@dataclass(frozen=True)
class _Row:
    example: Example
    split: Split | None
    where: str


def read_jsonl(path: Path, split: Split | None = None, procedure: str | None = None) -> tuple[Example, ...]:
    """Reads the examples of a file, in order; one without an ``id`` is named for the file and its line.

    Args:
        path: the file.
        split: takes the rows of this split alone, if rows have a ``split``; None takes all.
        procedure: what rows are of that name none.

    Raises:
        DataError: a line is not valid (its number is given), an id stands twice, the file is empty, or a
            split is asked for and only some rows have one.
    """
    rows = _read_rows(Path(path), read_bytes(Path(path)), procedure)
    if split is None or not any(row.split for row in rows):
        return tuple(row.example for row in rows)
    return tuple(row.example for row, its in zip(rows, _assign(rows, 0, 0), strict=True) if its == split)


def load_jsonl(
    path: Path, procedures: Path | None = None, *, validation: float = 0.1, test: float = 0.1
) -> Corpus:
    """Reads a file into a corpus.

    If the rows have a ``split``, it decides. Otherwise each procedure's examples are ranked by a hash of
    their instruction and query: the first share is for test, the next for validation, the rest for training.
    Examples with the same instruction and query stay together.

    Args:
        path: the file of examples.
        procedures: the file of procedures; by default ``<stem>.procedures.jsonl`` beside ``path``, if it
            exists. Without such a file, the procedures are those of the turns, in order of appearance.
        validation: share of the examples, from 0 to 1.
        test: share of the examples, from 0 to 1.

    Returns:
        The corpus.

    Raises:
        ConfigError: the shares are negative or leave nothing for training.
        DataError: a line is not valid, only some rows have a ``split``, or a turn's procedure is not listed.
    """
    if min(validation, test) < 0 or validation + test >= 1:
        raise ConfigError(
            f"validation={validation}, test={test}", "from 0 up, together below 1", "lower them"
        )
    path = Path(path)
    if path.suffix == ".json":
        do = "queries that call several tools are for `tokmem tools`, with data.source: files"
        raise DataError(f"{path} is a JSON file", "JSON lines, an object a line (.jsonl)", do)
    content = read_bytes(path)
    sibling = path.with_name(f"{path.stem}.procedures.jsonl")
    listing = procedures or (sibling if sibling.exists() else None)
    listed = read_bytes(Path(listing)) if listing else b""
    rows = _read_rows(path, content)
    known = _read_procedures(Path(listing), listed) if listing else _appearing(rows)
    names = [procedure.name for procedure in known]
    _require_known(rows, names)
    splits: dict[Split, dict[str, list[Example]]] = {split: {name: [] for name in names} for split in SPLITS}
    for row, split in zip(rows, _assign(rows, validation, test), strict=True):
        splits[split][row.example.turns[0].procedure].append(row.example)
    train, held, tested = ({name: tuple(items) for name, items in splits[s].items()} for s in SPLITS)
    checksum = hashlib.sha256(hashlib.sha256(content).digest() + listed).hexdigest()
    return Corpus(tuple(known), train, held, tested, checksum=checksum)


def read_procedures(path: Path) -> list[Procedure]:
    """Reads the procedures of a ``.procedures.jsonl`` file, in order.

    Raises:
        DataError: a line is not valid, a schema is not, or a name stands twice.
    """
    return _read_procedures(Path(path), read_bytes(Path(path)))


def write_jsonl(path: Path, examples: Iterable[Example]) -> None:
    """Writes examples as :func:`read_jsonl` reads them; the file appears whole or not at all."""
    lines = [json.dumps(example_to_json(example), ensure_ascii=False) for example in examples]
    atomic_write_text(Path(path), "".join(f"{line}\n" for line in lines))


def example_to_json(example: Example) -> dict[str, object]:
    """Returns the fields of one line, without fields at their default."""
    optional = {
        "instruction": example.instruction,
        "references": list(example.references),
        "demonstrations": [_demonstration_to_json(shown) for shown in example.demonstrations],
        "id": example.id,
    }
    turns = [{"procedure": turn.procedure, "response": turn.response} for turn in example.turns]
    return {
        "query": example.query,
        "turns": turns,
        **{key: value for key, value in optional.items() if value},
    }


def examples_checksum(examples: Iterable[Example]) -> str:
    """Computes the SHA-256 (hex) of what examples say, in their order."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(json.dumps(example_to_json(example)).encode() + b"\n")
    return digest.hexdigest()


def _demonstration_to_json(shown: Demonstration) -> dict[str, object]:
    own = {} if shown.instruction is None else {"instruction": shown.instruction}
    return {"query": shown.query, "response": shown.response, **own}


def _lines(path: Path, content: bytes) -> Iterator[tuple[dict[str, object], str]]:
    """Parses each line that is not blank; yields it with its place for errors."""
    for number, line in text_lines(content, str(path)):
        where = f"{path}, line {number}"
        yield parse_object(line, where), where


def _read_rows(path: Path, content: bytes, procedure: str | None = None) -> list[_Row]:
    rows: list[_Row] = []
    seen: dict[str, str] = {}
    for raw, where in _lines(path, content):
        refuse_unknown(raw, _FIELDS, where, _ELSEWHERE)
        default = f"{path.stem}-{where.rpartition(' ')[2]}"
        example = example_from_json(_with_turns(raw, procedure, where), where, default)
        row = _Row(example, _split_of(raw, where), where)
        if row.example.id in seen:
            raise DataError(
                f"{where}: id {row.example.id!r} stands at {seen[row.example.id]} too",
                "different ids",
                "change one",
            )
        seen[row.example.id] = where
        rows.append(row)
    return rows


def _with_turns(raw: dict[str, object], procedure: str | None, where: str) -> dict[str, object]:
    """Gives a row of one procedure and its response the list of turns that other rows have."""
    flat = [key for key in _TURN if key in raw]
    if "turns" not in raw:
        given = procedure is not None and raw.get("procedure") is None
        named = {**raw, "procedure": procedure} if given else raw
        turn = {
            "procedure": take_name(named, "procedure", where),
            "response": take(raw, "response", str, where),
        }
        return {**raw, "turns": [turn]}
    if flat:
        raise DataError(f"{where}: `{flat[0]}` beside `turns`", "one of the two forms", "remove one")
    return raw


def example_from_json(raw: dict[str, object], where: str, default_id: str = "") -> Example:
    """Reads back what `example_to_json` wrote; ``where`` names its place in errors.

    Raises:
        DataError: a required field is missing or empty, or a field is of the wrong type.
    """
    query = take(raw, "query", str, where)
    if not query.strip():
        raise DataError(f"{where}: empty `query`", "some text", "remove the line")
    turns = tuple(Turn(*pair) for pair, _ in _pairs(raw, "turns", _TURN, where))
    if not turns:
        raise DataError(f"{where}: empty `turns`", "at least one procedure and response", "add one")
    return Example(
        query=query,
        turns=turns,
        instruction=take(raw, "instruction", str, where, default=""),
        references=take_texts(raw, "references", where) if "references" in raw else (),
        demonstrations=_demonstrations(raw, where) if "demonstrations" in raw else (),
        id=take(raw, "id", str, where, default="") or default_id,
    )


def _demonstrations(raw: dict[str, object], where: str) -> tuple[Demonstration, ...]:
    pairs = _pairs(raw, "demonstrations", ("query", "response"), where, "instruction")
    return tuple(Demonstration(*pair, instruction=own) for pair, own in pairs)


def _pairs(
    raw: dict[str, object], key: str, names: tuple[str, str], where: str, optional: str = ""
) -> list[tuple[tuple[str, str], str | None]]:
    """Reads two texts an item, the first of which must show something, and the optional third."""
    pairs: list[tuple[tuple[str, str], str | None]] = []
    for index, item in enumerate(take(raw, key, list, where)):
        place = f"{where}: `{key}`[{index}]"
        fields = expect(item, dict, place)
        refuse_unknown(fields, (*names, optional) if optional else names, place)
        first, second = take_name(fields, names[0], place), take(fields, names[1], str, place)
        pairs.append(((first, second), take(fields, optional, str, place) if optional in fields else None))
    return pairs


def _split_of(raw: dict[str, object], where: str) -> Split | None:
    if "split" not in raw:
        return None
    for split in SPLITS:
        if raw["split"] == split:
            return split
    raise DataError(f"{where}: `split` is {raw['split']!r}", ", ".join(SPLITS), "correct it")


def _read_procedures(path: Path, content: bytes) -> list[Procedure]:
    procedures: dict[str, Procedure] = {}
    for raw, where in _lines(path, content):
        refuse_unknown(raw, ("name", "description", "parameters"), where)
        name = take_name(raw, "name", where)
        if name in procedures:
            raise DataError(f"{where}: `name` is {name!r}", "a name that stands once", "rename it")
        parameters: dict[str, object] | None = (
            take(raw, "parameters", dict, where) if "parameters" in raw else None
        )
        procedure = Procedure(name, take(raw, "description", str, where, default=""), parameters)
        check_schema(procedure, where)
        procedures[name] = procedure
    return list(procedures.values())


def _appearing(rows: Sequence[_Row]) -> list[Procedure]:
    return [
        Procedure(name)
        for name in dict.fromkeys(turn.procedure for row in rows for turn in row.example.turns)
    ]


def _require_known(rows: Sequence[_Row], names: Sequence[str]) -> None:
    known = set(names)
    for row in rows:
        for turn in row.example.turns:
            if turn.procedure not in known:
                raise DataError(
                    f"{row.where}: unknown procedure {turn.procedure!r}{did_you_mean(turn.procedure, names)}",
                    "a name from the procedures file",
                    "list it there, or correct it",
                )


def _assign(rows: Sequence[_Row], validation: float, test: float) -> list[Split]:
    """Returns the split of each row."""
    given = [row.split for row in rows if row.split is not None]
    if len(given) == len(rows):
        return given
    if given:
        bare = next(row.where for row in rows if row.split is None)
        raise DataError(
            f"{bare}: no `split`, though other lines have one", "a `split` on all lines or on none"
        )
    keys = [content_rank(row.example.instruction, row.example.query) for row in rows]
    # A key counts for one procedure, even if two have it, so no query lands in two splits.
    groups: dict[str, list[str]] = {}
    for key, row in dict(zip(keys, rows, strict=True)).items():
        groups.setdefault(row.example.turns[0].procedure, []).append(key)
    split_of: dict[str, Split] = {}
    for group in groups.values():
        tested = _share(len(group), test)
        held = tested + _share(len(group), validation)
        for place, key in enumerate(sorted(group)):
            split_of[key] = "test" if place < tested else "validation" if place < held else "train"
    if "train" not in split_of.values():
        raise ConfigError(
            f"validation={validation}, test={test}: nothing is left for training (rows: {len(rows)})",
            "at least one row for training",
            "lower the shares, or add rows",
        )
    return [split_of[key] for key in keys]


def _share(count: int, fraction: float) -> int:
    """Returns a fraction of ``count``; at least one if there are three or more."""
    return max(round(count * fraction), 1 if fraction and count >= 3 else 0)
