from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.data.tiny_chat import LLAMA, QWEN, tiny_tokenizer
from tests.tiny import tiny_backbone
from tokmem.bank.bank import Bank
from tokmem.errors import BankError, ConfigError, DataError, RecallError, TrainingError
from tokmem.methods.base import Base
from tokmem.methods.tokmem import TokMem
from tokmem.model.backbone import Backbone
from tokmem.recall.settings import RecallSettings
from tokmem.records import Example, Procedure, Turn
from tokmem.train.settings import FitSettings

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}

CITIES = {"France": "Paris", "a country": "the capital", "Today": "26 Jul"}
SETTINGS = FitSettings(lr=0.05, epochs=2)
RECALL = RecallSettings(max_new_tokens=8)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return tiny_backbone(tiny_tokenizer(LLAMA))


def memory(backbone: Backbone, **options: Any) -> TokMem:
    """One of the published kinds; `test_closed.py` tests computed addresses."""
    published = {"coupled": True, "addresses": "trained", "settings": SETTINGS, "recall": RECALL}
    return TokMem(backbone, **published | options)


def procedures(*names: str) -> list[Procedure]:
    return [Procedure(name, f"does {name}") for name in names]


def examples(*names: str) -> list[Example]:
    return [Example(q, (Turn(n, f"{n} {r}"),), f"do {n}") for n in names for q, r in CITIES.items()]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"coupled": False, "width": 2, "policy": "append", "start": "description", "prompt": "query"},
        {"start": "orthogonal", "policy": "spare"},
    ],
    ids=["default", "decoupled-wide", "spare"],
)
def test_add_fit_recall_save_load(backbone: Backbone, tmp_path: Path, options: dict[str, Any]) -> None:
    made = memory(backbone, **options)
    made.add(procedures("capital", "date"))
    before = made.bank.steering.rows()
    report = made.fit(examples("capital", "date"), examples("capital")[:1])
    assert report.steps == 4
    assert report.best_loss is not None
    assert not torch.equal(made.bank.steering.rows(), before)
    made.bank.freeze()
    answers = made.recall(examples("capital", "date"))
    made.save(tmp_path / "bank", {"note": "x"})
    loaded = TokMem.load(tmp_path / "bank", backbone, recall=RECALL)
    assert loaded.prompt == made.prompt
    assert loaded.recall(examples("capital", "date")) == answers
    assert {a.turns[0].procedure for a in answers} <= {"capital", "date"}
    assert [a.query for a in answers] == [*CITIES, *CITIES]


@pytest.mark.parametrize(
    ("kind", "asked", "says"),
    [
        ({"coupled": True}, {"coupled": False}, "coupled=False and a bank that is coupled"),
        ({"addresses": "trained"}, {"coupled": True}, "coupled=True and a bank that is decoupled"),
        ({"addresses": "closed"}, {"addresses": "trained"}, "'trained' and a bank that computes them"),
    ],
)
def test_no_option_makes_another_kind_of_a_saved_bank(
    backbone: Backbone, tmp_path: Path, kind: dict[str, Any], asked: dict[str, Any], says: str
) -> None:
    TokMem(backbone, **kind).save(tmp_path / "bank")
    TokMem.load(tmp_path / "bank", backbone, **kind)
    with pytest.raises(ConfigError, match=says):
        TokMem.load(tmp_path / "bank", backbone, **asked)


def test_fitting_learns_routes_and_how_responses_begin(backbone: Backbone) -> None:
    """A random backbone of two layers cannot be brought to say more."""
    settings = replace(SETTINGS, lr=0.1, epochs=40)
    made = memory(backbone, coupled=False, start="sampled", settings=settings)
    made.add(procedures("capital", "date"))
    train = [Example("which city", (Turn("capital", "Paris"),)), Example("Today", (Turn("date", "26 Jul"),))]
    made.fit(train)
    found = [answer.turns[0] for answer in made.answer(train)]
    assert [(turn.procedure, turn.response[:1]) for turn in found] == [("capital", "P"), ("date", "2")]


def test_a_later_stage_leaves_earlier_rows_and_responses(backbone: Backbone) -> None:
    made = memory(backbone, coupled=False)
    made.learn(procedures("capital", "date"), examples("capital", "date"), [])
    rows = {name: made.bank.rows(name) for name in made.bank.names}
    ids = made.bank.memory
    forced = made.answer(examples("capital", "date"), forced=True)
    learned = made.learn(procedures("assistant"), examples("assistant"), examples("assistant")[:1])
    assert (learned.steps, learned.validation_loss is None) == (2, False)
    for name, kept in rows.items():
        assert all(torch.equal(a, b) for a, b in zip(made.bank.rows(name), kept, strict=True))
        assert made.bank.slots.ids(name) == ids[name]
    again = made.answer(examples("capital", "date"), forced=True)
    assert [a.turns for a in again] == [a.turns for a in forced]
    assert made.bank.fresh_names == ("assistant",)
    assert made.trainable_parameters == 2 * made.bank.dim


