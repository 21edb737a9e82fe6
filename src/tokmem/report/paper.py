"""The paper's own figures on Super-NaturalInstructions, to stand beside ours: other backbones, other data."""

from __future__ import annotations

from typing import NamedTuple

SOURCE = "arXiv 2510.00444v2"
URL = "https://arxiv.org/abs/2510.00444v2"
TASKS = (10, 50, 200, 500, 1000)
"""Numbers of tasks seen, the columns of both tables."""


class PaperRow(NamedTuple):
    """A row of a table: what was measured on which backbone, in percent, one figure for each of `TASKS`."""

    backbone: str
    method: str
    figures: tuple[float, float, float, float, float]


QWEN, LLAMA_3B, LLAMA_8B = "Qwen2.5-0.5B", "Llama-3.2-3B", "Llama-3.1-8B"

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

ROUTING = (  # Table 2
    PaperRow("Sentence-BERT", "RAG", (99.6, 92.6, 88.7, 83.2, 79.7)),
    PaperRow(QWEN, "TokMem", (99.4, 98.6, 97.4, 96.9, 94.7)),
    PaperRow(QWEN, "TokMem+DC", (99.4, 99.2, 98.4, 97.2, 96.1)),
    PaperRow(LLAMA_3B, "TokMem", (100.0, 99.9, 98.3, 97.1, 96.1)),
    PaperRow(LLAMA_8B, "TokMem", (99.8, 99.6, 98.9, 97.7, 97.5)),
)
