from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

from tests.tiny import DIM, tiny_bank
from tokmem.bank.facts import Origin, digest
from tokmem.bank.policy import ClosedForm
from tokmem.bank.statistics import Statistics
from tokmem.bank.store import load_bank, save_bank
from tokmem.errors import BankError
from tokmem.records import Composition, Procedure
from tokmem.strict_json import MAX_SCHEMA_DEPTH

ODD: list[Any] = [None, True, 5, -1, 1.5, 1 << 40, "x", "", [], [None], [[5]], {}, {"a": 1}, [1, 1], "old0"]


def deep(levels: int) -> dict[str, Any]:
    """A value of so many levels."""
    value: dict[str, Any] = {}
    for _ in range(levels - 1):
        value = {"properties": value}
    return value


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    bank = tiny_bank(False, "auto", width=2)
    bank.add([Procedure("tool", "A tool.", {"type": "object"})], torch.randn(1, 1, DIM), torch.randn(1, DIM))
    bank.keep_states("tool", torch.randn(2, DIM))
    bank.remove(["old1"])
    bank.statistics = Statistics(DIM, ClosedForm(), {"backbone": "f1"})
    bank.statistics.add("tool", torch.randn(3, DIM), torch.randn(3))
    folder = tmp_path_factory.mktemp("saved") / "bank"
    save_bank(bank, folder, Origin("mini", "f1", "c1", {"lr": 0.1}, {"head_dim": 4}))
    return folder


def write(saved: Path, folder: Path, facts: Any) -> Path:
    """A copy of the bank with other facts, under a digest that fits."""
    folder.mkdir()
    for path in saved.glob("*.safetensors"):
        (folder / path.name).write_bytes(path.read_bytes())
    if isinstance(facts, dict):
        facts = facts | {"digest": digest(facts)}
    (folder / "bank.json").write_text(json.dumps(facts))
    return folder


