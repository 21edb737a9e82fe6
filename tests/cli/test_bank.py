"""`tokmem bank`: changes go to a new folder with `--out`, or else to the bank itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.cli.conftest import Cli
from tokmem.bank.store import load_bank
from tokmem.cli import launched
from tokmem.train.fit import fit
from tokmem.train.settings import FitReport


def names(folder: Path) -> tuple[str, ...]:
    return load_bank(folder)[0].names


@pytest.fixture
def untouched(bank: Path) -> None:
    """The bank of the session is the same after the test."""
    before = {file.name: file.read_bytes() for file in bank.iterdir()}
    yield
    assert {file.name: file.read_bytes() for file in bank.iterdir()} == before


@pytest.mark.usefixtures("untouched")
def test_list_and_show(cli: Cli, bank: Path) -> None:
    loaded, origin = load_bank(bank)
    done = cli("bank", "list", bank)
    assert origin.fingerprint in done.stdout
    records = [json.loads(line) for line in cli("bank", "list", bank, "--json").stdout.splitlines()]
    assert [(r["procedure"], tuple(r["ids"])) for r in records] == list(loaded.memory.items())
    done = cli("bank", "show", bank, "upper")
    assert f"{float(loaded.rows('upper')[0].norm()):.4g}" in done.stdout
    cosine = torch.cosine_similarity(*loaded.addresses(), dim=0)
    assert f"{float(cosine):.3f}" in done.stdout
    assert cli("bank", "show", bank, "upper", "--neighbours", -1).exit_code == 2


@pytest.mark.usefixtures("untouched")
def test_rename_remove_slice_and_merge_keep_rows_and_ids(cli: Cli, bank: Path) -> None:
    original = load_bank(bank)[0]
    assert cli("bank", "rename", bank, "upper", "loud", "--out", "a").exit_code == 0
    assert names(Path("a")) == ("capital", "loud")
    assert cli("bank", "remove", "a", "capital", "--out", "b").exit_code == 0
    assert names(Path("b")) == ("loud",)
    assert cli("bank", "slice", bank, "capital", "--out", "c").exit_code == 0
    done = cli("bank", "merge", "c", "b", "--out", "d")
    assert done.exit_code == 0, done.output
    merged, origin = load_bank(Path("d"))
    assert merged.memory == {"capital": original.slots.ids("capital"), "loud": original.slots.ids("upper")}
    assert torch.equal(merged.rows("loud")[1], original.rows("upper")[1])
    assert origin.training["prompt"] == "query"
    assert cli("bank", "remove", "d", "loud", "--out", "d").exit_code == 0, "in place"
    assert names(Path("d")) == ("capital",)


@pytest.mark.usefixtures("untouched")
def test_add_one_or_a_file_then_recall_it(cli: Cli, bank: Path, model: Path) -> None:
    Path("new.jsonl").write_text('{"name": "third", "description": "name the capital"}\n{"name": "fourth"}\n')
    args = ("bank", "add", bank, "--backbone", model, "--out")
    assert cli(*args, "one", "--name", "third", "--description", "which city").exit_code == 0
    done = cli(*args, "two", "--procedures", "new.jsonl", "--width", 2)
    assert done.exit_code == 0, done.output
    assert names(Path("one")) == ("capital", "upper", "third")
    assert [len(ids) for ids in load_bank(Path("two"))[0].memory.values()] == [1, 1, 2, 2]
    recalled = cli("recall", "x", "--bank", "two", "--backbone", model, "--procedure", "fourth", "--json")
    assert json.loads(recalled.stdout)["recalled"] == ["fourth"]


def test_out_never_replaces_something_else(cli: Cli, bank: Path) -> None:
    Path("mine").mkdir()
    Path("mine/notes.txt").write_text("precious")
    for args in (("remove", bank, "upper"), ("merge", bank, bank), ("slice", bank, "upper")):
        assert cli("bank", *args, "--out", "mine").exit_code == 2
    assert Path("mine/notes.txt").read_text() == "precious"


@pytest.mark.usefixtures("untouched")
def test_a_tool_whose_schema_is_not_valid_is_not_added(cli: Cli, bank: Path, model: Path) -> None:
    Path("new.jsonl").write_text('{"name": "tool", "parameters": {"type": "objekt"}}\n')
    done = cli("bank", "add", bank, "--procedures", "new.jsonl", "--backbone", model, "--out", "more")
    assert done.exit_code == 2, done.output
    assert "the schema of 'tool': $.type: 'objekt'" in done.stderr
    assert not Path("more").exists()


@pytest.mark.usefixtures("untouched")
def test_a_change_in_place_waits_for_other_writers(
    cli: Cli, bank: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock is held from the reading of the bank to its saving."""
    assert cli("bank", "slice", bank, "upper", "capital", "--out", "mine").exit_code == 0
    assert cli("bank", "slice", bank, "upper", "--out", "other").exit_code == 0
    held: list[Path] = []

    @contextmanager
    def watched(folder: Path) -> Iterator[None]:
        before = names(folder)
        yield
        assert names(folder) != before
        held.append(folder)

    monkeypatch.setattr(launched, "lock_folder", watched)
    for arguments in (
        ("add", "mine", "--name", "new", "--backbone", model),
        ("rename", "mine", "new", "old"),
        ("remove", "mine", "old"),
        ("slice", "mine", "capital", "--out", "mine"),
        ("merge", "mine", "other", "--out", "mine"),
    ):
        assert cli("bank", *arguments).exit_code == 0
    assert held == [Path("mine")] * 5


