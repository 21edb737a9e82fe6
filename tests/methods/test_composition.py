"""Composition tokens: one row trains on pairs, no query calls for it, and nothing else changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.data.tiny_chat import LLAMA, tiny_tokenizer
from tests.methods.test_closed import NAMES, QUERIES, learn, memory
from tests.tiny import tiny_backbone
from tokmem.errors import BankError, DataError, TokMemError
from tokmem.methods.composition import LOGIT, Compositions, composed, out_of_reach
from tokmem.methods.tokmem import TokMem
from tokmem.model.backbone import Backbone
from tokmem.train.settings import FitSettings

PAIRS: Compositions = {
    ("capital", "date"): [("France", "Paris today"), ("Italy", "Rome today")],
    ("date", "sum"): [("Today", "5 and 6"), ("a country", "7")],
}


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return tiny_backbone(tiny_tokenizer(LLAMA))


def made(backbone: Backbone, **options: Any) -> TokMem:
    return learn(memory(backbone, prompt="query", **options), *NAMES)


def test_the_sequence_is_query_tokens_composition_token_response(backbone: Backbone) -> None:
    own = made(backbone)
    own.add("both")
    (first, *_) = composed("both", PAIRS, own.bank.names)
    encoded, ids = own.encoder.encode(first), own.bank.memory
    behind = [*ids["capital"], *ids["date"], *ids["both"], *own.chat.text_ids("Paris today"), *own.chat.tail]
    assert list(encoded.ids[encoded.prefix :]) == behind


@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize("addresses", ["closed", "trained"])
def test_one_row_trains_and_all_else_keeps_its_bits(backbone: Backbone, addresses: str, width: int) -> None:
    own = made(backbone, addresses=addresses, width=width)
    before = {name: own.bank.rows(name) for name in NAMES}
    kept = own.bank.statistics.tensors() if own.bank.statistics else {}
    routes = [answer.route for answer in own.recall([*QUERIES])]
    report = own.compose("both", PAIRS, epochs=30, lr=0.1)
    assert report.first_loss is not None
    assert report.loss < report.first_loss
    for name, rows in before.items():
        assert all(torch.equal(row, its) for row, its in zip(own.bank.rows(name), rows, strict=True))
    found = own.bank.statistics.tensors() if own.bank.statistics else {}
    assert all(torch.equal(found[name], tensor) for name, tensor in kept.items())
    for answer, route in zip(own.recall([*QUERIES]), routes, strict=True):
        assert answer.route is not None
        assert route is not None
        assert answer.route.procedure == route.procedure
        assert {c.procedure: c.probability for c in answer.route.choices}.get("both", 0.0) == 0.0


@pytest.mark.parametrize("frozen_prefix", [True, False])
def test_the_row_is_that_of_the_plain_path(backbone: Backbone, frozen_prefix: bool) -> None:
    """Both paths take the same steps; float32 sums of other shapes differ in their last bits."""
    own, plain = made(backbone), made(backbone)
    settings: dict[str, Any] = {"epochs": 3, "lr": 0.05, "batch_size": 2}
    own.compose("both", PAIRS, **settings, frozen_prefix=frozen_prefix)
    plain.compose("both", PAIRS, **settings, frozen_prefix=False, packed_rows=False)
    torch.testing.assert_close(own.bank.rows("both")[1], plain.bank.rows("both")[1], rtol=1e-4, atol=1e-5)


def test_its_logit_is_far_below_others(backbone: Backbone) -> None:
    states = torch.randn(20, 8) + 5
    logits = states @ out_of_reach(states)
    assert float(logits.mean()) == pytest.approx(LOGIT, rel=1e-4)
    assert float(logits.max()) < LOGIT / 3


def test_a_saved_bank_composes_as_before(backbone: Backbone, tmp_path: Path) -> None:
    own = made(backbone)
    own.compose("both", PAIRS, epochs=2)
    forced = [[("capital", "date", "both")]]
    (answer,) = own.recall(["France"], forced)
    assert [turn.procedure for turn in answer.turns] == ["capital", "date", "both"]
    own.save(tmp_path / "bank")
    loaded = TokMem.load(tmp_path / "bank", backbone, recall=own.recall_settings)
    assert loaded.recall(["France"], forced)[0].transcript == answer.transcript
    learn(loaded, "later")
    assert loaded.recall(["France"], forced)[0].transcript == answer.transcript, (
        "later procedures change nothing"
    )


@pytest.mark.parametrize(
    ("pairs", "told"),
    [
        ({}, "no pairs of procedures"),
        ({("capital", "date"): []}, "no pairs of procedures"),
        ({("capital",): [("France", "x")]}, "two or more different procedures"),
        ({("capital", "capital"): [("France", "x")]}, "two or more different procedures"),
        ({"capital": [("France", "x")]}, "two or more different procedures"),
        ({("capital", "dat"): [("France", "x")]}, "'dat' as a procedure to compose.*date"),
        ({("capital", "date"): ["France"]}, r"a pair \(query, response\)"),
    ],
)
def test_what_cannot_be_composed_is_refused(backbone: Backbone, pairs: Any, told: str) -> None:
    own = made(backbone)
    with pytest.raises(DataError, match=told):
        own.compose("both", pairs)
    assert "both" not in own


def test_a_coupled_bank_and_a_taken_name_are_refused(backbone: Backbone) -> None:
    coupled = TokMem(backbone, coupled=True, prompt="query", settings=FitSettings(lr=0.05, epochs=1))
    coupled.add(["capital", "date", "sum"])
    with pytest.raises(BankError, match="coupled"):
        coupled.compose("both", PAIRS)
    assert "both" not in coupled
    own = made(backbone)
    with pytest.raises(TokMemError, match="capital"):
        own.compose("capital", PAIRS)
    assert len(own) == len(NAMES)


def test_a_training_that_fails_leaves_the_bank_as_it_was(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = made(backbone)
    free = own.bank.slots.ids("capital")

    def fails(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tokmem.methods.composition.fit", fails)
    with pytest.raises(KeyboardInterrupt):
        own.compose("both", PAIRS)
    monkeypatch.undo()
    assert own.bank.names == NAMES
    assert own.bank.slots.ids("capital") == free
    own.compose("both", PAIRS, epochs=1)
