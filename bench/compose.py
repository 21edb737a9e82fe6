"""Measures composition tokens: `python -m bench.compose`.

Six procedures find something in a text, and six write a text in a form: in capital letters, as JSON and so
on. Each is learned alone. A composition token is learned from some pairs of a finding and a form. It is asked
for those pairs on new texts (`seen`), for other pairs of the same procedures (`new pair`), and for pairs with
a procedure that none of its pairs has (`new procedure`). Beside it stand the two tokens alone, the finding
token alone, and the untrained backbone with both instructions in its prompt.

An answer is exact if it is the right finding in the right form. `form` is the share in the right form,
whatever was found, and `found` the share that holds the right finding, whatever the form.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any

from rich.console import Console

from tokmem.files import atomic_write_json
from tokmem.methods.base import Base
from tokmem.methods.tokmem import TokMem
from tokmem.mini.everyday import EVERYDAY
from tokmem.model.backbone import Backbone, load_backbone
from tokmem.provenance import provenance
from tokmem.recall.settings import RecallSettings
from tokmem.records import Answer, Example
from tokmem.report.distilled import composed_table
from tokmem.seeds import stream

OUT = Path("results/distil/compose.json")
BOTH, SEEN = "both", "seen"


@dataclass(frozen=True)
class Form:
    """A way to write a text.

    Attributes:
        write: puts a text into the form.
        is_one: whether a text is in the form, whatever it says.
        instruction: the form in words.
    """

    write: Callable[[str], str]
    is_one: re.Pattern[str]
    instruction: str


FORMS: Mapping[str, Form] = {
    "capitals": Form(str.upper, re.compile(r"[^a-z]+"), "Write your answer in capital letters."),
    "quotes": Form('"{}"'.format, re.compile(r'".*"'), "Put your answer in double quotes."),
    "json": Form(
        lambda text: json.dumps({"answer": text}),
        re.compile(r'\{"answer": ".*"\}'),
        'Write your answer as JSON, such as {"answer": "..."}.',
    ),
    "labelled": Form("Answer: {}".format, re.compile("Answer: .*"), "Begin with Answer: and a space."),
    "hyphen": Form("- {}".format, re.compile("- .*"), "Write your answer after a hyphen and a space."),
    "bold": Form("<b>{}</b>".format, re.compile("<b>.*</b>"), "Put your answer between <b> and </b>."),
}
FINDINGS = {family.name: family for family in EVERYDAY[:6]}
PAIRS = [(finding, form) for finding in FINDINGS for form in FORMS]


def kind_of(finding: str, form: str) -> str:
    """What the composition token learned: this pair, other pairs of both, or no pair of one of them."""
    i, j = [*FINDINGS].index(finding), [*FORMS].index(form)
    if i == len(FINDINGS) - 1 or j == len(FORMS) - 1:
        return "new procedure"
    return SEEN if (i + j) % 5 < 3 else "new pair"


@dataclass(frozen=True)
class Texts:
    """Draws texts, and what is to be found in each. No text has two uses.

    Args:
        seed: of the texts.
    """

    seed: int

    def draw(self, finding: str, use: str, count: int) -> list[tuple[str, str]]:
        """`count` different pairs of text and finding; those of different uses are different."""
        draws, mine = stream(self.seed, "compose", finding), dict[str, tuple[str, str]]()
        uses = ("learn", "forms", "pairs", "test")
        while len(mine) < len(uses) * count:
            text, found = FINDINGS[finding].sample(draws)
            mine.setdefault(text, (text, found))
        return [*mine.values()][uses.index(use) :: len(uses)]


def lessons(texts: Texts, count: int) -> dict[str, list[tuple[str, str]]]:
    """Examples of each procedure alone: findings from texts, and forms of findings that stand alone."""
    found = {name: texts.draw(name, "learn", count) for name in FINDINGS}
    said = [answer for name in FINDINGS for _, answer in texts.draw(name, "forms", count)]
    Random(texts.seed).shuffle(said)
    words = [*dict.fromkeys(said)][:count]
    return found | {name: [(word, form.write(word)) for word in words] for name, form in FORMS.items()}


@dataclass(frozen=True)
class Asked:
    """A text, the finding and the form that are asked for, and the finding that is right."""

    text: str
    finding: str
    form: str
    found: str

    @property
    def pair(self) -> tuple[str, str]:
        """The two procedures."""
        return self.finding, self.form

    @property
    def response(self) -> str:
        """The right answer."""
        return FORMS[self.form].write(self.found)

    def marks(self, said: str) -> dict[str, bool]:
        """Whether an answer is exact, is in the form, and holds the finding."""
        form = FORMS[self.form].is_one.fullmatch(said.strip()) is not None
        return {
            "exact": said.strip() == self.response,
            "form": form,
            "found": self.found.lower() in said.lower(),
        }


def asked_of(texts: Texts, use: str, count: int) -> list[Asked]:
    """`count` texts for each pair of a finding and a form."""
    return [
        Asked(text, finding, form, found)
        for finding, form in PAIRS
        for text, found in texts.draw(finding, use, count)
    ]


def measured(answers: Sequence[Answer], asked: Sequence[Asked]) -> list[dict[str, Any]]:
    """Shares in percent, a row for each kind of pair."""
    marks = dict[str, list[dict[str, bool]]]()
    for answer, one in zip(answers, asked, strict=True):
        marks.setdefault(kind_of(*one.pair), []).append(one.marks(answer.response))
    return [
        {"pairs": kind, "queries": len(own)}
        | {name: 100 * fmean(mark[name] for mark in own) for name in own[0]}
        for kind, own in marks.items()
    ]


def run(backbone: Backbone, seed: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Learns all procedures and the composition token with one seed, and measures every way to ask."""
    texts, recall = Texts(seed), RecallSettings(max_new_tokens=40, batch_size=64)
    memory = TokMem(backbone, prompt="query", recall=recall, seed=seed)
    alone = {"lr": options.lr, "batch_size": 8, "epochs": options.epochs, "seed": seed}
    memory.fit(lessons(texts, options.examples), **alone)
    asked = asked_of(texts, "test", options.test)
    queries = [one.text for one in asked]
    found = {
        "both instructions": prompted(backbone, asked, recall),
        "first token": memory.recall(queries, [[one.finding] for one in asked]),
        "two tokens": memory.recall(queries, [[one.pair] for one in asked]),
    }
    learned: dict[tuple[str, ...], list[tuple[str, str]]] = {}
    for one in asked_of(texts, "pairs", options.pair_examples):
        if kind_of(*one.pair) == SEEN:
            learned.setdefault(one.pair, []).append((one.text, one.response))
    memory.compose(BOTH, learned, lr=options.lr, batch_size=4, epochs=options.pair_epochs, seed=seed)
    found["composition token"] = memory.recall(queries, [[(*one.pair, BOTH)] for one in asked])
    return [
        {"method": method, "seed": seed, **row}
        for method, answers in found.items()
        for row in measured(answers, asked)
    ]