def test_starting_rows_depend_on_seed_role_and_stage(backbone: Backbone) -> None:
    first, same, other = (memory(backbone, start="sampled", coupled=False, seed=seed) for seed in (0, 0, 1))
    for made in (first, same, other):
        made.add(procedures("a", "b"))
        made.add(procedures("c"))
    assert torch.equal(first.bank.steering.rows(), same.bank.steering.rows())
    assert not torch.equal(first.bank.steering.rows(), other.bank.steering.rows())
    assert not torch.equal(first.bank.steering.rows()[0], first.bank.steering.rows()[2])


def test_a_tool_starts_from_its_name_its_arguments_and_what_it_does(backbone: Backbone) -> None:
    """`start: description`: the mean of the rows of the line's tokens, as long as a typical row."""
    tool = Procedure("play", "Plays a song.", {"properties": {"title": {"type": "string"}}})
    memory = TokMem(backbone, start="description")
    memory.add([tool, Procedure("copy", "Copy the text.")])
    weight = backbone.model.get_input_embeddings().weight.detach()
    for text, row in zip(
        ("play title Plays a song.", "Copy the text."), memory.bank.steering.rows(), strict=True
    ):
        mean = weight[memory.chat.text_ids(text)].mean(0)
        torch.testing.assert_close(row / row.norm(), mean / mean.norm())


def test_typed_control_tokens_are_no_memory_tokens(backbone: Backbone) -> None:
    made = memory(backbone)
    made.add(procedures("a"))
    token = backbone.tokenizer.convert_ids_to_tokens(made.bank.slots.ids("a")[0])
    assert token == "<|reserved_special_token_0|>"
    prompt = made.encoder.prompt(Example(f"say {token}"))
    assert not made.bank.find(torch.tensor(prompt))[1].any()


def test_one_text_is_one_query(backbone: Backbone) -> None:
    made = memory(backbone)
    made.add(procedures("a", "b"))
    answer = made.recall("which city", [["b"]], max_new_tokens=3)
    assert (answer.query, [t.procedure for t in answer.turns]) == ("which city", ["b"])
    assert answer.prompt_tokens == len(made.encoder.prompt(Example("which city")))
    assert made.recall_settings == RECALL


