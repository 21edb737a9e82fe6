"""A bank of single answers is read by an engine as by recall: without a gate, and anywhere in an answer."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from tests.data.tiny_chat import LLAMA, tiny_tokenizer
from tests.held_out import FIRST, LATER, corpus, load_mini
from tests.tiny import tiny_backbone
from tokmem.bank.closed import close_anywhere
from tokmem.bank.moments import Moments
from tokmem.export import apply
from tokmem.export.engines import for_engines
from tokmem.export.model import plain_model
from tokmem.export.vocabulary import plan_vocabulary
from tokmem.methods.tokmem import TokMem
from tokmem.model.backbone import Backbone
from tokmem.recall.settings import RecallSettings
from tokmem.records import Example, Turn
from tokmem.train.settings import FitSettings

WORDS = ("France", "a country", "Today", "Italy", "a river", "Japan")


def turn(name: str, word: str) -> Turn:
    return Turn(name, f"{name} of {word}")


def single(name: str, word: str) -> Example:
    return Example(f"{name}: {word}", (turn(name, word),))


def double(word: str) -> Example:
    return Example(f"both: {word}", (turn("date", word), turn("sum", word)))


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return tiny_backbone(tiny_tokenizer(LLAMA))


def learned(backbone: Backbone, addresses: str = "closed", *, chains: bool = False) -> TokMem:
    settings = FitSettings(lr=0.05, epochs=1, batch_size=2)
    recall = RecallSettings(mode="chain" if chains else "atomic")
    memory = TokMem(backbone, coupled=False, recall=recall, addresses=addresses, settings=settings)  # type: ignore[arg-type]
    memory.add(["date", "sum"])
    examples = [single(name, word) for name in ("date", "sum") for word in WORDS]
    memory.fit([*examples, *(map(double, WORDS) if chains else ())])
    return memory


def test_states_inside_single_answers_are_counted_once(backbone: Backbone) -> None:
    """Straight from the sequences: the state before each token of a response, the end included."""
    memory = learned(backbone)
    assert memory.bank.statistics is not None
    found, wanted = memory.bank.statistics.inside, Moments(memory.bank.dim)
    for name in ("date", "sum"):
        for word in WORDS:
            (encoded,) = memory.encoder.encode_all([single(name, word)])
            ids = torch.tensor([encoded.ids])
            hidden = memory.lm.hidden(ids, torch.ones_like(ids), torch.arange(ids.shape[1])[None])[0]
            wanted = wanted.plus(Moments.of(hidden[encoded.prefix : -1]))
    assert found.count == wanted.count
    torch.testing.assert_close(found.total, wanted.total, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.scatter, wanted.scatter, rtol=1e-3, atol=1e-3)
    memory.bank.thaw(["date", "sum"])
    memory.fit([single("date", word) for word in WORDS])
    assert memory.bank.statistics.inside.count == found.count, "the same prompts do not count again"


def test_only_the_copy_for_engines_has_other_addresses(backbone: Backbone) -> None:
    memory = learned(backbone)
    before = memory.bank.addresses().clone()
    made = for_engines(memory)
    assert made is not memory
    assert not torch.equal(made.bank.addresses(), before)
    assert torch.equal(memory.bank.addresses(), before)
    assert torch.equal(made.bank.steering.rows(), memory.bank.steering.rows())
    model, _ = apply(memory)
    ids = plan_vocabulary(memory).ids
    for name, row in zip(made.bank.names, made.bank.addresses(), strict=True):
        assert torch.equal(model.get_output_embeddings().weight[ids[name]], row)


def test_the_balance_stands_between_calls_and_responses(backbone: Backbone) -> None:
    """Every kept state prefers a memory token, and the mean state inside a response an ordinary one."""
    memory = learned(backbone)
    bank = memory.bank
    statistics = bank.statistics
    assert statistics is not None
    assert close_anywhere(bank)
    rows, level = bank.addresses().double(), sum(statistics.levels.values()) / statistics.total
    kept = torch.cat([bank.states[name] for name in bank.names]).double()
    assert ((kept @ rows.T).amax(-1) > level).all()
    assert (rows @ statistics.inside.mean < level).all()


@pytest.mark.parametrize(("addresses", "chains"), [("closed", True), ("trained", False)])
def test_other_banks_stay_as_they_are(backbone: Backbone, addresses: str, chains: bool) -> None:
    memory = learned(backbone, addresses, chains=chains)
    assert for_engines(memory) is memory


def test_a_bank_of_an_earlier_version_is_warned_of(
    backbone: Backbone, caplog: pytest.LogCaptureFixture
) -> None:
    memory = learned(backbone)
    assert memory.bank.statistics is not None
    memory.bank.statistics.inside = Moments(memory.bank.dim)
    with caplog.at_level(logging.WARNING, "tokmem"):
        assert for_engines(memory) is memory
    assert "learn the procedures again" in caplog.text


def test_the_states_are_kept_by_files_and_merges(backbone: Backbone, tmp_path: Path) -> None:
    memory = learned(backbone)
    wanted = for_engines(memory).bank.addresses()
    memory.save(tmp_path / "bank")
    loaded = TokMem.load(tmp_path / "bank", backbone)
    assert torch.equal(for_engines(loaded).bank.addresses(), wanted)


@pytest.mark.trains
def test_a_plain_model_answers_as_recall_does() -> None:
    """On the bundled backbone. With recall's own addresses most answers differ."""
    data = corpus([*FIRST, *LATER])
    memory = TokMem(load_mini(), prompt="query", recall=RecallSettings(max_new_tokens=24, batch_size=64))
    memory.add(data.procedures)
    memory.fit(data.examples("train"), lr=0.02, epochs=2)
    asked = [example.query for example in data.examples("test")]
    told = [(answer.procedure, answer.response.strip()) for answer in memory.recall(asked)]

    def alike(made: TokMem) -> int:
        return sum(one == other for one, other in zip(answers(made, asked), told, strict=True))

    assert alike(for_engines(memory)) > 0.8 * len(asked)
    assert alike(memory) < 0.7 * len(asked)


def answers(memory: TokMem, queries: Sequence[str]) -> list[tuple[str, str]]:
    """What a plain model generates: the procedure of its first token, and the text of all others."""
    vocabulary = plan_vocabulary(memory)
    names = {token: name for name, token in vocabulary.ids.items()}
    model, chat = plain_model(memory, vocabulary), memory.chat
    found = []
    for query in queries:
        ids = torch.tensor([chat.prompt_ids(chat.text_ids(query))])
        made = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=25, do_sample=False)
        first, *rest = made[0, ids.shape[1] :].tolist()
        ends = [token for token in rest if token not in chat.tail]
        calls = any(token in names for token in ends)
        text = "" if calls else memory.backbone.tokenizer.decode(ends)
        found.append((names.get(first, ""), text.strip()))
    return found
