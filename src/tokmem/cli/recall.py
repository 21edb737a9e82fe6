"""`tokmem recall`: answers one query, a file of queries, or what the user types."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tokmem.cli.flags import Flags, given
from tokmem.cli.memory import OF_BANK, Prompt, open_memory
from tokmem.cli.shared import complain, console, show_answer, show_json
from tokmem.errors import BankError, ConfigError, DataError, TokMemError
from tokmem.log import logger
from tokmem.records import Answer, Example

if TYPE_CHECKING:  # importing it takes seconds
    from tokmem.methods.tokmem import TokMem

EXAMPLE = 'tokmem recall "Selling my lamp, 35 euros, in Madrid." --bank runs/demo/banks/tokmem-query-0'
FLAGS = Flags(
    "atomic",
    keys=("recall.*", "backbone.*", "max_length"),
    skip=("recall.mode",),
    names={"recall.batch_size": "batch-size"},
    defaults={"recall.top_k": "3", **OF_BANK},
)


def recall(
    ctx: typer.Context,
    bank: Annotated[Path, typer.Option("--bank", help="Folder of a saved bank.", show_default=False)],
    query: Annotated[str | None, typer.Argument(help="The query.", show_default=False)] = None,
    file: Annotated[
        Path | None,
        typer.Option(help="Queries: one a line, JSON lines (.jsonl), or composed ones (.json)."),
    ] = None,
    instruction: Annotated[str, typer.Option(help="Stands before the query, if the bank wants one.")] = "",
    procedure: Annotated[
        list[str] | None, typer.Option(help="Force this procedure; repeat it to force a chain.")
    ] = None,
    chain: Annotated[bool, typer.Option("--chain", help="Allow several memory tokens.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON object a query.")] = False,
    prompt: Prompt = None,
) -> None:
    """Route queries to their memory tokens and write the responses.

    Give a query or a --file. With neither, type queries at a prompt, or pipe them in, one a line.
    """
    from tokmem.report.answers import answer_record

    if query is not None and file is not None:
        raise ConfigError("a query and a --file", "one of them", "leave one out")
    settings = {"recall.top_k": "3", "recall.mode": "chain" if chain else "atomic", **given(ctx)}
    if settings.get("recall.constrained") == "true" and not chain:
        raise ConfigError(
            "--constrained without --chain", "both: grammars rule chains of calls", "add --chain"
        )
    talks = query is None and file is None and _at_terminal()
    queries = [] if talks else _queries(query, file, instruction)
    memory = open_memory(bank, settings, prompt)
    forced = _known(memory, procedure or [])
    _note_missing_instruction(memory, [q.instruction for q in queries] or [instruction])
    if talks:
        _converse(memory, instruction, forced)
    elif json:
        answers = _answers(memory, queries, forced)
        show_json([answer_record(answer, memory.bank.procedures) for answer in answers])
    else:
        for answer in _answers(memory, queries, forced):
            show_answer(answer, memory.bank.procedures, forced=bool(forced))


def _at_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def _queries(query: str | None, file: Path | None, instruction: str) -> list[Example]:
    """Reads the queries of an argument, a file, or piped lines."""
    from tokmem.data.queries import parse_queries, read_queries

    if query is not None:
        return [Example(query, instruction=instruction)]
    if file is not None:
        return read_queries(file, instruction)
    if sys.stdin is None:
        raise DataError("no query, and standard input is closed", "a query, a --file or piped lines")
    try:
        return parse_queries(sys.stdin.read(), "standard input", instruction)
    except UnicodeDecodeError as error:
        raise DataError("standard input is not UTF-8", "text", "pipe it as UTF-8") from error


def _note_missing_instruction(memory: TokMem, instructions: Sequence[str]) -> None:
    """Notes that queries lack the instruction that the bank's prompts hold."""
    if memory.prompt == "instruction+query" and not all(instructions):
        logger.info(
            "the bank's prompts hold an instruction and a query: without the --instruction of its training "
            "it may route and answer worse"
        )


def _known(memory: TokMem, procedures: Sequence[str]) -> list[str]:
    """Checks that the bank has the procedures to force."""
    from tokmem.data.fields import did_you_mean

    for name in procedures:
        if name not in memory.bank:
            hint = did_you_mean(name, memory.bank.names)
            raise BankError(f"procedure {name!r} is not in the bank{hint}", "one of `tokmem bank list`")
    return list(procedures)


def _answers(memory: TokMem, queries: Sequence[Example], forced: Sequence[str]) -> list[Answer]:
    return memory.recall(list(queries), [list(forced)] * len(queries) if forced else None)


def _converse(memory: TokMem, instruction: str, forced: Sequence[str]) -> None:
    """Answers typed queries until an empty line or the end of the input."""
    console().print(f"{len(memory.bank)} procedures in the bank. An empty line ends.\n", markup=False)
    while True:
        try:
            line = input("query> ").strip()
        except EOFError:
            return
        except UnicodeDecodeError:
            complain(DataError("what was typed is not UTF-8", "text", "type it again"))
            continue
        if not line:
            return
        try:
            answers = _answers(memory, [Example(line, instruction=instruction)], forced)
        except TokMemError as error:
            complain(error)
        else:
            show_answer(answers[0], memory.bank.procedures, forced=bool(forced))