def test_queries_that_are_cut_are_counted_once_and_the_tokenizer_is_silent(
    backbone: Backbone, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    complaints: list[str] = []
    monkeypatch.setattr(
        "transformers.tokenization_utils_base.logger.warning", lambda text, *rest: complaints.append(text)
    )
    monkeypatch.setattr(backbone.tokenizer, "model_max_length", 40)
    made = memory(backbone, max_length=64)
    made.add(procedures("a", "b"))
    base = Base(backbone, max_length=64, recall=RECALL)
    for answer in (made.recall, base.answer):
        caplog.clear()
        answer([Example("which city " * 40), Example("word " * 90), Example("which city")])
        answer([Example("which city")])
        assert [r.getMessage() for r in caplog.records] == ["2 queries were cut to fit 64 tokens"]
    assert complaints == []


def test_errors_name_what_is_wrong(backbone: Backbone, tmp_path: Path) -> None:
    made = memory(backbone)
    with pytest.raises(RecallError, match="an empty bank"):
        made.recall("which city")
    with pytest.raises(DataError, match="no examples"):
        made.fit([])
    made.add([])
    made.add(procedures("capital"))
    made.bank.freeze()
    with pytest.raises(TrainingError, match="0 trainable procedures"):
        made.fit(examples("capital"))
    with pytest.raises(BankError, match="'capital' twice"):
        made.add(procedures("capital"))
    with pytest.raises(DataError, match="'capitals'"):
        made.fit(examples("capitals"))
    with pytest.raises(BankError, match="'nope'"):
        made.recall("which city", [["nope"]])
    made.save(tmp_path / "bank")
    with pytest.raises(BankError, match="backbone"):
        TokMem.load(tmp_path / "bank", tiny_backbone(tiny_tokenizer(LLAMA), seed=1))
    with pytest.raises(BankError, match="chat format"):
        TokMem.load(tmp_path / "bank", replace(backbone, tokenizer=tiny_tokenizer(QWEN, eos="<|im_end|>")))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"prompt": "zz"}, "prompt 'zz' .*'instruction.query'"),
        ({"max_length": -1}, "max_length -1; wanted: at least 1"),
        ({"max_length": 1.5}, "max_length 1.5 .*int"),
        ({"width": -1}, "width -1; wanted: at least 1"),
        ({"renorm": "always"}, "renorm 'always'"),
        ({"negatives": -1}, "negatives -1"),
        ({"start": "zero"}, "start 'zero'"),
    ],
)
def test_wrong_options_are_refused_before_the_backbone_loads(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        TokMem("no/such/backbone", **options)


def test_an_empty_bank_that_is_given_is_kept(backbone: Backbone) -> None:
    """An empty bank is false to Python, and remembers the ids that it has retired."""
    bank = Bank(backbone.dim, backbone.id_space(), coupled=False)
    assert memory(backbone, bank=bank).bank is bank


def test_the_base_method_answers_without_a_bank(backbone: Backbone) -> None:
    base = Base(backbone, recall=RECALL)
    assert base.learn(procedures("a"), examples("a"), []).steps == 0
    answers = base.answer(examples("a"), forced=True)
    assert [(a.turns, a.route) for a in answers] == [((), None)] * 3
    assert all(a.response == a.text for a in answers)


@pytest.mark.parametrize(
    "tool",
    [
        {"name": "w", "description": "d", "input_schema": SCHEMA},
        {"name": "w", "description": "d", "parameters": None, "inputSchema": SCHEMA},
        {"type": "function", "name": "w", "description": "d", "parameters": SCHEMA},
        {"name": "w", "title": "W", "description": "d"},
    ],
)
def test_a_tool_is_one_procedure_alone_and_in_a_list(backbone: Backbone, tool: dict[str, Any]) -> None:
    schema = None if "title" in tool else SCHEMA
    for given in (tool, [tool]):
        memory = TokMem(backbone)
        memory.add(given)
        assert memory.procedures == {"w": Procedure("w", "d", schema)}


def test_a_long_name_in_the_place_of_examples_is_told(backbone: Backbone) -> None:
    memory = TokMem(backbone)
    memory.add("n" * 300)
    with pytest.raises(DataError, match="as examples"):
        memory.fit("n" * 300)


def test_a_lesson_is_of_the_procedure_that_learned_it(backbone: Backbone) -> None:
    memory = TokMem(backbone)
    memory.add(["a", "b", "c"])
    memory.history = {"seed": 3, "lessons": {"a": {}, "b": {}, "c": {}}}
    memory.remove("a")
    memory.rename("b", "a")
    assert memory.history == {"seed": 3, "lessons": {"c": {}}}


def test_learning_a_known_procedure_goes_on_from_its_rows(backbone: Backbone) -> None:
    made = memory(backbone)
    made.learn(procedures("capital", "date"), examples("capital", "date"), [])
    ids, rows = made.bank.slots.ids("capital"), {n: made.bank.rows(n)[1].clone() for n in made.bank.names}
    made.learn(procedures("capital"), examples("capital"), [])
    assert torch.equal(made.bank.rows("date")[1], rows["date"])
    assert not torch.equal(made.bank.rows("capital")[1], rows["capital"])
    assert made.bank.slots.ids("capital") == ids


def test_a_backbone_with_another_configuration_is_refused(backbone: Backbone, tmp_path: Path) -> None:
    """The weights are the same, their states are not."""
    made = memory(backbone)
    made.add(procedures("capital"))
    made.save(tmp_path / "bank")
    model = copy.copy(backbone.model)
    model.config = copy.deepcopy(model.config)
    model.config.rms_norm_eps = 0.01
    other = replace(backbone, model=model)
    assert other.fingerprint == backbone.fingerprint
    with pytest.raises(BankError, match="rms_norm_eps"):
        TokMem.load(tmp_path / "bank", other)
    made.backbone = other
    with pytest.raises(BankError, match="rms_norm_eps"):
        made.restore(tmp_path / "bank")


@pytest.mark.parametrize("coupled", [True, False])
def test_restore_refuses_a_bank_of_the_other_coupling(
    backbone: Backbone, tmp_path: Path, coupled: bool
) -> None:
    saved, other = memory(backbone, coupled=coupled), memory(backbone, coupled=not coupled)
    saved.add(procedures("capital"))
    saved.save(tmp_path / "bank")
    bank, lm = other.bank, other.lm
    with pytest.raises(BankError, match=r"a bank that is .*coupled; wanted: a .*coupled one"):
        other.restore(tmp_path / "bank")
    assert (other.bank is bank, other.lm is lm) == (True, True), "as before"
    saved.restore(tmp_path / "bank")
    assert saved.bank.names == ("capital",)


@pytest.mark.parametrize("options", [{}, {"coupled": False}, {"coupled": False, "addresses": "closed"}])
def test_a_second_fit_leaves_the_procedures_that_it_has_no_examples_of(
    backbone: Backbone, options: dict[str, Any]
) -> None:
    made = memory(backbone, **options)
    made.fit({"one": list(CITIES.items())})
    steering, address = made.bank.rows("one")[1], made.bank.rows("one")[0]
    made.fit({"two": [(q, r.upper()) for q, r in CITIES.items()]})
    assert torch.equal(made.bank.rows("one")[1], steering)
    if made.bank.statistics is None:
        assert torch.equal(made.bank.rows("one")[0], address)
    assert {*made.bank.fresh_names} == {"one", "two"}
    made.fit({"one": list(CITIES.items())})
    assert not torch.equal(made.bank.rows("one")[1], steering), "it may be trained on"


def test_a_second_fit_trains_against_kept_states_and_rescales(backbone: Backbone) -> None:
    made = memory(backbone, negatives=2, renorm="stage")
    made.fit({"one": list(CITIES.items())})
    with torch.no_grad():
        made.bank.steering.fresh.mul_(3)
    made.fit({"two": [(q, r.upper()) for q, r in CITIES.items()]})
    norms = made.address_norms()
    assert norms["two"] == pytest.approx(norms["one"], rel=1e-4)
    assert {*made.bank.states} == {"one", "two"}
