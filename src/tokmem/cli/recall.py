"""`tokmem recall`: answers one query, a file of queries, or what the user types."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tokmem.cli.flags import Flags, given, track_config
from tokmem.cli.inputs import input_file
from tokmem.cli.memory import FASTEST, OF_BANK, Prompt, bank_itself, newest_bank, open_memory
from tokmem.cli.shared import command_line, complain, console, show_answer, show_json
from tokmem.errors import ConfigError, DataError, TokMemError
from tokmem.log import logger
from tokmem.records import Example

if TYPE_CHECKING:  # importing them takes seconds
    from tokmem.methods.tokmem import TokMem
    from tokmem.report.conversation import Conversation
    from tokmem.serving.conversation import ServedConversation

EXAMPLE = 'tokmem recall runs/train "Can I get three pizzas and one tea?"'
FLAGS = Flags(
    "atomic",
    keys=("recall.*", "backbone.*", "max_length"),
    skip=("recall.mode",),
    defaults={"recall.top_k": "3", **OF_BANK, **FASTEST},
)
_FREE = "recall.max_new_tokens"  # the only setting that a server takes from its client


def recall(
    ctx: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="BANK QUERY",
            help="Folder of a saved bank, and a query. With --url the bank's tools are named.",
        ),
    ] = None,
    bank: Annotated[Path | None, typer.Option("--bank", help="The same as BANK.")] = None,
    queries: Annotated[
        Path | None,
        typer.Option(
            help="Queries: one a line, JSON lines (.jsonl), or composed ones (.json).", callback=input_file
        ),
    ] = None,
    instruction: Annotated[str, typer.Option(help="Stands before the query, if the bank wants one.")] = "",
    procedure: Annotated[
        list[str] | None,
        typer.Option(help="Force this procedure, or several together (a+b); repeat it to force a chain."),
    ] = None,
    chain: Annotated[bool, typer.Option("--chain", help="Allow several memory tokens.")] = False,
    url: Annotated[
        str | None, typer.Option(help="Ask this server, which serves an export of the bank.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON object a query.")] = False,
    prompt: Prompt = None,
) -> None:
    """Route queries to their memory tokens and write the responses.

    Give a query or --queries. With neither, type queries at a prompt, or pipe them in, one a line. At the
    prompt you can correct answers ("that was NAME"), and /learn learns from the corrections.
    """
    bank, query = _bank_and_query(words or [], bank, url)
    if query is not None and queries is not None:
        raise ConfigError("a query and --queries", "one of them", "leave one out")
    own = given(ctx)
    settings = {"recall.top_k": "3", "recall.mode": "chain" if chain else "atomic", **own}
    if settings.get("recall.constrained") == "true" and not chain:
        raise ConfigError(
            "--constrained without --chain", "both: grammars rule chains of calls", "add --chain"
        )
    talks = query is None and queries is None and _at_terminal()
    asked = [] if talks else _queries(query, queries, instruction)
    forced = procedure or []
    voice: Conversation | ServedConversation
    if url is not None:
        _refuse_own(own, {"--procedure": bool(forced), "--chain": chain})
        voice = _served(url, bank, settings, prompt, instruction)
    else:
        assert bank is not None, "_bank_and_query refuses neither"
        memory = open_memory(bank, settings, prompt)
        _note_missing_instruction(memory, [one.instruction for one in asked] or [instruction])
        voice = _with_memory(memory, bank, instruction, forced)
    if talks:
        _converse(voice)
    else:
        _show_answers(voice, asked, json=json, forced=bool(forced))


def _bank_and_query(
    words: Sequence[str], bank: Path | None, url: str | None
) -> tuple[Path | None, str | None]:
    """Finds the bank and the query among the arguments.

    Of two arguments the first is the bank. A single argument is the bank if --bank is missing and it
    names a folder. With --url this must be the folder of a bank, or of a run with one.

    Raises:
        ConfigError: there are more arguments, or neither a bank nor a server.
    """
    rest = list(words)
    if bank is None and rest and (len(rest) == 2 or _is_bank(rest[0], served=url is not None)):
        bank = Path(rest.pop(0))
    if len(rest) > 1:
        got = f"{len(words)} arguments, the last {words[-1]!r}"
        raise ConfigError(got, "a bank and a query", "put the query in quotes")
    query = rest[0] if rest else None
    if bank is None and url is None:
        do = f"write {command_line('recall', newest_bank() or 'BANK', query or 'QUERY')}"
        raise ConfigError("neither a bank nor --url", "a bank, or a server of one", do)
    return bank_itself(bank), query


def _show_answers(
    voice: Conversation | ServedConversation, asked: Sequence[Example], *, json: bool, forced: bool
) -> None:
    from tokmem.report.answers import answer_record

    if json:
        show_json([answer_record(answer, voice.procedures) for answer in voice.ask(asked)])
        return
    for answer in voice.ask(asked):
        show_answer(answer, voice.procedures, forced=forced)


def _with_memory(memory: TokMem, bank: Path, instruction: str, forced: list[str]) -> Conversation:
    from tokmem.report.conversation import Conversation

    return Conversation(memory, bank, instruction, forced)


def _is_bank(word: str, served: bool) -> bool:
    """Tells whether a single argument is the bank. A query may be too long to be a path."""
    try:
        found = Path(word).is_dir()
    except (OSError, ValueError):
        return False
    return found and (not served or (bank_itself(Path(word)) or Path()).joinpath("bank.json").is_file())


def _served(
    url: str, bank: Path | None, settings: Mapping[str, str], prompt: str | None, instruction: str
) -> ServedConversation:
    """Prepares to ask a server.

    Raises:
        ConfigError: a setting has a wrong value.
    """
    from tokmem.serving.conversation import ServedConversation

    asked = {_FREE: settings[_FREE]} if _FREE in settings else {}
    most = track_config("atomic", asked).recall.max_new_tokens
    return ServedConversation(url, bank, most, prompt, instruction)


def _refuse_own(settings: Mapping[str, str], more: Mapping[str, bool]) -> None:
    """Refuses options that a server decides itself.

    Raises:
        ConfigError: one was given.
    """
    options = FLAGS.options()
    named = [options[key] for key in settings if key != _FREE] + [name for name, yes in more.items() if yes]
    if named:
        raise ConfigError(f"{named[0]} beside --url", f"{options[_FREE]} alone", "leave it out")


def _at_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def _queries(query: str | None, file: Path | None, instruction: str) -> list[Example]:
    """Reads the queries of an argument, a file, or piped lines."""
    from tokmem.data.queries import parse_queries, read_queries

    if query is not None:
        if not query.strip():
            raise DataError("an empty query", "some text")
        return [Example(query, instruction=instruction)]
    if file is not None:
        return read_queries(file, instruction)
    if sys.stdin is None:
        raise DataError("no query, and standard input is closed", "a query, --queries or piped lines")
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


def _converse(voice: Conversation | ServedConversation) -> None:
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