@pytest.mark.usefixtures("untouched")
def test_every_command_makes_the_folders_above_a_new_bank(cli: Cli, bank: Path, model: Path) -> None:
    for number, arguments in enumerate(
        (
            ("add", bank, "--name", "new", "--backbone", model),
            ("rename", bank, "upper", "loud"),
            ("remove", bank, "upper"),
            ("slice", bank, "upper"),
        )
    ):
        done = cli("bank", *arguments, "--out", f"above/{number}/bank")
        assert done.exit_code == 0, done.output


def test_options_that_nothing_reads_are_refused(cli: Cli, bank: Path) -> None:
    Path("p.jsonl").write_text('{"name": "new"}')
    for arguments, told in (
        (("--name", "new", "--lr", 0.1), "--lr without --examples"),
        (("--procedures", "p.jsonl", "--description", "d"), "--description beside --procedures"),
    ):
        done = cli("bank", "add", bank, *arguments, "--out", "more")
        assert done.exit_code == 2
        assert told in done.stderr
    assert not Path("more").exists()


def test_new_procedures_learn_from_examples_without_an_option(
    cli: Cli, bank: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []

    def counted(*args: Any, **options: Any) -> FitReport:
        report = fit(*args, **options)
        steps.append(report.steps)
        return report

    monkeypatch.setattr("tokmem.methods.tokmem.fit", counted)
    Path("new.jsonl").write_text('{"query": "hey", "response": "HEY"}\n')  # of the procedure that is named
    add = ("bank", "add", bank, "--backbone", model, "--name", "shout", "--examples", "new.jsonl")
    assert cli(*add, "--out", "chosen").exit_code == 0
    assert cli(*add, "--epochs", 2, "--out", "given").exit_code == 0
    assert steps == [150, 2]


def test_examples_are_checked_before_the_backbone_loads(
    cli: Cli, bank: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(_: object) -> None:
        raise AssertionError("the backbone was loaded")

    monkeypatch.setattr("tokmem.cli.bank.load", load)
    Path("new.jsonl").write_text('{"query": "hey", "completion": "HEY"}\n')
    done = cli("bank", "add", bank, "--name", "shout", "--examples", "new.jsonl")
    assert done.exit_code == 2
    assert "new.jsonl, line 1: unknown field `completion`" in done.output


def test_a_bank_that_computes_addresses_learns_from_a_few_examples(
    cli: Cli, corpus: Path, model: Path
) -> None:
    args = ("-q", "train", "--corpus", corpus, "--backbone", model, "--prompt", "query", "--test_size", 0)
    done = cli(*args, "--save_path", "run")
    assert done.exit_code == 0, done.output
    bank = Path("run/banks/tokmem_dc-query-0")
    turns = [{"procedure": "shout", "response": "HEY"}]
    rows = [{"query": f"say hey loudly {i}", "turns": turns} for i in range(4)]
    Path("new.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    more = ("bank", "add", bank, "--backbone", model, "--name", "shout", "--out", "more")
    refused = cli(*more)
    assert refused.exit_code == 2
    assert "--examples" in refused.output
    misspelt = cli("bank", "add", bank, "--backbone", model, "--name", "shuot", "--examples", "new.jsonl")
    assert misspelt.exit_code == 2
    assert "examples of shout in new.jsonl" in misspelt.output
    done = cli(*more, "--examples", "new.jsonl", "--epochs", 2, "--lr", 0.01)
    assert done.exit_code == 0, done.output
    loaded, origin = load_bank(Path("more"))
    before = load_bank(bank)[1].training
    assert origin.training == before | {"trained_on": origin.training["trained_on"]}
    assert len(origin.training["trained_on"]) == 1, "the card names the examples that were added"
    assert loaded.statistics is not None
    assert loaded.statistics.counts == {"capital": 4, "upper": 4, "shout": 4}
    recalled = cli("recall", "say hey loudly 9", "--bank", "more", "--backbone", model, "--json")
    assert json.loads(recalled.stdout)["routes"][0]["procedure"] == "shout", recalled.stdout


def test_a_composition_token_learns_from_lines_of_several_turns(
    cli: Cli, corpus: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = ("-q", "train", "--corpus", corpus, "--backbone", model, "--prompt", "query", "--test_size", 0)
    assert cli(*args, "--save_path", "run").exit_code == 0
    bank = Path("run/banks/tokmem_dc-query-0")
    silent, said = {"procedure": "upper", "response": ""}, {"procedure": "capital", "response": "PARIS"}
    row = {"query": "france", "turns": [silent, said]}
    Path("both.jsonl").write_text(json.dumps(row) + "\n")
    compose = ("bank", "compose", bank, "both", "--examples", "both.jsonl", "--backbone", model)
    done = cli(*compose, "--epochs", 2, "--out", "more")
    assert done.exit_code == 0, done.output
    before, after = load_bank(bank)[0], load_bank(Path("more"))[0]
    assert after.names == (*before.names, "both")
    for name in before.names:
        assert all(map(torch.equal, before.rows(name), after.rows(name)))
    forced = ("--procedure", "upper+capital+both", "--json", "--backbone", model)
    assert json.loads(cli("recall", "more", "italy", *forced).stdout)["recalled"][-1] == "both"
    monkeypatch.setattr("tokmem.cli.bank.load", None)  # what is wrong is refused before the backbone loads
    Path("both.jsonl").write_text(json.dumps({**row, "turns": [{**silent, "response": "FRANCE"}, said]}))
    refused = cli(*compose, "--out", "no")
    assert refused.exit_code == 2
    assert "2 responses of upper, capital to 'france'" in refused.output
    assert not Path("no").exists()
