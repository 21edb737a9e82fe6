"""Corpora, the chat format and the encoding of examples.

This package knows no model, and of a bank only the ids of its memory tokens.
"""

from tokmem.data.chat import Chat
from tokmem.data.corpus import SPLITS, Corpus, Split
from tokmem.data.encode import Encoder, PromptMode
from tokmem.data.jsonl import load_jsonl, read_jsonl, read_procedures, write_jsonl
from tokmem.data.sni import SniSpec, load_tasks

__all__ = [
    "SPLITS",
    "Chat",
    "Corpus",
    "Encoder",
    "PromptMode",
    "SniSpec",
    "Split",
    "load_jsonl",
    "load_tasks",
    "read_jsonl",
    "read_procedures",
    "write_jsonl",
]