def prompted(backbone: Backbone, asked: Sequence[Asked], recall: RecallSettings) -> list[Answer]:
    """The untrained backbone's answers to both instructions and the text."""
    texts = [f"{FINDINGS[one.finding].wordings[0]} {FORMS[one.form].instruction}" for one in asked]
    examples = [Example(one.text, instruction=text) for one, text in zip(asked, texts, strict=True)]
    return Base(backbone, recall=recall).answer(examples)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures every seed, and writes the result after each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--backbone", default="smollm2")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--lr", type=float, default=0.02)
    parser.add_argument("--examples", type=int, default=40, help="of each procedure alone")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--pair-examples", type=int, default=24, help="of each pair that is learned")
    parser.add_argument("--pair-epochs", type=int, default=8)
    parser.add_argument("--test", type=int, default=8, help="queries of each pair")
    options = parser.parse_args(arguments)
    backbone = load_backbone(options.backbone, dtype=options.dtype)
    chosen = {name: value for name, value in vars(options).items() if name not in ("out", "backbone")}
    source = provenance(
        options.seeds[0], "generated", backbone.fingerprint, str(backbone.device), backbone.source_sha256
    )
    rows = list[dict[str, Any]]()
    for seed in options.seeds:
        rows += run(backbone, seed, options)
        result = {"backbone": backbone.id, "settings": chosen, "rows": rows}
        atomic_write_json(options.out, {**result, "provenance": source})
    Console().print(composed_table(rows).markdown(), markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
