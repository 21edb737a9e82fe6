"""What `tokmem train` shows at its end: scores by procedure in plain words, and a command to go on with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokmem.cli.shared import command_line, console, show_results, show_table
from tokmem.log import logger
from tokmem.report.results import result_facts

if TYPE_CHECKING:  # importing it takes seconds
    from tokmem.data import Corpus

_ALIKE = (
    "No training saw the test queries. An answer is 100% alike if it has the words of the right answer in "
    "their order (ROUGE-L)."
)
_POOR = 20.0  # ROUGE-L below which answers are hardly ever right
_HARDLY = (
    "the answers are hardly ever right; give more examples or --epochs, or a larger --backbone "
    "(mini, made for tests, knows little)"
)
_LONGEST = 90


def show_outcome(summary: Mapping[str, Any], corpus: Corpus, folder: Path) -> None:
    """Prints the scores of a run: of one method by procedure, of several as they are compared elsewhere."""
    from tokmem.report.learned import outcome_table

    rows = summary["rows"]
    if len(rows) > 1:
        show_results(summary, folder)
        return
    if rows[0].get("per_procedure"):
        show_table(outcome_table(rows[0], corpus), ("procedure",))
        console().print(_ALIKE, markup=False)
        if rows[0]["rouge_l"] < _POOR:
            logger.warning("%s", _HARDLY)
    console().print("\n".join(result_facts(summary, folder)), markup=False)


def recall_line(bank: Path, config: Any, corpus: Corpus, backbone: str) -> str:
    """Writes a command that recalls from a new bank, with a query of the corpus.

    Args:
        bank: folder of the bank, or of its run.
        config: of the run.
        corpus: what the bank learned.
        backbone: what the bank calls its backbone; the command names it only if that does not find it.
    """
    example = next(iter((*corpus.examples("test"), *corpus.examples("train"))))
    model = config.backbone.model_name
    found = model == backbone or (Path(model) / "config.json").is_file()
    named = [] if found else ["--backbone", model]
    instructed = config.prompts[0] != "query" and example.instruction
    asked = ["--instruction", _shown(example.instruction)] if instructed else []
    return command_line("recall", bank, _shown(example.query), *asked, *named)


def _shown(text: str) -> str:
    return text if len(text) <= _LONGEST and text.isprintable() else "..."
