"""Composition tokens: one row trains on pairs, no query calls for it, and nothing else changes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.data.tiny_chat import LLAMA, tiny_tokenizer
from tests.methods.test_closed import NAMES, QUERIES, examples, learn, memory
from tests.tiny import tiny_backbone
from tokmem.bank.store import load_bank
from tokmem.errors import BankError, DataError, RecallError, TokMemError
from tokmem.export.engines import for_engines
from tokmem.methods.composition import Compositions, composed, read_pairs
from tokmem.methods.corrections import Corrections
from tokmem.methods.tokmem import TokMem
from tokmem.model.backbone import Backbone
from tokmem.recall.settings import RecallSettings
from tokmem.records import Composition, Demonstration, Example, Procedure, Turn
from tokmem.report.banks import nearest_table, procedure_facts
from tokmem.train.settings import FitSettings

PAIRS: Compositions = {
    ("capital", "date"): [("France", "Paris today"), ("Italy", "Rome today")],
    ("date", "sum"): [("Today", "5 and 6"), ("a country", "7")],
}
CHAIN = Example("France", (Turn("capital", "Paris"), Turn("date", "today")))


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return tiny_backbone(tiny_tokenizer(LLAMA))


def made(backbone: Backbone, **options: Any) -> TokMem:
    return learn(memory(backbone, **{"prompt": "query"} | options), *NAMES)


def test_the_sequence_is_query_tokens_composition_token_response(backbone: Backbone) -> None:
    own = made(backbone, call_style="hermes")
    own.bank.procedures["date"] = Procedure("date", parameters={"type": "object"})
    own._add([Composition("both")])
    (first, *_) = composed("both", PAIRS, own.bank)
    encoded, ids = own.encoder.encode(first), own.bank.memory
    behind = [*ids["capital"], *ids["date"], *ids["both"], *own.chat.text_ids("Paris today"), *own.chat.tail]
    assert list(encoded.ids[encoded.prefix :]) == behind, "as recall forces them, without the ends of calls"


def test_an_example_keeps_its_instruction(backbone: Backbone) -> None:
    rows = [{"query": "France", "response": "PARIS", "instruction": "Loudly."}]
    own = made(backbone)
    (found,) = composed("both", {("capital", "date"): rows}, own.bank)
    assert found.instruction == "Loudly."
    assert [(turn.procedure, turn.response) for turn in found.turns] == [
        *(("capital", ""), ("date", "")),
        ("both", "PARIS"),
    ]


def test_an_example_keeps_the_solved_queries_that_its_prompt_shows(backbone: Backbone) -> None:
    own = made(backbone)
    shown = Example("France", (Turn("date", "x"),), demonstrations=(Demonstration("Italy", "Rome"),))
    (found,) = composed("both", {("capital", "date"): [shown]}, own.bank)
    assert found.demonstrations == shown.demonstrations


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
        # By name: one more row changes the last bits of the products, and so the order of equal procedures.
        now = {c.procedure: c.probability for c in answer.route.choices}
        wanted = {c.procedure: pytest.approx(c.probability, rel=1e-5) for c in route.choices}
        assert now == wanted


def test_no_position_of_a_chain_chooses_it(backbone: Backbone) -> None:
    """Its head is masked, whatever the row and the state."""
    own = made(backbone, recall=RecallSettings(mode="chain", max_new_tokens=24))
    before = [answer.transcript for answer in own.recall([*QUERIES])]
    own.compose("both", PAIRS, epochs=1)
    own.bank.put_addresses(["both"], torch.full((1, own.bank.dim), 1e6))
    assert [answer.transcript for answer in own.recall([*QUERIES])] == before
    ids = torch.tensor([own.encoder.prompt(Example("France"))])
    logits = own.lm.logits(ids, torch.ones_like(ids))
    assert bool(logits[..., own.bank.memory["both"][0]].eq(-torch.inf).all())


@pytest.mark.parametrize("frozen_prefix", [True, False])
def test_the_row_is_that_of_the_plain_path(backbone: Backbone, frozen_prefix: bool) -> None:
    """Both paths take the same steps; float32 sums of other shapes differ in their last bits."""
    own, plain = made(backbone), made(backbone)
    settings: dict[str, Any] = {"epochs": 3, "lr": 0.05, "batch_size": 2}
    own.compose("both", PAIRS, **settings, frozen_prefix=frozen_prefix)
    plain.compose("both", PAIRS, **settings, frozen_prefix=False, packed_rows=False)
    torch.testing.assert_close(own.bank.rows("both")[1], plain.bank.rows("both")[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("renorm", ["stage", "step"])
def test_renorm_does_not_see_it(backbone: Backbone, renorm: str) -> None:
    found = []
    for composes in (False, True):
        own = made(backbone, addresses="trained", renorm=renorm)
        if composes:
            own.compose("both", PAIRS, epochs=1)
        learn(own, "later")
        found.append(own.bank.rows("later")[0].norm())
    torch.testing.assert_close(found[0], found[1])


def test_a_saved_bank_composes_as_before(backbone: Backbone, tmp_path: Path) -> None:
    own = made(backbone)
    own.compose("both", PAIRS, epochs=2)
    forced = [[("capital", "date", "both")]]
    (answer,) = own.recall(["France"], forced)
    assert [turn.procedure for turn in answer.turns] == ["capital", "date", "both"]
    own.save(tmp_path / "bank")
    entries = json.loads((tmp_path / "bank/bank.json").read_text("utf-8"))["procedures"]
    assert [entry.get("pairs") for entry in entries] == [*[None] * len(NAMES), [[*pair] for pair in PAIRS]]
    loaded = TokMem.load(tmp_path / "bank", backbone, recall=own.recall_settings)
    assert loaded.recall(["France"], forced)[0].transcript == answer.transcript
    learn(loaded, "later")
    assert loaded.recall(["France"], forced)[0].transcript == answer.transcript, (
        "later procedures change nothing"
    )
    part = loaded.bank.slice(["both", "date", "capital"])
    assert part.routed == ("date", "capital")
    other = made(backbone)
    other.bank.merge(load_bank(tmp_path / "bank")[0], ["both"])
    other.rename("both", "together")
    assert other.bank.routed == NAMES
    alone = TokMem(backbone, bank=loaded.bank.slice(["both"]), prompt="query", recall=own.recall_settings)
    assert alone.recall("France").procedure is None, "a bank of it alone routes nothing"
    turns = alone.recall("France", [[("both", "both")]]).turns
    assert [turn.procedure for turn in turns] == ["both", "both"]
    with pytest.raises(RecallError, match="composition tokens alone"):
        alone.route("France")


def test_it_is_shown_without_an_address(backbone: Backbone) -> None:
    own = made(backbone)
    own.compose("both", PAIRS, epochs=1)
    shown = dict(procedure_facts(own.bank, "both"))
    assert shown["joins"] == "capital + date, date + sum"
    assert "address norm" not in shown
    assert not nearest_table(own.bank, "both", 5).rows
    assert nearest_table(own.bank, "date", 5).rows


def test_it_is_not_left_without_the_procedures_that_it_joins(backbone: Backbone, tmp_path: Path) -> None:
    own = made(backbone)
    own.compose("both", PAIRS, epochs=1)
    own.rename("date", "day")
    own.save(tmp_path / "bank")
    own = TokMem.load(tmp_path / "bank", backbone)
    assert own["both"] == Composition(
        "both", "Joins the procedures before it.", pairs=(("capital", "day"), ("day", "sum"))
    )
    own.remove("capital")  # the other pair is left
    assert own["both"].pairs == (("day", "sum"),)
    own.rename("day", "capital")  # a name of the pair that went
    own.save(tmp_path / "again")
    assert load_bank(tmp_path / "again")[0].procedures["both"].pairs == (("capital", "sum"),)
    old = replace(
        own["both"], pairs=(("capital", "day"), ("capital", "sum"))
    )  # of a bank of earlier versions
    assert old.renamed("capital", "day").pairs == (("day", "sum"),)
    before = own.bank.names
    with pytest.raises(BankError, match=r"'both' without procedures .* remove 'both' too"):
        own.remove("sum")
    assert own.bank.names == before
    own.remove("sum", "both")
    assert own.bank.names == tuple(name for name in before if name not in ("sum", "both"))


def test_a_bank_of_it_and_others_loses_any_of_these(backbone: Backbone) -> None:
    own = made(backbone)
    own.compose("both", {("capital", "date"): PAIRS["capital", "date"]}, epochs=1)
    part = own.bank.slice(["both", "sum"])
    part.remove(["sum"])
    assert part.names == ("both",)


def test_exports_leave_it_out(backbone: Backbone, caplog: pytest.LogCaptureFixture) -> None:
    own = made(backbone)
    plain = for_engines(own)
    own.compose("both", PAIRS, epochs=1)
    left = for_engines(own)
    assert left.bank.names == NAMES
    assert "composition tokens out: both" in caplog.text
    assert "both" in own
    for name in NAMES:
        assert all(
            torch.equal(a, b) for a, b in zip(left.bank.rows(name), plain.bank.rows(name), strict=True)
        )
    assert left.lm.bank is left.bank


def test_it_learns_and_is_corrected_in_no_other_way(backbone: Backbone, tmp_path: Path) -> None:
    own = made(backbone)
    own.compose("both", PAIRS, epochs=1)
    row = own.bank.rows("both")[1]
    with pytest.raises(DataError, match="'both', a composition token"):
        own.fit(examples("both"))
    own.save(tmp_path / "bank")
    with pytest.raises(BankError, match="correction to 'both', a composition token"):
        Corrections(own, tmp_path / "bank").add(Example("France"), "both")
    assert torch.equal(own.bank.rows("both")[1], row)


def test_of_a_file_with_splits_the_training_rows_count(tmp_path: Path) -> None:
    turns = [{"procedure": "capital", "response": ""}, {"procedure": "date", "response": "Paris today"}]
    rows = [{"query": split, "turns": turns, "split": split} for split in ("train", "validation", "test")]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [[one.query for one in own] for own in read_pairs(path).values()] == [["train"]]


@pytest.mark.parametrize(
    ("pairs", "told"),
    [
        ({}, "no examples of any pair"),
        ({("capital", "date"): []}, "no examples of any pair"),
        ({("capital",): [("France", "x")]}, "two or more different ones"),
        ({("capital", "capital"): [("France", "x")]}, "two or more different ones"),
        ({"capital": [("France", "x")]}, "two or more different ones"),
        ({("capital", "dat"): [("France", "x")]}, "'dat' as a procedure to compose.*date"),
        ({("capital", 1): [("France", "x")]}, "1 as a procedure to compose"),
        (
            {("capital", "new"): [("France", "x")]},
            "'new' as a procedure to compose, which has learned nothing",
        ),
        ({("capital", "date"): ["France"]}, r"a pair \(query, response\)"),
        ({("capital", "date"): 3}, "int 3 as examples"),
        ({("capital", "date"): [Example("France")]}, "0 responses of capital, date"),
        ({("capital", "date"): [CHAIN]}, "2 responses of capital, date to 'France'"),
        ([("France", "x")], "list .* as pairs"),
        (None, "NoneType None as pairs"),
        ("no/such.jsonl", "no/such.jsonl"),
    ],
)
def test_what_cannot_be_composed_is_refused(backbone: Backbone, pairs: Any, told: str) -> None:
    own = made(backbone)
    own.add("new")
    with pytest.raises(DataError, match=told):
        own.compose("both", pairs)
    assert "both" not in own


def test_what_composes_is_not_composed_again(backbone: Backbone) -> None:
    own = made(backbone)
    own.compose("both", PAIRS, epochs=1)
    with pytest.raises(DataError, match="'both' as a procedure to compose, which has learned nothing or is"):
        own.compose("more", {("capital", "both"): [("France", "x")]})


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
