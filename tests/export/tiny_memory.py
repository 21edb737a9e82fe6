"""Tiny memories on random backbones of every architecture, with spare rows and rows past the end."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from tests.data.tiny_chat import QWEN, tiny_tokenizer
from tests.tiny import CONFIGS, randomised
from tokmem.bank.slots import IdPolicy
from tokmem.data.calls.text import CallStyle
from tokmem.methods.tokmem import TokMem
from tokmem.model.backbone import wrap_backbone
from tokmem.records import Procedure

KINDS = ("llama", "qwen2", "qwen3", "gemma3", "mistral", "gpt-neox")
SCHEMA = {"type": "object", "properties": {"place": {"type": "string"}}}
PROCEDURES = (
    Procedure("weather", "Gives the weather.", SCHEMA),
    Procedure("maps.find", "Finds a place.", SCHEMA),
    Procedure("say it in words", "Writes a time in words."),
)


def tiny_memory(
    kind: str = "llama",
    *,
    tied: bool = False,
    coupled: bool = True,
    policy: IdPolicy = "auto",
    template: str | None = QWEN,
    procedures: Sequence[Procedure] = PROCEDURES,
    width: int = 1,
    call_style: CallStyle = "plain",
) -> TokMem:
    """A memory of random rows; the backbone has four rows that its tokenizer does not name."""
    ends = {"bos": "<|im_start|>", "eos": "<|im_end|>"} if template == QWEN else {}
    tokenizer = tiny_tokenizer(template, **ends)
    config = CONFIGS[kind]()
    config.vocab_size, config.max_position_embeddings = len(tokenizer) + 4, 512
    config.tie_word_embeddings = tied
    torch.manual_seed(0)
    backbone = wrap_backbone(randomised(config), tokenizer, "tiny")
    options = {"width": width, "call_style": call_style, "addresses": "trained"}
    memory = TokMem(backbone, coupled=coupled, policy=policy, **options)  # type: ignore[arg-type]
    memory.add(procedures)
    randomise(memory)
    return memory


def randomise(memory: TokMem) -> None:
    """Gives all rows of a bank random values."""
    draws = torch.Generator().manual_seed(1)
    for table in memory.bank.tables:
        rows = torch.randn(len(table), table.dim, generator=draws) * 0.3
        table.set_rows(rows, len(table))


def logit_gap(memory: TokMem, model: nn.Module) -> float:
    """The largest difference of a model's logits to the memory's, over prompts with memory tokens in them."""
    ids = [memory.bank.slots.ids(name)[0] for name in memory.bank.names]
    draws = torch.Generator().manual_seed(2)
    batch = torch.randint(20, 300, (3, 12), generator=draws)
    batch[:, 4], batch[:, 8] = torch.tensor(ids[:3]), torch.tensor(ids[-3:])
    ours = memory.lm.logits(batch, torch.ones_like(batch))
    with torch.no_grad():
        theirs = model(input_ids=batch).logits[..., : ours.shape[-1]]
    known = ours.isfinite()
    return float((ours[known] - theirs[known]).detach().abs().max())
