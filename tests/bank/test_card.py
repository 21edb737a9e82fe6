"""The model card of a bank: each field, and what is true of this bank alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import yaml

from tests.tiny import DIM, tiny_bank
from tokmem.bank.bank import Bank
from tokmem.bank.card import card, rows_checksum, scores_note
from tokmem.bank.facts import Origin
from tokmem.bank.policy import ClosedForm
from tokmem.bank.statistics import Statistics
from tokmem.records import Procedure, counted

ORIGIN = Origin("mini", "f1", "c1", {"prompt": "query", "license": "Apache-2.0"}, {}, "abc")
SCORES = scores_note({"routing_accuracy": 87.5, "rouge_l": 61.25, "exact_match": 50.0}, 8, "e1")


@pytest.fixture
def bank() -> Bank:
    return tiny_bank(False, "auto")


def written(bank: Bank, **training: Any) -> str:
    return card(bank, replace(ORIGIN, training={**ORIGIN.training, **training}))


def front(text: str) -> dict[str, Any]:
    return yaml.safe_load(text.split("---\n")[1])


def test_the_front_matter_names_backbone_and_licence(bank: Bank) -> None:
    assert front(written(bank)) == {
        "library_name": "tokmem",
        "license": "apache-2.0",
        "base_model": "mini",
        "base_model_relation": "adapter",
        "tags": ["tokmem", "procedural-memory"],
    }


def test_the_text_names_the_facts_and_how_to_load_the_bank(bank: Bank) -> None:
    text = written(bank)
    for part in (
        "- backbone: `mini`, fingerprint `f1`, from the GGUF file with SHA-256 `abc`",
        "- licence of the backbone: Apache-2.0",
        "- prompts hold: query",
        "- training data: not recorded",
        'TokMem.from_pretrained("FOLDER OR ID")',
        f"# {len(bank)} procedures as memory tokens",
    ):
        assert part in text
    for name in bank.names:
        assert f"| `{name}` | {bank.slots.ids(name)[0]} |" in text


def test_signs_of_markdown_and_yaml_in_names_break_neither_table_nor_front_matter() -> None:
    bank = Bank(DIM, tiny_bank(True, "auto").slots.space)
    bank.add([Procedure("a|b"), Procedure("c`d")], torch.zeros(2, 1, DIM))
    text = card(bank, replace(ORIGIN, backbone="my: model #2", training={"license": "a: b"}))
    assert "| `a\\|b` | 90 |  |" in text
    assert "| `` c`d `` | 91 |  |" in text
    assert (front(text)["base_model"], front(text)["license"]) == ("my: model #2", "a: b")


def test_an_unknown_licence_is_not_guessed(bank: Bank) -> None:
    text = card(bank, Origin("someone/model", "f1"))
    assert "license" not in front(text)
    assert "- licence of the backbone: that of `someone/model`; read it" in text
    assert "- prompts hold: not recorded" in text


def test_one_procedure_is_no_procedures() -> None:
    assert [counted(number) for number in (0, 1, 2)] == ["0 procedures", "1 procedure", "2 procedures"]
    bank = tiny_bank(True, "auto")
    bank.remove(bank.names[1:])
    assert "# 1 procedure as memory tokens" in written(bank)
    assert "- 1 row of dimension" in written(bank)


def test_scores_and_the_checksum_of_their_examples_are_shown(bank: Bank) -> None:
    text = written(bank, scores={**SCORES, "rows": rows_checksum(bank)})
    for part in (
        "Examples: 8, SHA-256 `e1`.\n",
        "| routing: the right procedure was chosen | 87.5% |",
        "| ROUGE-L | 61.2% |",
        "| exact match | 50.0% |",
        "Routing was measured on the examples above only.",
    ):
        assert part in text
    assert "Not measured" not in text


def test_scores_of_other_rows_are_said_to_be_old(bank: Bank) -> None:
    scores = {**SCORES, "rows": rows_checksum(bank)}
    bank.rename(bank.names[0], "renamed")
    assert "of an earlier state" not in written(bank, scores=scores)
    bank.remove(bank.names[:1])
    assert "The bank has changed since: these are scores of an earlier state." in written(bank, scores=scores)


@pytest.mark.parametrize("scores", [{}, {"routing_accuracy": "high"}, 5, {"examples": 3}])
def test_without_scores_it_says_so(bank: Bank, scores: object) -> None:
    text = written(bank, scores=scores)
    assert "Not measured. `memory.evaluate(examples)` before saving" in text
    assert "Routing was not measured on this bank." in text


def test_all_data_of_a_merged_bank_are_named_once(bank: Bank) -> None:
    parts = [{"provenance": {"data_checksum": "d1"}, "trained_on": ["e1", "e1"]}, {"trained_on": ["e2"]}]
    assert "- training data: SHA-256 `d1`, `e1`, `e2`\n" in written(bank, merged=parts)
    both = replace(ORIGIN, training=parts[0] | ORIGIN.training)
    assert both.merged(both).training["license"] == "Apache-2.0"
    assert "SHA-256 `d1`, `e1`\n" in written(bank, merged=["a note", *parts[:1]])
    noted = replace(ORIGIN, training={"merged": ["a note"]})
    assert noted.merged(noted).training["merged"] == []


def test_limits_are_those_of_the_kind_of_bank(bank: Bank) -> None:
    text = written(bank)
    assert "It works with this backbone alone." in text
    assert "Who types the text of a memory token there calls its procedure." in text
    assert "an ordinary token must beat every memory token" in text
    assert "from which something about queries may be learned" not in text
    bank.keep_states(bank.names[0], torch.randn(2, DIM))
    assert "from which something about queries may be learned" in written(bank)
    bank.statistics = Statistics(bank.dim, ClosedForm(), {})
    assert "the fit of the nearest procedure decides" in written(bank)


def test_a_bank_beside_an_adapter_says_how_to_load_both(bank: Bank) -> None:
    text = written(bank, adapter="../adapter")
    assert "TokMemLora.load(" in text
    assert "from_pretrained" not in text


def test_scores_note_keeps_what_a_card_shows() -> None:
    assert scores_note({"per_procedure": {}, "routing_accuracy": None}, 3, "e") == {}
    assert scores_note({"rouge_l": 1.0, "confusion": []}, 3, "e") == {
        "rouge_l": 1.0,
        "examples": 3,
        "sha256": "e",
    }
