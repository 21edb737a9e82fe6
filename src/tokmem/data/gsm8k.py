r"""Reads word problems with worked answers: GSM8K's JSON lines as published, or any file of that format.

{"question": "...", "answer": "... <<48/2=24>>24 clips in May.\n#### 72"}
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from tokmem.data.corpus import Corpus, content_rank
from tokmem.data.fields import parse_object, read_bytes, refuse_unknown, take, text_lines
from tokmem.errors import ConfigError, DataError
from tokmem.eval.reasoning import final_answer
from tokmem.records import Example, Procedure, Turn

PROCEDURE = Procedure(
    "word_problem",
    "Solve the word problem step by step. End with a line that holds #### and the final number.",
)


def load_gsm8k(train: Path, test: Path, test_size: int | None = None) -> Corpus:
    """Reads the two files into a corpus of one procedure, without validation examples.

    Args:
        train: the file of training problems.
        test: the file of test problems.
        test_size: how many test problems to use, the first by a hash of the problem; None takes all.

    Returns:
        The corpus.

    Raises:
        DataError: a file cannot be read, a line is not valid, or an answer lacks its `####` line.
        ConfigError: the test file has fewer problems than ``test_size``.
    """
    contents = [read_bytes(path) for path in (train, test)]
    learned, measured = (_rows(*pair) for pair in zip((train, test), contents, strict=True))
    if test_size is not None and test_size > len(measured):
        raise ConfigError(
            f"test_size {test_size} of {len(measured)} problems in {test}",
            f"at most {len(measured)}",
        )
    digest = hashlib.sha256(b"".join(hashlib.sha256(content).digest() for content in contents)).hexdigest()
    return reasoning_corpus(learned, measured[:test_size], digest)


def reasoning_corpus(train: Sequence[Example], test: Sequence[Example], checksum: str) -> Corpus:
    """Makes a corpus of the one procedure, without validation examples."""
    name = PROCEDURE.name
    return Corpus((PROCEDURE,), {name: tuple(train)}, {name: ()}, {name: tuple(test)}, checksum=checksum)


def problem(question: str, answer: str, id: str, where: str) -> Example:
    """Makes an example of a word problem.

    Raises:
        DataError: the question is empty, or the answer has no line `#### number`; the message names `where`.
    """
    if not question.strip():
        raise DataError(f"{where}: empty `question`", "some text", "remove the line")
    if final_answer(answer) is None:
        raise DataError(
            f"{where}: `answer` ends in {answer[-40:]!r}",
            "a line `#### number` at its end",
            "mend the answer",
        )
    return Example(question, (Turn(PROCEDURE.name, answer),), instruction=PROCEDURE.description, id=id)


def training_part(examples: Sequence[Example], size: float) -> tuple[Example, ...]:
    """Returns the first ``size`` examples, so a smaller part is the beginning of a larger one.

    Args:
        examples: examples in a fixed order.
        size: how many examples; a size up to 1 is a share of them.

    Raises:
        ConfigError: there are fewer examples, or the size is not a whole number.
    """
    if size <= 1:
        return tuple(examples[: max(1, round(size * len(examples)))])
    if size != int(size) or size > len(examples):
        raise ConfigError(
            f"train size {size:g} of {len(examples)} examples",
            f"a whole number up to {len(examples)}, or a share up to 1",
        )
    return tuple(examples[: int(size)])


def _rows(path: Path, content: bytes) -> list[Example]:
    """Reads the problems of a file, in an order that depends on their content alone."""
    examples = []
    for number, line in text_lines(content, str(path)):
        where = f"{path}, line {number}"
        raw = parse_object(line, where)
        refuse_unknown(raw, ("question", "answer"), where)
        question, answer = take(raw, "question", str, where), take(raw, "answer", str, where)
        examples.append(problem(question, answer, f"{path.stem}-{number}", where))
    return sorted(examples, key=lambda example: content_rank(example.query))
