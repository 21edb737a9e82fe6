"""The paper's own figures, to show beside ours; they are from other backbones and other data."""

from __future__ import annotations

from typing import NamedTuple

SOURCE = "arXiv 2510.00444v2"
URL = "https://arxiv.org/abs/2510.00444v2"
TASKS = (10, 50, 200, 500, 1000)
"""Numbers of tasks seen, the columns of Tables 1 and 2."""
CALLS = (2, 3, 4)
"""Numbers of calls that a query asks for, the columns of Table 3; its last column is their average."""


def not_comparable(tables: str, data: str = "other data") -> str:
    """Warns that the paper's figures and ours cannot be compared.

    Args:
        tables: the paper's tables, such as `Tables 1 and 2`.
        data: what the paper measured on.
    """
    return (
        f"The paper's rows ({SOURCE}, {tables}) were measured on other backbones and on {data}. They show "
        "the form and the scale; a difference between them and our rows says nothing about the method."
    )


class PaperRow(NamedTuple):
    """A row of a table: the method and backbone, and a percentage for each of `TASKS`."""

    backbone: str
    method: str
    figures: tuple[float, float, float, float, float]


class PaperCalls(NamedTuple):
    """A row of Table 3: F1 of tools, and of calls with arguments, in percent, for `CALLS` and on average."""

    backbone: str
    method: str
    parameters: str
    tool_f1: tuple[float, float, float, float]
    call_f1: tuple[float, float, float, float]


class PaperSeen(NamedTuple):
    """A row of Table 5: average call F1, in percent, after training on up to one, two, three, four calls."""

    method: str
    figures: tuple[float, float, float, float]


QWEN, LLAMA_1B, LLAMA_3B, LLAMA_8B = "Qwen2.5-0.5B", "Llama-3.2-1B", "Llama-3.2-3B", "Llama-3.1-8B"

ROUGE_L = (  # Table 1
    PaperRow(QWEN, "base", (33.9, 39.0, 38.8, 39.1, 38.5)),
    PaperRow(QWEN, "RAG", (50.4, 43.2, 38.8, 36.2, 34.7)),
    PaperRow(QWEN, "fine-tuning", (52.4, 48.0, 40.6, 41.7, 43.2)),
    PaperRow(QWEN, "replay", (52.4, 49.5, 47.2, 47.7, 46.7)),
    PaperRow(QWEN, "TokMem", (52.8, 51.3, 49.3, 50.2, 50.0)),
    PaperRow(QWEN, "TokMem+DC", (53.8, 50.5, 50.2, 50.9, 50.0)),
    PaperRow(LLAMA_3B, "base", (16.6, 19.9, 20.0, 18.7, 18.2)),
    PaperRow(LLAMA_3B, "RAG", (60.0, 48.7, 45.8, 42.3, 39.9)),
    PaperRow(LLAMA_3B, "fine-tuning", (67.1, 59.1, 59.5, 58.4, 57.9)),
    PaperRow(LLAMA_3B, "replay", (67.1, 61.1, 60.6, 61.4, 60.0)),
    PaperRow(LLAMA_3B, "TokMem", (68.0, 62.3, 61.2, 61.5, 61.5)),
    PaperRow(LLAMA_3B, "TokMem+DC", (68.8, 62.5, 58.7, 61.7, 61.1)),
    PaperRow(LLAMA_8B, "TokMem", (75.4, 65.5, 65.1, 64.4, 64.8)),
)

TOKENS = (1024, 2048, 4096)
"""Tokens memorised, the columns of Table 4."""


class MemoryRow(NamedTuple):
    """A row of Table 4: steps to 90% of the best perplexity, and that perplexity, for each of `TOKENS`."""

    method: str
    embeddings: int
    steps: tuple[int, int, int]
    perplexity: tuple[float, float, float]


