"""What a memory does besides learning. `tests/test_guesses.py` only tests that the calls exist."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch

from tests.data.tiny_chat import LLAMA, tiny_tokenizer
from tests.methods.test_tokmem import memory
from tests.tiny import tiny_backbone
from tokmem.bank.facts import FILES
from tokmem.bank.store import load_bank
from tokmem.data.lessons.lesson import Lesson
from tokmem.errors import BackboneError, BankError, ConfigError, DataError
from tokmem.methods.hub import bank_folder
from tokmem.methods.tokmem import TokMem
from tokmem.model.backbone import Backbone
from tokmem.records import Answer, Example, Procedure, Turn


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return tiny_backbone(tiny_tokenizer(LLAMA))


class StandIn:
    """What `HfApi` is asked to do, written into a folder."""

    hub: Path

    def __init__(self, token: str | None = None) -> None:
        self.token = token

    def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> None:
        assert exist_ok
        (self.hub / repo_id).mkdir(parents=True, exist_ok=True)

    def upload_folder(self, *, repo_id: str, folder_path: Path, commit_message: str) -> str:
        for file in folder_path.iterdir():
            (self.hub / repo_id / file.name).write_bytes(file.read_bytes())
        return f"https://hub/{repo_id}/commit/1"


def test_a_bank_goes_to_the_hub_and_comes_back(
    backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(repo_id: str, *, allow_patterns: list[str]) -> str:
        assert set(allow_patterns) == set(FILES)
        return str(tmp_path / repo_id)

    StandIn.hub = tmp_path
    monkeypatch.setattr(huggingface_hub, "HfApi", StandIn)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.chdir(tmp_path / "..")
    made = memory(backbone)
    made.add({"capital": "Name the capital.", "upper": "Write in capitals."})
    scores = made.evaluate([("peru", "Lima"), ("chile", "Santiago")], procedure="capital", max_new_tokens=2)
    assert made.push_to_hub("me/bank") == "https://hub/me/bank/commit/1"
    loaded = TokMem.from_pretrained("me/bank", backbone)
    assert loaded.procedures == made.procedures
    card = (tmp_path / "me/bank/README.md").read_text()
    assert "Name the capital." in card
    assert f"| routing: the right procedure was chosen | {scores['routing_accuracy']:.1f}% |" in card
    assert "Examples: 2, SHA-256 `" in card
    assert "It works with this backbone alone." in card


def test_a_commit_of_one_procedure_says_so(
    backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def upload(self: StandIn, *, repo_id: str, folder_path: Path, commit_message: str) -> str:
        told.append(commit_message)
        return "here"

    StandIn.hub = tmp_path
    monkeypatch.setattr(huggingface_hub, "HfApi", StandIn)
    monkeypatch.setattr(StandIn, "upload_folder", upload)
    made = memory(backbone)
    made.add("capital")
    made.push_to_hub("me/bank")
    assert told == ["1 procedure"]


def test_a_saved_bank_remembers_what_it_learned_from_and_its_last_scores(tmp_path: Path) -> None:
    made = TokMem("mini", device="cpu", prompt="query")
    pairs = [("peru", "PERU"), ("chile", "CHILE"), ("cuba", "CUBA"), ("iran", "IRAN")]
    made.fit(pairs, procedure="upper", epochs=1, lr=0.01)
    scores = made.evaluate(pairs, max_new_tokens=4)
    made.save_pretrained(tmp_path / "bank")
    training = load_bank(tmp_path / "bank")[1].training
    card = (tmp_path / "bank" / "README.md").read_text()
    assert training["license"] == "Apache-2.0"
    assert f"- training data: SHA-256 `{training['trained_on'][0]}`" in card
    assert training["scores"]["sha256"] == training["trained_on"][0], "the same examples"
    assert (training["scores"]["rouge_l"], training["scores"]["examples"]) == (scores["rouge_l"], 4)
    assert "earlier state" not in card
    again = TokMem.load(tmp_path / "bank", made.backbone)
    again.save(tmp_path / "again")
    assert (tmp_path / "again" / "README.md").read_text() == card
    other = TokMem(made.backbone, prompt="query")
    other.history = {"trained_on": ["0" * 64]}
    other.restore(tmp_path / "again")
    other.save(tmp_path / "again")
    assert (tmp_path / "again" / "README.md").read_text() == card
    made.fit([("mali", "Mali")], procedure="title", epochs=1, lr=0.01)
    made.save(tmp_path / "bank")
    card = (tmp_path / "bank" / "README.md").read_text()
    assert "these are scores of an earlier state" in card
    assert len(load_bank(tmp_path / "bank")[1].training["trained_on"]) == 2


def test_a_bank_that_is_nowhere_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(BankError, match="me/nothing is no folder, and the hub does not give it"):
        bank_folder("me/nothing")


@pytest.mark.parametrize("name", ["bank", "a/b/c"])
def test_what_cannot_be_a_hub_id_is_a_folder(name: str) -> None:
    assert bank_folder(name) == Path(name)
    assert bank_folder(Path("me/bank")) == Path("me/bank")


def test_removing_leaves_the_other_rows_as_they_are(backbone: Backbone) -> None:
    made = memory(backbone)
    made.add(["a", "b", "c"])
    before = made.bank.rows("c")[0].clone()
    made.remove("a", "b")
    assert made.bank.rows("c")[0].equal(before)
    assert list(made) == ["c"]


def test_a_misspelt_name_in_an_example_is_refused_and_not_learned(backbone: Backbone) -> None:
    made = memory(backbone)
    made.add("capital")
    with pytest.raises(DataError, match="'capitals'"):
        made.fit([Example("which city", (Turn("capitals", "Lima"),))])
    assert list(made) == ["capital"]


def test_a_tool_with_a_broken_schema_is_refused_before_it_is_added(backbone: Backbone) -> None:
    made = memory(backbone)
    with pytest.raises(DataError, match="objekt"):
        made.add(Procedure("tool", "", {"type": "objekt"}))
    assert len(made) == 0
    assert bool(made)


def test_banks_keep_the_style_of_their_calls(backbone: Backbone, tmp_path: Path) -> None:
    made = memory(backbone, call_style="hermes")
    made.add([Procedure("tool", "", {"type": "object"}), Procedure("text")])
    assert dict(made.encoder.ends) == {"tool": "}\n</tool_call>"}
    made.save(tmp_path / "bank")
    assert TokMem.load(tmp_path / "bank", backbone).call_style == "hermes"
    with pytest.raises(ConfigError, match="call_style plain and a bank trained with hermes"):
        TokMem.load(tmp_path / "bank", backbone, call_style="plain")
    memory(backbone).save(tmp_path / "plain")
    origins = [load_bank(tmp_path / name)[1] for name in ("bank", "plain")]
    assert origins[0].merged(origins[0]).training["call_style"] == "hermes"
    with pytest.raises(BankError, match="call styles hermes and plain"):
        origins[0].merged(origins[1])
    with pytest.raises(ConfigError, match="constrained recall"):
        made.recall("which city", mode="chain", constrained=True)
    with pytest.raises(ConfigError, match="one of call_style plain"):
        made.teach(Lesson(Procedure("shout"), "Write the text in capitals."))


def test_a_bank_in_the_tokenizers_place_is_named(backbone: Backbone) -> None:
    with pytest.raises(BackboneError, match="bank="):
        TokMem(backbone, memory(backbone).bank)  # type: ignore[arg-type]


def test_forced_procedures_and_chains_are_streamed_as_text(backbone: Backbone) -> None:
    made = memory(backbone)
    made.add(["a", "b"])
    whole = made.recall("which city", mode="chain", max_new_tokens=6)
    assert "".join(made.stream("which city", mode="chain", max_new_tokens=6)) == whole.transcript


def test_a_stream_keeps_what_it_said_when_a_second_turn_starts(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = memory(backbone)
    made.add(["a", "b"])
    turns = Turn("a", "x"), Turn("a", "xy"), Turn("b", "z")
    grown = [Answer("q", turns[:1]), Answer("q", turns[1:2]), Answer("q", turns[1:])]
    monkeypatch.setattr("tokmem.methods.memory.stream_answer", lambda *given: iter(grown))
    assert list(made.stream("q", mode="chain")) == ["a: x", "y", "\nb: z", ""]
    grown.pop()
    assert list(made.stream("q")) == ["x", "y", ""]


@pytest.mark.parametrize("called", [False, True])
def test_a_stream_of_a_chain_joins_to_the_transcript_after_text_of_its_own(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch, called: bool
) -> None:
    made = memory(backbone)
    made.add(["a", "b"])
    grown = [Answer("q", text="I will"), Answer("q", text="I will call")]
    if called:
        grown += [Answer("q", (Turn("a", response),), text="I will call") for response in ("", "x", "xy")]
    monkeypatch.setattr("tokmem.methods.memory.stream_answer", lambda *given: iter(grown))
    wanted = ["a: ", "x", "y", ""] if called else ["I will call"]
    assert list(made.stream("q", mode="chain")) == wanted
    assert "".join(wanted) == grown[-1].transcript


def test_chains_are_scored_by_their_calls(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    made = TokMem(backbone, prompt="query")
    made.add({"light": "Turns a light on.", "door": "Opens a door."})
    light, door = Turn("light", '{"room": "hall"}'), Turn("door", '{"number": 2}')
    examples = [Example("both", (light, door)), Example("one", (door,))]
    asked: list[str] = []

    def recall(examples: list[Example], *, mode: str) -> list[Answer]:
        asked.append(mode)
        return [Answer("both", (light, Turn("door", '{"number": 3}'))), Answer("one", (door,))]

    monkeypatch.setattr(made, "recall", recall)
    scores = made.evaluate(examples)
    assert asked == ["chain"]
    assert (scores["tool_f1"], scores["call_f1"], scores["call_exact"]) == (100.0, 75.0, 50.0)


def test_guesses_that_cannot_be_meant_are_refused(backbone: Backbone) -> None:
    made = memory(backbone)
    made.add({"name": "upper", "description": "Write in capitals."})
    assert {**made.procedures} == {"upper": Procedure("upper", "Write in capitals.")}
    for wrong in (lambda: made.route(["a"]), lambda: made.recall({"query": "x"})):  # type: ignore[arg-type]
        with pytest.raises(DataError, match="as a query"):
            wrong()
    for forced in ("upper", ["upper"]):
        with pytest.raises(DataError, match="a list of procedures for each query"):
            made.recall("tea", forced)
    with pytest.raises(DataError, match="int 5 as a new name"):
        made.rename("upper", 5)  # type: ignore[arg-type]
    for examples in ([], [Example("hello")]):
        with pytest.raises(DataError, match="no examples, or one without turns"):
            made.evaluate(examples)
    two = Example("x", (Turn("upper", "A"), Turn("upper", "B")))
    with pytest.raises(DataError, match="arguments in JSON"):
        made.evaluate([two])
    for value in ("bc", {"x": "y"}):
        with pytest.raises(DataError, match="as the examples of 'upper'"):
            made.fit({"upper": value})  # type: ignore[dict-item]


def test_banks_of_two_prompt_modes_are_not_merged(backbone: Backbone, tmp_path: Path) -> None:
    origins = []
    for prompt in ("query", "instruction+query"):
        made = TokMem(backbone, prompt=prompt)
        made.add(prompt)
        made.save(tmp_path / prompt)
        origins.append(load_bank(tmp_path / prompt)[1])
    with pytest.raises(BankError, match="prompt modes query and instruction"):
        origins[0].merged(origins[1])


def test_a_named_backbone_is_loaded_as_asked(backbone: Backbone, tmp_path: Path) -> None:
    backbone.model.save_pretrained(tmp_path / "model")
    backbone.tokenizer.save_pretrained(tmp_path / "model")
    made = TokMem(str(tmp_path / "model"), device="cpu")
    made.add("upper")
    made.save(tmp_path / "bank", {"seed": 3})
    loaded = TokMem.load(tmp_path / "bank", str(tmp_path / "model"), device="cpu", dtype="bfloat16")
    assert loaded.backbone.model.dtype == torch.bfloat16
    loaded.save(tmp_path / "again")
    assert load_bank(tmp_path / "again")[1].training["seed"] == 3


def test_changes_of_fit_reach_the_objective(backbone: Backbone, tmp_path: Path) -> None:
    made = TokMem(backbone, addresses="trained", renorm="stage", negatives=2)
    made.add("upper")
    cache = tmp_path / "prefixes"
    pairs = [(f"write {n}", f"WRITE {n}") for n in range(6)]
    made.fit(pairs, procedure="upper", epochs=1, lr=0.5, prefix_disk_mb=5, prefix_cache_dir=str(cache))
    assert cache.is_dir()
    assert {name: len(states) for name, states in made.bank.states.items()} == {"upper": 2}