def spots(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in nested lists and dicts: the container and the key."""
    for key in value if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from spots(value[key])


def harmed(facts: dict[str, Any], rng: Random) -> dict[str, Any]:
    """The facts with one or two places changed, dropped, doubled or added."""
    facts = copy.deepcopy(facts)
    for _ in range(rng.choice([1, 1, 2])):
        place, key = rng.choice(list(spots(facts)))
        how = rng.randrange(4)
        if how == 0 and isinstance(place, dict):
            del place[key]
        elif how == 1 and isinstance(place, dict):
            place[rng.choice(["more", "name", "ids"])] = rng.choice(ODD)
        elif how == 2 and isinstance(place, list):
            place.append(copy.deepcopy(place[key]))
        else:
            place[key] = copy.deepcopy(rng.choice(ODD))
    return facts


@pytest.mark.parametrize("part", range(5))
def test_odd_contents_under_a_right_digest_raise_bank_errors_only(
    saved: Path, tmp_path: Path, part: int
) -> None:
    facts = json.loads((saved / "bank.json").read_text())
    del facts["digest"]
    rng, errors = Random(part), list[BankError]()
    for number in range(50):
        folder = write(saved, tmp_path / str(number), harmed(facts, rng))
        try:
            load_bank(folder, fingerprint="f1", chat="c1", configuration={"head_dim": 4})
        except BankError as error:
            errors.append(error)
    assert len(errors) > 30
    assert all(error.wanted for error in errors)


def test_a_composition_token_of_an_earlier_version_is_read(saved: Path, tmp_path: Path) -> None:
    """It says that it joins, and not yet what."""
    facts = json.loads((saved / "bank.json").read_text())
    del facts["digest"]
    facts["procedures"][0]["joins"] = True
    bank, _ = load_bank(write(saved, tmp_path / "bank", facts))
    first, second = (bank.procedures[name] for name in bank.names[:2])
    assert first == Composition(first.name, first.description, first.parameters)
    assert not second.joins


@pytest.mark.parametrize("facts", [5, "x", None, True, [], {}, {"digest": 1}, {"digest": {}, "format": [2]}])
def test_what_is_no_bank_is_refused(saved: Path, tmp_path: Path, facts: Any) -> None:
    with pytest.raises(BankError, match=r"bank\.json (holds|is no bank|has format)"):
        load_bank(write(saved, tmp_path / "bank", facts))


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 5_000, "", '{"a": 1, "a": 2}', '{"a": NaN}', "\0"])
def test_what_is_no_strict_json_is_refused(saved: Path, tmp_path: Path, text: str) -> None:
    folder = write(saved, tmp_path / "bank", {})
    (folder / "bank.json").write_text(text, "utf-8")
    with pytest.raises(BankError, match="truncated or no JSON"):
        load_bank(folder)


def entry(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def harm(facts: dict[str, Any]) -> None:
        *path, last = (int(part) if part.isdigit() else part for part in key.split("."))
        place: Any = facts
        for part in path:
            place = place[part]
        place[last] = value

    return harm


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (entry("dim", True), "dim is true; wanted: a whole number of at least 1"),
        (entry("dim", DIM + 1), "holds .*as bank.json says"),
        (entry("coupled", 1), "coupled is 1; wanted: true or false"),
        (entry("policy", "first"), 'policy is "first"; wanted: one of auto, spare, append'),
        (entry("rows", 1 << 40), "rows is 1099511627776"),
        (entry("spare", [1 << 20]), r"spare is 1048576; wanted: rows of the backbone"),
        (entry("retired", [7, 7]), "retired is .7, 7.; wanted: a list of different token ids"),
        (entry("procedures", {}), "procedures is {}; wanted: a list"),
        (entry("procedures.0", None), r"procedures\[0\] is null; wanted: an object"),
        (entry("procedures.0.ids", []), r"procedures\[0\]\.ids is \[\]"),
        (entry("procedures.0.states", 3), "holds .*as bank.json says"),
        (entry("procedures.0.colour", "red"), r'procedures\[0\]\.colour is "red"; wanted: no such entry'),
        (entry("closed_form.names", ["nobody"]), "wanted: procedures of the bank"),
        (entry("closed_form.names", []), "statistics.safetensors holds .*as bank.json says"),
        (entry("closed_form.policy.ridge", None), "closed_form.policy is"),
        (entry("closed_form.policy.shared", "all"), "wanted: a policy .*shared 'all'"),
        (lambda facts: facts.pop("statistics"), "closed_form or statistics alone"),
        (entry("procedures.0.name", "\u200b"), "wanted: a name of visible text"),
        (entry("origin.backbone", 3), "origin.backbone is 3; wanted: a text"),
        (lambda facts: facts["origin"].pop("fingerprint"), "without origin.fingerprint"),
        (
            lambda facts: facts["retired"].append(facts["procedures"][0]["ids"][0]),
            "ids that no procedure has",
        ),
    ],
)
def test_an_odd_entry_is_named(
    saved: Path, tmp_path: Path, harm: Callable[[dict[str, Any]], Any], message: str
) -> None:
    facts = json.loads((saved / "bank.json").read_text())
    del facts["digest"]
    harm(facts)
    with pytest.raises(BankError, match=message):
        load_bank(write(saved, tmp_path / "bank", facts))


def test_entries_that_older_versions_left_out_may_be_missing(saved: Path, tmp_path: Path) -> None:
    facts = json.loads((saved / "bank.json").read_text())
    for key in ("chat", "training", "configuration", "source_sha256"):
        del facts["origin"][key]
    del facts["digest"]
    _, origin = load_bank(write(saved, tmp_path / "bank", facts))
    assert origin == Origin("mini", "f1")


@pytest.mark.parametrize(
    ("procedure", "message"),
    [
        (Procedure("deep", "", deep(300)), "cannot be saved .*nest too deep"),
        (Procedure("deep", "", deep(100_000)), "cannot be saved"),
        (Procedure("nan", "", {"default": float("nan")}), "cannot be saved"),
        (Procedure("set", "", {"enum": {1}}), "cannot be saved .*set"),
        (Procedure("half", "\ud800"), "cannot be saved .*surrogates"),
        (Procedure("list", "", [1]), "parameters .1. of 'list'"),  # type: ignore[arg-type]
        (Procedure("\u200b"), "wanted: a name of visible text"),
        (Procedure("\u200d"), "wanted: a name of visible text"),
    ],
)
def test_what_could_not_be_saved_is_refused_before_it_is_trained(procedure: Procedure, message: str) -> None:
    bank = tiny_bank(True, "auto")
    with pytest.raises(BankError, match=message):
        bank.add([Procedure("good"), procedure], torch.randn(2, 1, DIM))
    assert "good" not in bank


def test_the_deepest_schema_is_saved_and_read(tmp_path: Path) -> None:
    bank = tiny_bank(True, "auto")
    bank.add([Procedure("deep 👩‍🚀", "", deep(MAX_SCHEMA_DEPTH))], torch.randn(1, 1, DIM))
    save_bank(bank, tmp_path / "bank", Origin("mini", "f1"))
    assert load_bank(tmp_path / "bank")[0].procedures == bank.procedures
