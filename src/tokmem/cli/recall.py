"""`tokmem recall`: answers one query, a file of queries, or what the user types."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from tokmem.cli.flags import Flags, given
from tokmem.cli.memory import FASTEST, OF_BANK, Prompt, open_memory
from tokmem.cli.shared import complain, console, show_answer, show_json
from tokmem.config.texts import quoted
from tokmem.errors import BankError, ConfigError, DataError, TokMemError
from tokmem.log import logger
from tokmem.records import Answer, Example, Procedure

if TYPE_CHECKING:  # importing it takes seconds
    from tokmem.methods.tokmem import TokMem

EXAMPLE = 'tokmem recall runs/demo/banks/tokmem-query-0 "Selling my lamp, 35 euros, in Madrid."'
FLAGS = Flags(
    "atomic",
    keys=("recall.*", "backbone.*", "max_length"),
    skip=("recall.mode",),
    names={"recall.batch_size": "batch-size"},
    defaults={"recall.top_k": "3", **OF_BANK, **FASTEST},
)


def recall(
    ctx: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[BANK] [QUERY]",
            help="Folder of a saved bank, and a query. With --url the bank's tools are named.",
        ),
    ] = None,
    bank: Annotated[Path | None, typer.Option("--bank", help="The same as BANK.")] = None,
    file: Annotated[
        Path | None, typer.Option(help="Queries: one a line, JSON lines (.jsonl), or composed ones (.json).")
    ] = None,
    instruction: Annotated[str, typer.Option(help="Stands before the query, if the bank wants one.")] = "",
    procedure: Annotated[
        list[str] | None, typer.Option(help="Force this procedure; repeat it to force a chain.")
    ] = None,
    chain: Annotated[bool, typer.Option("--chain", help="Allow several memory tokens.")] = False,
    url: Annotated[
        str | None, typer.Option(help="Ask this server, which serves an export of the bank.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON object a query.")] = False,
    prompt: Prompt = None,
) -> None:
    """Route queries to their memory tokens and write the responses.

    Give a query or a --file. With neither, type queries at a prompt, or pipe them in, one a line. At the
    prompt you can correct answers ("that was NAME"), and /learn learns from the corrections.
    """
    from tokmem.report.answers import answer_record

    bank, query = _bank_and_query(words or [], bank, served=url is not None)
    if query is not None and file is not None:
        raise ConfigError("a query and a --file", "one of them", "leave one out")
    settings = {"recall.top_k": "3", "recall.mode": "chain" if chain else "atomic", **given(ctx)}
    if settings.get("recall.constrained") == "true" and not chain:
        raise ConfigError(
            "--constrained without --chain", "both: grammars rule chains of calls", "add --chain"
        )
    talks = query is None and file is None and _at_terminal()
    queries = [] if talks else _queries(query, file, instruction)
    forced = procedure or []
    if url is not None:
        _refuse_own(given(ctx), {"--procedure": bool(forced), "--chain": chain})
        voice = _server(url, bank, settings, prompt, instruction)
    elif bank is None:
        raise ConfigError(
            "neither a bank nor --url",
            "a bank, or a server of one",
            f"write tokmem recall FOLDER {quoted(query or 'QUERY')}",
        )
    else:
        memory = open_memory(bank, settings, prompt)
        _note_missing_instruction(memory, [q.instruction for q in queries] or [instruction])
        voice = _memory(memory, bank, instruction, forced)
    if talks:
        _converse(voice)
    elif json:
        show_json([answer_record(answer, voice.procedures) for answer in voice.ask(queries)])
    else:
        for answer in voice.ask(queries):
            show_answer(answer, voice.procedures, forced=bool(forced))


def _bank_and_query(
    words: Sequence[str], bank: Path | None, *, served: bool
) -> tuple[Path | None, str | None]:
    """Finds the bank and the query among the arguments.

    The first of two is the bank. A single one is the bank if it is a folder, unless a server or --bank is
    given.

    Raises:
        ConfigError: there are more arguments.
    """
    rest = list(words)
    if bank is None and rest and (len(rest) == 2 or (not served and Path(rest[0]).is_dir())):
        bank = Path(rest.pop(0))
    if len(rest) > 1:
        got = f"{len(words)} arguments, the last {words[-1]!r}"
        raise ConfigError(got, "a bank and a query", "put the query in quotes")
    return bank, rest[0] if rest else None


class _Voice(NamedTuple):
    """What answers: a memory or a server.

    Attributes:
        ask: answers several queries.
        procedures: those that calls are checked with, by name.
        reply: answers a typed line, piece by piece.
        intro: what the prompt says first.
    """

    ask: Callable[[Sequence[Example]], list[Answer]]
    procedures: Mapping[str, Procedure]
    reply: Callable[[str], Iterator[str]]
    intro: str


def _memory(memory: TokMem, bank: Path, instruction: str, forced: Sequence[str]) -> _Voice:
    """Answers with a bank; typed answers can be corrected."""
    from tokmem.report.conversation import HELP, Conversation

    _check_known(memory, forced)
    reply = Conversation(memory, bank, instruction, forced).reply
    intro = f"{len(memory)} procedures. {HELP}"
    return _Voice(partial(_answers, memory, forced=forced), memory.bank.procedures, reply, intro)


def _refuse_own(settings: Mapping[str, str], more: Mapping[str, bool]) -> None:
    """Refuses options that a server decides itself.

    Raises:
        ConfigError: one was given.
    """
    options, free = FLAGS.options(), "recall.max_new_tokens"
    named = [options[key] for key in settings if key != free] + [name for name, yes in more.items() if yes]
    if named:
        raise ConfigError(f"{named[0]} beside --url", f"{options[free]} alone", "leave it out")


def _server(
    url: str, bank: Path | None, settings: Mapping[str, str], prompt: str | None, instruction: str
) -> _Voice:
    """Answers through a server; without a bank there are no procedures to check its calls with."""
    from tokmem.bank.store import load_bank
    from tokmem.data.encode import as_mode, user_text
    from tokmem.recall.settings import RecallSettings
    from tokmem.report.conversation import pieces
    from tokmem.serving.client import Client, tool_list

    procedures: Mapping[str, Procedure] = {}
    if bank is not None:
        held, origin = load_bank(bank)
        procedures, prompt = held.procedures, prompt or origin.training.get("prompt")
    mode = as_mode(prompt or "instruction+query")
    most = int(settings.get("recall.max_new_tokens", RecallSettings.max_new_tokens))
    client = Client(url, tool_list(procedures.values()), most)

    def ask(queries: Sequence[Example]) -> list[Answer]:
        return [client.ask(user_text(mode, q.instruction, q.query)) for q in queries]

    def reply(line: str) -> Iterator[str]:
        return pieces(ask([Example(line, instruction=instruction)]), procedures)

    return _Voice(ask, procedures, reply, "An empty line ends.")


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


def _check_known(memory: TokMem, procedures: Sequence[str]) -> None:
    """Checks that the bank has the procedures to force."""
    from tokmem.data.fields import did_you_mean

    for name in procedures:
        if name not in memory.bank:
            hint = did_you_mean(name, memory.bank.names)
            raise BankError(f"procedure {name!r} is not in the bank{hint}", "one of `tokmem bank list`")


def _answers(memory: TokMem, queries: Sequence[Example], *, forced: Sequence[str]) -> list[Answer]:
    return memory.recall(list(queries), [list(forced)] * len(queries) if forced else None)


def _converse(voice: _Voice) -> None:
    """Answers typed lines as they come, until an empty line or the end of the input."""
    console().print(f"{voice.intro}\n", markup=False)
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
            for piece in voice.reply(line):
                sys.stdout.write(piece)
                sys.stdout.flush()
        except TokMemError as error:
            complain(error)
        else:
            sys.stdout.write("\n\n")