MEMORISED = (  # Table 4
    MemoryRow("prefix", 1, (1700, 2300, 2200), (3.81, 8.77, 14.32)),
    MemoryRow("TokMem", 1, (1200, 1400, 1700), (3.28, 7.07, 12.27)),
    MemoryRow("prefix", 2, (500, 1700, 1800), (1.13, 3.51, 8.38)),
    MemoryRow("TokMem", 2, (600, 1300, 1700), (1.09, 2.75, 7.21)),
    MemoryRow("prefix", 5, (300, 500, 1400), (1.07, 1.17, 2.39)),
    MemoryRow("TokMem", 5, (200, 500, 1400), (1.03, 1.15, 1.91)),
)


class ReasoningRow(NamedTuple):
    """A row of Table 6: compliance with `####` and exact match, from a fifth of GSM8K and from all of it."""

    backbone: str
    method: str
    fifth: tuple[float, float]
    whole: tuple[float, float]


REASONED = (  # Table 6
    ReasoningRow("Llama-3.2-1B", "prefix", (0.0, 0.0), (82.8, 30.0)),
    ReasoningRow("Llama-3.2-1B", "TokMem", (98.0, 37.7), (97.4, 39.1)),
    ReasoningRow("Llama-3.2-3B", "prefix", (45.9, 33.1), (97.2, 64.1)),
    ReasoningRow("Llama-3.2-3B", "TokMem", (94.6, 65.6), (98.2, 66.9)),
)

ROUTING = (  # Table 2
    PaperRow("Sentence-BERT", "RAG", (99.6, 92.6, 88.7, 83.2, 79.7)),
    PaperRow(QWEN, "TokMem", (99.4, 98.6, 97.4, 96.9, 94.7)),
    PaperRow(QWEN, "TokMem+DC", (99.4, 99.2, 98.4, 97.2, 96.1)),
    PaperRow(LLAMA_3B, "TokMem", (100.0, 99.9, 98.3, 97.1, 96.1)),
    PaperRow(LLAMA_8B, "TokMem", (99.8, 99.6, 98.9, 97.7, 97.5)),
)

TOOL_CALLS = (  # Table 3
    PaperCalls(LLAMA_1B, "ICL", "-", (27.6, 11.1, 10.5, 16.4), (0.6, 0.7, 0.0, 0.4)),
    PaperCalls(LLAMA_1B, "RAG", "-", (29.5, 10.8, 10.5, 16.9), (7.2, 1.0, 0.0, 2.7)),
    PaperCalls(LLAMA_1B, "fine-tuning", "0.85M", (10.4, 9.5, 7.0, 9.0), (77.3, 72.6, 55.8, 68.6)),
    PaperCalls(
        LLAMA_1B, "TokMem, no adaptation", "0.10M", (86.8, 80.9, 90.8, 86.2), (68.9, 61.1, 73.0, 67.7)
    ),
    PaperCalls(LLAMA_1B, "TokMem", "0.10M", (98.4, 98.0, 98.9, 98.4), (84.3, 84.3, 87.8, 85.5)),
    PaperCalls(LLAMA_3B, "fine-tuning", "2.29M", (98.7, 98.1, 96.8, 97.9), (87.9, 86.6, 82.9, 85.8)),
    PaperCalls(LLAMA_3B, "TokMem", "0.15M", (99.2, 98.2, 100.0, 99.2), (85.9, 86.7, 88.3, 86.3)),
    PaperCalls(LLAMA_8B, "fine-tuning", "3.41M", (98.8, 97.2, 98.2, 98.1), (87.7, 86.8, 88.2, 87.6)),
    PaperCalls(LLAMA_8B, "TokMem", "0.20M", (99.4, 97.9, 100.0, 99.1), (88.1, 86.5, 93.4, 89.3)),
)

CALLS_SEEN = (  # Table 5, Llama-3.2-3B
    PaperSeen("fine-tuning", (23.4, 76.6, 84.2, 85.8)),
    PaperSeen("TokMem", (54.5, 82.0, 85.2, 86.3)),
)
