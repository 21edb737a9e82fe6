"""Tables of what one command learned: scores by procedure, and the cards of lessons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tokmem.data import Corpus
from tokmem.report.tables import Table

OUTCOME = {
    "procedure": "procedure",
    "queries": "test queries",
    "routing_accuracy": "right procedure chosen %",
    "exact_match": "answer exactly right %",
    "rouge_l": "answer alike %",
}
LESSONS = {
    "procedure": "procedure",
    "tokens": "tokens",
    "teacher": "teacher ROUGE-L",
    "student": "student",
    "no_prompt": "no prompt",
    "routing": "routing %",
    "kl": "KL",
    "kl_no_prompt": "KL no prompt",
    "saved_tokens": "tokens saved /query",
    "worth": "worth /1000 queries",
    "seconds": "s",
}


def outcome_table(row: Mapping[str, Any], corpus: Corpus) -> Table:
    """Makes a line for each procedure that was tested, and one for all of them if there are several."""
    lines = [
        {"procedure": name, "queries": len(corpus.test[name]), **scores}
        for name, scores in row["per_procedure"].items()
    ]
    if len(lines) > 1:
        whole = {name: row.get(name) for name in ("routing_accuracy", "exact_match", "rouge_l")}
        lines.append({"procedure": "all", "queries": sum(line["queries"] for line in lines), **whole})
    return Table(lines, OUTCOME, title="What the frozen model now does with test queries")


def lessons_table(cards: Sequence[Mapping[str, Any]]) -> Table:
    """Makes a line for each lesson; the cards say what 1000 queries save only if there was a price."""
    columns = {name: title for name, title in LESSONS.items() if name in cards[0]}
    return Table(cards, columns, {"kl": ".3f", "kl_no_prompt": ".3f", "worth": ".4f"})
