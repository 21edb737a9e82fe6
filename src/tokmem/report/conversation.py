"""A conversation with a memory: queries are answered as they are typed, and answers can be corrected."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from tokmem.data.coerce import as_query
from tokmem.data.fields import did_you_mean
from tokmem.errors import BankError, RecallError
from tokmem.methods.corrections import Corrections
from tokmem.methods.tokmem import TokMem
from tokmem.recall.answer import stream_answer
from tokmem.records import Answer, Example, Forced, Procedure, counted
from tokmem.report.answers import Line, answer_lines

HELP = (
    "Type a query. After an answer, `that was NAME` says which procedure it was for, and /learn learns from "
    "it. /list lists the procedures. An empty line ends."
)
_COMMANDS = ("/help", "/list", "/learn", "/was")
_COMMAND = re.compile(r"/[a-z]*(?=\s|$)", re.IGNORECASE)  # a path is none
_THAT_WAS = re.compile(r"(?:/was|that was|that is)\s+[`'\"]?(.+?)[`'\"]?[.!]?$", re.IGNORECASE)


class Conversation:
    """Answers what a user types at one memory.

    Args:
        memory: what answers.
        folder: of its bank.
        instruction: stands before each query.
        forced: procedures to force; `a+b` composes two or more.

    Attributes:
        intro: what a prompt says first.

    Raises:
        BankError: the bank lacks a procedure to force.
    """

    def __init__(
        self, memory: TokMem, folder: Path, instruction: str = "", forced: Sequence[str] = ()
    ) -> None:
        self.memory, self.instruction = memory, instruction
        self.forced: list[Forced] = [_forced(name, memory.bank.names) for name in forced]
        self.corrections, self.last, self._doubted = Corrections(memory, folder), Example(""), ""
        self.intro = f"{counted(len(memory))}. {HELP}"

    @property
    def procedures(self) -> Mapping[str, Procedure]:
        """Those of the bank, by name. Another process may have changed it when corrections are learned."""
        return self.memory.bank.procedures

    def ask(self, queries: Sequence[Example]) -> list[Answer]:
        """Answers several queries."""
        return self.memory.recall(list(queries), [self.forced] * len(queries) if self.forced else None)

    def reply(self, line: str) -> Iterator[str]:
        """Yields the reply to a typed line piece by piece.

        Raises:
            TokMemError: the query cannot be answered, a correction names no procedure of the bank, or the
                line is probably a mistyped command. The same line again is answered as a query.
        """
        was = _THAT_WAS.match(line)
        again, self._doubted = line == self._doubted, ""
        if line == "/help":
            yield HELP
        elif line == "/list":
            yield "\n".join(f"{name}  {one.description}" for name, one in self.memory.procedures.items())
        elif line == "/learn":
            yield self._learn()
        elif was and (line.startswith("/") or was[1] in self.memory):
            yield from self._correct(was[1])
        else:
            if not again:
                self._doubt(line, was[1] if was else None)
            self.last = as_query(line) if not self.instruction else Example(line, (), self.instruction)
            memory = self.memory
            answers = stream_answer(
                memory.lm, memory.encoder, self.last, memory.recall_settings, self.forced or None
            )
            yield from pieces(answers, memory.procedures, bool(self.forced))

    def _doubt(self, line: str, procedure: str | None) -> None:
        """Refuses a line that is probably a mistyped command or a mistyped correction.

        Raises:
            RecallError: says what was probably meant.
        """
        command, got, wanted = _COMMAND.match(line), "", ""
        if command:
            close = did_you_mean(command[0].lower(), _COMMANDS)
            got, wanted = f"no command {command[0]!r}{close}", "/help, /list, /learn or /was NAME"
        elif procedure and self.last.query:
            close = did_you_mean(procedure, self.memory.bank.names)
            if close or len(procedure.split()) == 1:
                got, wanted = f"no procedure {procedure!r}{close}", "that was NAME, a name of /list"
        if got:
            self._doubted = line
            raise RecallError(got, wanted, "type the line again to ask it as a query")

    def _correct(self, procedure: str) -> Iterator[str]:
        if not self.last.query:
            raise RecallError("a correction before any query", "a query first", "type one")
        answer = self.corrections.add(self.last, procedure)
        yield from pieces([answer], self.memory.procedures, forced=True)
        yield "\nNoted. " + ("/learn learns it." if self.corrections.computed else self._learn())

    def _learn(self) -> str:
        if self.corrections.computed:
            count = self.corrections.learn()
            return (
                f"Learned {counted(count, 'correction')}; the bank is saved."
                if count
                else "No corrections to learn."
            )
        file, folder = self.corrections.file, self.corrections.folder
        if not file.exists():
            return "No corrections to learn."
        return (
            f"This bank is trained: corrections are kept in {file}, where you can mend the responses. Learn "
            f"them with\n  tokmem train {file} --load-task-tokens {folder} --test-size 0"
        )


def _forced(name: str, known: Sequence[str]) -> Forced:
    """Reads the name of a procedure, or several names with plus signs between them; names may hold some too.

    Raises:
        BankError: the bank lacks one, one stands there twice, or there are several ways to read them.
    """
    parts = name.split("+")
    ways = [(name,)] if name in known else [*_ways(parts, {*known})]
    if not ways:
        read = max(end for end in range(len(parts)) if any(_ways(parts[:end], {*known})) or not end)
        part = parts[read].strip()
        hint = did_you_mean(part, known)
        raise BankError(f"procedure {part!r} is not in the bank{hint}", "one of `tokmem bank list`")
    if len(ways) > 1:
        each = " or ".join(" and ".join(map(repr, way)) for way in ways)
        raise BankError(f"procedures {name!r}, which may be {each}", "one way to read them", "rename one")
    if len({*ways[0]}) < len(ways[0]):
        raise BankError(f"procedures {name!r}", "different ones between the plus signs")
    return ways[0][0] if len(ways[0]) == 1 else ways[0]


def _ways(parts: Sequence[str], known: Collection[str]) -> Iterator[tuple[str, ...]]:
    """Every way to read what stands between plus signs as names."""
    if not parts:
        yield ()
    for end in range(1, len(parts) + 1):
        first = "+".join(parts[:end]).strip()
        if first in known:
            yield from ((first, *rest) for rest in _ways(parts[end:], known))


def pieces(
    answers: Iterable[Answer], procedures: Mapping[str, Procedure], forced: bool = False
) -> Iterator[str]:
    """Yields the text of labelled lines as an answer grows, without the line of the query.

    Args:
        answers: the answer so far, again and again; the last is whole.
        procedures: the procedures of the bank by name.
        forced: whether the procedures were given.
    """
    shown, answer = "", None
    for answer in answers:
        text = _text(answer_lines(answer, procedures, forced, growing=True)[1:])
        if text.startswith(shown) and not text.endswith("\ufffd"):  # half a character is held back
            yield text[len(shown) :]
            shown = text
    if answer is not None:
        whole = _text(answer_lines(answer, procedures, forced)[1:])
        yield whole[len(shown) :] if whole.startswith(shown) else f"\n{whole}"


def _text(lines: Sequence[Line]) -> str:
    return "\n".join(f"{label:>9}  {text}" for label, text, _ in lines)
