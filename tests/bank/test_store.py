from __future__ import annotations

import errno
import json
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tiny import DIM, tiny_bank, tiny_examples, tiny_model
from tokmem.bank import facts
from tokmem.bank.bank import Bank
from tokmem.bank.store import Origin, load_bank, save_bank
from tokmem.errors import BankError, TokMemError
from tokmem.model.memory_lm import MemoryLM
from tokmem.records import Procedure

ORIGIN = Origin(
    "mini", "f1", "c1", {"lr": 5e-3, "rounds": {2: "b", 10: "a"}}, {"rms_norm_eps": 1e-6, "head_dim": 4}
)


@pytest.fixture
def bank() -> Bank:
    """Decoupled, wide and narrow procedures mixed, one retired, a schema, and text that is not ASCII."""
    made = tiny_bank(False, "auto", width=2)
    schema = {"type": "object", "properties": {"città": {"type": "string"}}}
    made.add(
        [Procedure("weather ☂", "Tells | the\nweather.", schema)], torch.randn(1, 1, DIM), torch.randn(1, DIM)
    )
    made.remove(["old1"])
    return made


@pytest.fixture
def saved(bank: Bank, tmp_path: Path) -> Path:
    save_bank(bank, tmp_path / "bank", ORIGIN)
    return tmp_path / "bank"


def test_a_round_trip_is_bit_equal_in_rows_ids_and_logits(bank: Bank, saved: Path) -> None:
    loaded, origin = load_bank(saved, fingerprint="f1", chat="c1")
    assert torch.equal(loaded.address.rows(), bank.address.rows())
    assert torch.equal(loaded.steering.rows(), bank.steering.rows())
    assert (loaded.memory, loaded.slots.retired) == (bank.memory, bank.slots.retired)
    assert loaded.procedures == bank.procedures
    assert (loaded.fresh_names, loaded.slots.policy, loaded.slots.space) == ((), "auto", bank.slots.space)
    assert (origin.backbone, origin.training["lr"]) == ("mini", 5e-3)
    model = tiny_model("llama")
    ids = torch.tensor([tiny_examples(bank, 1)[0].ids])
    bank.freeze()
    ours, theirs = (MemoryLM(model, b).logits(ids, torch.ones_like(ids)) for b in (bank, loaded))
    assert torch.equal(ours, theirs)


def test_an_empty_bank_remembers_its_retired_ids(tmp_path: Path) -> None:
    bank = tiny_bank(True, "auto")
    used = bank.slots.token_ids
    bank.remove(bank.names)
    save_bank(bank, tmp_path / "bank", ORIGIN)
    loaded, _ = load_bank(tmp_path / "bank")
    assert (len(loaded), loaded.slots.retired) == (0, tuple(sorted(used)))


def test_the_folder_holds_tensors_json_and_a_card_and_nothing_else(saved: Path) -> None:
    assert sorted(p.name for p in saved.iterdir()) == ["README.md", "bank.json", "bank.safetensors"]
    assert saved.joinpath("bank.safetensors").read_bytes()[8:9] == b"{"
    card = saved.joinpath("README.md").read_text()
    assert "| `weather ☂` |" in card
    assert "Tells \\| the weather." in card


@pytest.mark.parametrize(
    ("at_hand", "message"),
    [
        ({"fingerprint": "f2"}, "backbone f1.*wanted: backbone f2"),
        ({"fingerprint": "f1", "chat": "c2"}, "chat format c1.*wanted: chat format c2"),
        ({"configuration": {"rms_norm_eps": 1e-2}}, "rms_norm_eps 1e-06.*wanted: .* rms_norm_eps 0.01"),
    ],
)
def test_another_backbone_or_chat_format_is_refused(
    saved: Path, at_hand: dict[str, Any], message: str
) -> None:
    with pytest.raises(BankError, match=message):
        load_bank(saved, **at_hand)


def edit_json(saved: Path) -> None:
    facts = json.loads(saved.joinpath("bank.json").read_text())
    facts["procedures"][0]["name"] = "other"
    saved.joinpath("bank.json").write_text(json.dumps(facts))


def other_format(saved: Path) -> None:
    facts = json.loads(saved.joinpath("bank.json").read_text())
    saved.joinpath("bank.json").write_text(json.dumps(facts | {"format": 99}))


