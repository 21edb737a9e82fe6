"""PEFT's prompt as a memory: it gives what our embeddings before BOS give, and only the prompt trains."""

from __future__ import annotations

import pytest
import torch

from tests.data.tiny_chat import LLAMA, tiny_tokenizer
from tests.tiny import tiny_backbone
from tokmem.bank.bank import Bank
from tokmem.data.placement import insert_memory
from tokmem.methods.peft_memory import PeftMemory
from tokmem.methods.peft_prompts import Kind, PeftPrompt
from tokmem.model.backbone import Backbone
from tokmem.model.memory_lm import MemoryLM
from tokmem.records import Encoded, Procedure
from tokmem.train.memorise import MemoriseSettings, RunRecord, train_memories
from tokmem.train.memory_tokens import memorise

SETTINGS = MemoriseSettings(lr=0.05, steps=12, check_every=3, patience=0)
WIDTH = 2
SEQUENCES = [
    Encoded((2, 50, 60, 70, *ids), (*[False] * 4, *[True] * len(ids)), 4, str(ids))
    for ids in ((90, 110, 130, 150, 80), (200, 210, 90, 330), (40, 30, 30))
]


@pytest.fixture
def backbone() -> Backbone:
    return tiny_backbone(tiny_tokenizer(LLAMA))


def memory(backbone: Backbone, kind: Kind, seed: int = 0) -> PeftMemory:
    return PeftMemory(PeftPrompt(backbone, kind, width=WIDTH, seed=seed), SEQUENCES)


def test_prompt_tuning_trains_as_our_embeddings_before_bos(backbone: Backbone) -> None:
    start = torch.randn(1, WIDTH, backbone.dim, generator=torch.Generator().manual_seed(0)) * 0.3
    bank = Bank(backbone.dim, backbone.id_space())
    bank.add([Procedure("run")], start)
    lm = MemoryLM(backbone.model, bank, writes=False)
    ours = [insert_memory(e, bank.memory["run"], 0) for e in SEQUENCES]
    (wanted,) = memorise(lm, [ours], SETTINGS, frozen_prefix=False)
    rival = memory(backbone, "prompt_tuning")
    rival.put([start[0]])
    (found,) = train_memories(rival, SETTINGS)
    torch.testing.assert_close(found.rows, wanted.rows, rtol=1e-3, atol=1e-4)
    for (step, one), (other_step, other) in zip(found.checks, wanted.checks, strict=True):
        assert (step, one.correct, one.tokens) == (other_step, other.correct, other.tokens)
        assert one.nll == pytest.approx(other.nll, rel=1e-3)


@pytest.mark.parametrize("kind", ["prompt_tuning", "prefix_tuning"])
def test_the_best_prompt_is_kept_and_the_backbone_stays(backbone: Backbone, kind: Kind) -> None:
    before = {name: p.clone() for name, p in backbone.model.named_parameters()}
    rival = memory(backbone, kind)
    (record,) = train_memories(rival, SETTINGS)
    assert record.best.nll < record.checks[0][1].nll
    assert not torch.equal(record.rows, record.start)
    assert torch.equal(rival.rows()[0], record.rows)
    assert all(torch.equal(p, before[name]) for name, p in backbone.model.named_parameters())


@pytest.mark.parametrize("kind", ["prompt_tuning", "prefix_tuning"])
def test_micro_batches_change_nothing(backbone: Backbone, kind: Kind) -> None:
    def trained(batch_size: int) -> RunRecord:
        settings = MemoriseSettings(0.05, 12, 3, 0, batch_size=batch_size)
        (record,) = train_memories(memory(backbone, kind), settings)
        return record

    torch.testing.assert_close(trained(1).rows, trained(64).rows, rtol=1e-3, atol=1e-4)
