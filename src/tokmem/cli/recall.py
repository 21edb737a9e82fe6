"""`tokmem recall`: one query, a file of them, or a conversation."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tokmem.cli import options as o
from tokmem.cli.memory import open_memory
from tokmem.cli.shared import answer_record, complain, console, show_answer, show_json
from tokmem.errors import BankError, ConfigError, DataError, TokMemError
from tokmem.log import logger

if TYPE_CHECKING:
    from tokmem.methods.tokmem import TokMem
    from tokmem.records import Answer, Example

# Options that are settings of recall.
_TOLD = ("constrained", "reject", "max_new_tokens", "batch_size", "top_k", "temperature", "top_p", "seed")
EXAMPLES = 'Example: tokmem recall "some query" --bank runs/demo/banks/tokmem-query-0'


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
    top_k: Annotated[int, typer.Option(help="How many candidates to show.", rich_help_panel="Recall")] = 3,
    chain: Annotated[
        bool, typer.Option("--chain", help="Allow several memory tokens.", rich_help_panel="Recall")
    ] = False,
    constrained: Annotated[
        bool,
        typer.Option(
            "--constrained",
            help="In a --chain, arguments must be JSON of the tool's schema.",
            rich_help_panel="Recall",
        ),
    ] = False,
    reject: Annotated[
        bool, typer.Option(help="Answer in plain text where no procedure fits.", rich_help_panel="Recall")
    ] = False,
    temperature: Annotated[float, typer.Option(help="0 is greedy.", rich_help_panel="Recall")] = 0.0,
    top_p: Annotated[float, typer.Option(help="Nucleus of sampling.", rich_help_panel="Recall")] = 1.0,
    seed: Annotated[int, typer.Option(help="Of sampling.", rich_help_panel="Recall")] = 0,
    max_new_tokens: o.MaxNewTokens = 256,
    batch_size: o.EvalBatchSize = 32,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON object a query.")] = False,
    prompt: o.Prompt = None,
    model_name: o.ModelName = None,
    dtype: o.DType = None,
    device: o.Device = None,
    quantization: o.QuantizationName = None,
    max_length: o.MaxLength = None,
) -> None:
    """Route queries to their memory tokens and write the responses.

    Give a query or a --file; with neither, type queries at a prompt, or pipe them in, one a line.
    Backbone and prompt are those that the bank was trained with, unless they are given.
    """
    if query is not None and file is not None:
        raise ConfigError("a query and a --file", "one of them", "leave one out")
    if constrained and not chain:
        raise ConfigError(
            "--constrained without --chain", "both: grammars rule chains of calls", "add --chain"
        )
    talks = query is None and file is None and _at_terminal()
    queries = [] if talks else _queries(query, file, instruction)
    told = {name: ctx.params[name] for name in _TOLD}
    memory = open_memory(bank, ctx.params, mode="chain" if chain else "atomic", **told)
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
    return sys.stdin.isatty()


def _queries(query: str | None, file: Path | None, instruction: str) -> list[Example]:
    """The queries of an argument, a file, or piped lines."""
    from tokmem.data.fields import parse_object, read_bytes, take
    from tokmem.records import Example

    if query is not None:
        return [Example(query, instruction=instruction)]
    if file is not None and file.suffix == ".json":
        from tokmem.data.calls.files import read_calls

        return [Example(row.query, instruction=instruction) for row in read_calls(file)]
    source = "standard input" if file is None else str(file)
    try:
        text = sys.stdin.read() if file is None else read_bytes(file).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{source} is not UTF-8", "text", "save it as UTF-8") from error
    lines = [(f"{source}, line {i}", line) for i, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise DataError(f"no queries in {source}", "one a line")
    if file is None or file.suffix != ".jsonl":
        return [Example(line.strip(), instruction=instruction) for _, line in lines]
    rows = [(parse_object(line, where), where) for where, line in lines]
    return [
        Example(take(row, "query", str, where), instruction=take(row, "instruction", str, where, instruction))
        for row, where in rows
    ]


def _note_missing_instruction(memory: TokMem, instructions: Sequence[str]) -> None:
    """Says that queries stand without an instruction in a prompt that has a place for one."""
    if memory.prompt == "instruction+query" and not all(instructions):
        logger.info(
            "the bank's prompts hold an instruction and a query: without the --instruction of its training "
            "it may route and answer worse"
        )


def _known(memory: TokMem, procedures: Sequence[str]) -> list[str]:
    """The procedures to force, each of which the bank has."""
    from tokmem.data.fields import did_you_mean

    for name in procedures:
        if name not in memory.bank:
            hint = did_you_mean(name, memory.bank.names)
            raise BankError(f"procedure {name!r} is not in the bank{hint}", "one of `tokmem bank list`")
    return list(procedures)


def _answers(memory: TokMem, queries: Sequence[Example], forced: Sequence[str]) -> list[Answer]:
    return memory.recall(list(queries), [list(forced)] * len(queries) if forced else None)


def _converse(memory: TokMem, instruction: str, forced: Sequence[str]) -> None:
    """Answers what is typed, until an empty line or the end of the input."""
    from tokmem.records import Example

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