def flip_a_bit(saved: Path) -> None:
    data = bytearray(saved.joinpath("bank.safetensors").read_bytes())
    data[-3] ^= 1
    saved.joinpath("bank.safetensors").write_bytes(data)


def cut(name: str, saved: Path) -> None:
    data = saved.joinpath(name).read_bytes()
    saved.joinpath(name).write_bytes(data[:-10])


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (edit_json, r"bank\.json was edited"),
        (other_format, r"bank\.json has format 99"),
        (lambda saved: cut("bank.json", saved), r"bank\.json is truncated"),
        (
            lambda saved: saved.joinpath("bank.json").write_text("[]"),
            r"bank\.json holds \[\]; wanted: a JSON object",
        ),
        (lambda saved: saved.joinpath("bank.json").unlink(), r"no bank\.json in"),
        (flip_a_bit, r"bank\.safetensors is truncated or was edited"),
        (lambda saved: cut("bank.safetensors", saved), r"bank\.safetensors is truncated"),
        (lambda saved: saved.joinpath("bank.safetensors").unlink(), r"no bank\.safetensors in"),
    ],
)
def test_a_damaged_bank_is_refused_by_file(saved: Path, harm: object, message: str) -> None:
    harm(saved)
    with pytest.raises(BankError, match=message):
        load_bank(saved)


@pytest.mark.parametrize("writer", ["write_bytes", "write_text"])
def test_a_full_disk_leaves_the_old_bank(saved: Path, monkeypatch: pytest.MonkeyPatch, writer: str) -> None:
    before = {path.name: path.read_bytes() for path in saved.iterdir()}

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, writer, full)
        with pytest.raises(TokMemError, match="disk full while writing"):
            save_bank(tiny_bank(True, "auto"), saved, ORIGIN)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before
    assert [path.name for path in saved.parent.iterdir()] == ["bank"]


def deep(levels: int) -> object:
    return {"in": deep(levels - 1)} if levels else 0


@pytest.mark.parametrize(
    "notes",
    [{"loss": float("nan")}, {"file": Path("a")}, {"text": "\ud800"}, {"deep": deep(100)}],
    ids=["not a number", "a path", "half a character", "too deep"],
)
def test_notes_that_no_reader_would_take_are_refused_and_the_old_bank_stays(
    bank: Bank, saved: Path, notes: dict[str, object]
) -> None:
    before = {file.name: file.read_bytes() for file in saved.iterdir()}
    with pytest.raises(BankError, match="cannot be saved"):
        save_bank(bank, saved, Origin("mini", "f1", training=notes))
    assert {file.name: file.read_bytes() for file in saved.iterdir()} == before


def test_a_bank_that_was_merged_a_hundred_times_loads(bank: Bank, tmp_path: Path) -> None:
    origin = ORIGIN
    for number in range(100):
        origin = origin.merged(Origin("mini", "f1", training={"trained_on": [str(number)]}))
    save_bank(bank, tmp_path / "bank", origin)
    parts = load_bank(tmp_path / "bank")[1].training["merged"]
    assert parts[0] == {"lr": 5e-3, "rounds": {"2": "b", "10": "a"}}
    assert [part["trained_on"] for part in parts[1:]] == [[str(number)] for number in range(100)]


def test_what_came_after_a_merge_and_notes_of_any_kind_are_merged_too() -> None:
    first, second = (Origin("mini", "f1", training={"n": n, "license": ["mit"]}) for n in (1, 2))
    both = first.merged(second)
    later = Origin("mini", "f1", training={**both.training, "trained_on": ["3"]})
    found = later.merged(Origin("mini", "f1", training={"n": 4})).training
    parts = [{"n": 1, "license": ["mit"]}, {"n": 2, "license": ["mit"]}, {"trained_on": ["3"]}, {"n": 4}]
    assert found == {"merged": parts}
    taught = (Origin("mini", "f1", training={"lessons": {name: {"procedure": name}}}) for name in "ab")
    assert [*next(taught).merged(next(taught)).training["lessons"]] == ["a", "b"]
    assert both.training["license"] == ["mit"]


def test_a_bank_replaces_an_older_one_as_a_whole(saved: Path) -> None:
    save_bank(tiny_bank(True, "auto"), saved, ORIGIN)
    loaded, _ = load_bank(saved)
    assert loaded.coupled
    assert len(loaded) == 5


