"""What a caller may write for procedures and examples in Python, turned into records."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from tokmem.data.calls.schema import SCHEMA_KEYS
from tokmem.data.corpus import Split
from tokmem.data.jsonl import read_jsonl
from tokmem.errors import DataError
from tokmem.records import Example, Procedure, Turn, has_visible_text

Pair: TypeAlias = tuple[str, str]
ProcedureLike: TypeAlias = str | Procedure | Mapping[str, Any]
ExampleLike: TypeAlias = Example | Pair | Mapping[str, str]
ExamplesLike: TypeAlias = str | Path | Mapping[str, Sequence[Pair]] | Iterable[ExampleLike]

_PROCEDURE = "a name, a Procedure, an OpenAI or MCP tool, or a list of these"
_ROW = {"query", "response", "instruction", "procedure"}
_EXAMPLE = 'an Example, a pair (query, response), or {"query": ..., "response": ...}'


def as_procedures(
    given: ProcedureLike | Iterable[ProcedureLike],
    description: str = "",
    parameters: Mapping[str, Any] | None = None,
) -> list[Procedure]:
    """Turns what a caller wrote into procedures.

    Args:
        given: a name, a `Procedure`, a tool as OpenAI or MCP writes it, or several of these; or a mapping of
            names to descriptions.
        description: of the procedure, if `given` is one name.
        parameters: JSON schema of its arguments, if `given` is one name.

    Raises:
        DataError: something in it is none of these.
    """
    if isinstance(given, str):
        return [Procedure(given, description, parameters)]
    if description or parameters is not None:
        raise DataError(
            f"a description or parameters beside {type(given).__name__}", "them beside one name alone"
        )
    if isinstance(given, Procedure) or (isinstance(given, Mapping) and _is_tool(given)):
        return [_procedure(given)]
    if isinstance(given, Mapping):
        return [Procedure(name, text) for name, text in given.items()]
    if not isinstance(given, Iterable):
        raise DataError(f"{type(given).__name__} {given!r} as a procedure", _PROCEDURE)
    return [_procedure(one) for one in given]


def _is_tool(given: Mapping[str, Any]) -> bool:
    """Whether a mapping describes one tool. A mapping of names to descriptions holds text alone."""
    return isinstance(given.get("function"), Mapping) or (
        "name" in given
        and (
            "description" in given
            or given.get("type") == "function"
            or any(isinstance(given.get(key), Mapping) for key in SCHEMA_KEYS)
        )
    )


def _procedure(given: ProcedureLike) -> Procedure:
    if isinstance(given, Procedure):
        return given
    if isinstance(given, str):
        return Procedure(given)
    if not isinstance(given, Mapping):
        raise DataError(f"{type(given).__name__} {given!r} as a procedure", _PROCEDURE)
    tool = given.get("function", given)
    if not isinstance(tool, Mapping) or not isinstance(tool.get("name"), str):
        raise DataError(f"a tool without a name: {str(given)[:80]}", '{"name": ..., "description": ...}')
    return Procedure(tool["name"], tool.get("description") or "", schema_of(tool))


def schema_of(tool: Mapping[str, Any]) -> Any:
    """The JSON schema of a tool's arguments, under the key of OpenAI, MCP or Anthropic; None without one."""
    return next((tool[key] for key in SCHEMA_KEYS if tool.get(key) is not None), None)


def as_examples(
    given: ExamplesLike, known: Sequence[str], procedure: str | None = None, split: Split = "train"
) -> list[Example]:
    """Turns what a caller wrote into examples.

    Args:
        given: examples, pairs of query and response, mappings with `query`, `response` and perhaps
            `instruction` and `procedure`, a mapping of procedures to their pairs, or the path of a JSON lines
            file.
        known: names of the procedures that the bank holds.
        procedure: what pairs, and rows that name none, are of; None takes the only known one for pairs.
        split: which rows of a file count, if its rows have a `split`.

    Raises:
        DataError: something in it is none of these, or nothing says which procedure the pairs are of.
    """
    # A name may be too long for a path: `exists` says no to it, and that of `Path` raises OSError.
    if isinstance(given, str) and given in known and not os.path.exists(given):
        raise DataError(f"procedure {given!r} as examples", "examples", f"write procedure={given!r}")
    if isinstance(given, str | Path):
        return list(read_jsonl(Path(given), split, procedure))
    if isinstance(given, Mapping):
        for name, pairs in given.items():
            if isinstance(pairs, str | Path | Mapping):
                raise DataError(
                    f"{str(pairs)[:60]!r} as the examples of {name!r}", f"a list, each {_EXAMPLE}"
                )
        return [one for name, pairs in given.items() for one in as_examples(pairs, known, name)]
    if not isinstance(given, Iterable):
        raise DataError(f"{type(given).__name__} {given!r} as examples", f"a list, each {_EXAMPLE}")
    listed = list(given)
    return [one if isinstance(one, Example) else _example(one, known, procedure) for one in listed]


def _example(given: object, known: Sequence[str], procedure: str | None) -> Example:
    instruction = ""
    if isinstance(given, Mapping) and {"query", "response"} <= given.keys() <= _ROW:
        own, instruction = given.get("procedure"), given.get("instruction", "")
        procedure = procedure if own is None else own
        given = (given["query"], given["response"])
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise DataError(f"{type(given).__name__} {str(given)[:60]!r} as an example", _EXAMPLE)
    query, response = given
    if procedure is None and len(known) != 1:
        raise DataError(
            f"a pair (query, response) and {len(known)} procedures",
            "the procedure that it is of",
            'give procedure="NAME" too, or {"NAME": pairs}',
        )
    name = known[0] if procedure is None else procedure
    if isinstance(name, str) and not has_visible_text(name):
        raise DataError(f"an example of procedure {name!r}", "a name that can be seen", "give it a name")
    return Example(query, (Turn(name, response),), instruction)


def names_given(
    given: ExamplesLike, examples: Sequence[Example], procedure: str | None = None
) -> tuple[str, ...]:
    """The procedures that a caller names beside the examples: those of a mapping or a file, and `procedure`.

    Names inside `Example` records do not count. A misspelt one must be refused, not learned.

    Args:
        given: what the caller wrote.
        examples: what `as_examples` made of it.
        procedure: what pairs are of.
    """
    if isinstance(given, Mapping):
        return tuple(given)
    if isinstance(given, str | Path):
        return tuple(dict.fromkeys(turn.procedure for one in examples for turn in one.turns))
    return () if procedure is None else (procedure,)


def as_query(given: object) -> Example:
    """Turns a query as a caller wrote it into an example without turns.

    Raises:
        DataError: it is neither text nor an example, or it is empty.
    """
    if isinstance(given, Example):
        return given
    if not isinstance(given, str):
        raise DataError(f"{type(given).__name__} {given!r} as a query", "text or an Example")
    if not given.strip():
        raise DataError("an empty query", "some text")
    return Example(given)