def test_query_states_come_back_with_their_procedures(bank: Bank, tmp_path: Path) -> None:
    names = bank.names[-2:]
    for n, name in enumerate(names):
        bank.keep_states(name, torch.randn(n + 1, DIM))
    save_bank(bank, tmp_path / "states", ORIGIN)
    loaded, _ = load_bank(tmp_path / "states")
    assert set(loaded.states) == set(names)
    for name in names:
        assert torch.equal(loaded.states[name], bank.states[name])


def test_a_saved_name_that_no_bank_takes_is_refused(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("tokmem.bank.slots._UNFIT", ())
        bank.rename("weather ☂", "weather\n")
        save_bank(bank, tmp_path / "bank", ORIGIN)
    with pytest.raises(BankError, match=r"named 'weather\\n'"):
        load_bank(tmp_path / "bank")


def test_settings_that_only_one_side_names_are_not_compared(saved: Path) -> None:
    """Versions of transformers name some of them differently."""
    _, origin = load_bank(saved, configuration={"rope_theta": 1e4, "head_dim": 4})
    assert origin.configuration == ORIGIN.configuration


@pytest.mark.parametrize("kind", ["another kind's folder", "no bank.json", "a bank and notes", "a hub clone"])
def test_a_save_never_replaces_what_is_no_bank(bank: Bank, tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "precious"
    if kind == "no bank.json":
        folder.mkdir()
        (folder / "README.md").write_text("mine")
    elif kind == "another kind's folder":
        folder.mkdir()
        (folder / "thesis.txt").write_text("mine")
    else:
        save_bank(bank, folder, ORIGIN)
        mine = folder / (".git/config" if kind == "a hub clone" else "notes.txt")
        mine.parent.mkdir(exist_ok=True)
        mine.write_text("mine")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(TokMemError, match="precious holds"):
        save_bank(bank, folder, ORIGIN)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("kind", ["absent", "empty", "a bank"])
def test_a_save_writes_where_nothing_or_a_bank_is(bank: Bank, tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "bank"
    if kind == "empty":
        folder.mkdir()
    elif kind == "a bank":
        save_bank(tiny_bank(True, "auto"), folder, ORIGIN)
    save_bank(bank, folder, ORIGIN)
    assert load_bank(folder)[0].names == bank.names


def test_a_save_without_a_name_keeps_the_working_folder(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TokMemError, match="working folder"):
        save_bank(bank, Path(), ORIGIN)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_bank_is_read_whole_while_another_thread_writes_it(saved: Path) -> None:
    banks = [tiny_bank(True, "auto", seed=seed) for seed in (0, 1)]
    rows = [bank.steering.rows() for bank in banks]
    save_bank(banks[0], saved, ORIGIN)

    def write() -> None:
        for number in range(30):
            save_bank(banks[number % 2], saved, ORIGIN)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        while thread.is_alive():
            loaded, _ = load_bank(saved)
            assert any(torch.equal(loaded.steering.rows(), wanted) for wanted in rows)
    finally:
        thread.join()


def test_a_file_that_vanishes_while_it_is_read_is_read_again(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, times = Path.read_bytes, []

    def vanish_once(path: Path) -> bytes:
        times.append(path)
        if len(times) == 1:
            raise FileNotFoundError(path)
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", vanish_once)
    load_bank(saved)
    assert times[0].name == "bank.json"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_what_is_no_bank_is_refused_at_once_where_no_file_can_be_created() -> None:
    with pytest.raises(BankError, match=r"no bank.json in /proc/[0-9]+;"):
        load_bank(Path("/proc/self").resolve())


@pytest.mark.parametrize("refusal", [PermissionError("read-only"), TokMemError("another process is writing")])
def test_a_damaged_bank_is_named_where_no_lock_can_be_had(
    saved: Path, monkeypatch: pytest.MonkeyPatch, refusal: Exception
) -> None:
    def refuse(folder: Path) -> None:
        raise refusal

    monkeypatch.setattr(facts, "lock_folder", refuse)
    (saved / "bank.json").write_text("{")
    with pytest.raises(BankError, match=r"bank.json is truncated or no JSON"):
        load_bank(saved)
