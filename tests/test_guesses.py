"""Guesses at the Python API. Each works, or its error says what to write instead."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from copy import copy, deepcopy
from functools import partial
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

import tokmem
from tokmem import Answer, Example, FitSettings, Procedure, TokMem, TokMemError, Turn, load_backbone
from tokmem.export.write import Kind
from tokmem.methods.guesses import INSTEAD
from tokmem.model.backbone import Backbone

PAIRS = [("14/03/2021", "March 2021"), ("02/11/1987", "November 1987")]
ONE_STEP = FitSettings(lr=0.01, epochs=1)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone("mini", device="cpu")


@pytest.fixture
def memory(backbone: Backbone) -> TokMem:
    made = TokMem(backbone, prompt="query", settings=ONE_STEP)
    made.add("month", "Write the month and the year of a date.")
    return made


def errors(guess: Callable[[], object], *words: str) -> None:
    """The guess fails with an error that holds the words."""
    with pytest.raises(TokMemError) as caught:
        guess()
    for word in words:
        assert word in str(caught.value), str(caught.value)


def test_01_a_backbone_by_name_and_device() -> None:
    assert TokMem("mini", device="cpu").backbone.device.type == "cpu"


def test_02_a_dtype() -> None:
    assert str(TokMem("mini", device="cpu", dtype="bfloat16").backbone.model.dtype) == "torch.bfloat16"


def test_03_a_model_and_a_tokenizer(backbone: Backbone) -> None:
    memory = TokMem(backbone.model, backbone.tokenizer)
    assert memory.backbone.fingerprint == backbone.fingerprint


def test_04_a_model_without_its_tokenizer(backbone: Backbone) -> None:
    errors(lambda: TokMem(backbone.model), "tokenizer", "TokMem(model, tokenizer)")


def test_05_a_name_and_a_description(memory: TokMem) -> None:
    assert memory.procedures["month"].description.startswith("Write the month")


def test_06_a_procedure_alone(memory: TokMem) -> None:
    memory.add(Procedure("upper"))
    assert "upper" in memory


def test_07_names_alone(memory: TokMem) -> None:
    memory.add(["upper", "lower"])
    assert list(memory) == ["month", "upper", "lower"]


def test_08_a_mapping_of_descriptions(memory: TokMem) -> None:
    memory.add({"upper": "Write in capitals.", "lower": "Write in small letters."})
    assert len(memory) == 3


def test_09_a_tool_with_its_schema(memory: TokMem) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    memory.add("weather", "Tells the weather.", parameters=schema)
    assert memory["weather"].parameters == schema


def test_10_an_openai_tool(memory: TokMem) -> None:
    function = {"name": "weather", "description": "Tells the weather.", "parameters": {"type": "object"}}
    memory.add([{"type": "function", "function": function}])
    assert memory["weather"].description == "Tells the weather."


def test_11_pairs_of_one_procedure(memory: TokMem) -> None:
    assert memory.fit(PAIRS, procedure="month").steps >= 1


def test_12_pairs_when_there_is_one_procedure_only(memory: TokMem) -> None:
    assert memory.fit(PAIRS).steps >= 1


def test_13_pairs_when_there_are_several(memory: TokMem) -> None:
    memory.add("upper")
    errors(lambda: memory.fit(PAIRS), "procedure=")


def test_14_a_mapping_of_pairs(memory: TokMem) -> None:
    memory.add("upper")
    assert memory.fit({"month": PAIRS, "upper": [("peru", "PERU")]}).examples == 3


def test_15_a_new_name_in_fit_is_added(memory: TokMem) -> None:
    memory.fit([("peru", "PERU")], procedure="upper")
    assert "upper" in memory


def test_16_a_corpus_file(memory: TokMem, tmp_path: Path) -> None:
    lines = [{"query": q, "turns": [{"procedure": "month", "response": r}]} for q, r in PAIRS]
    (tmp_path / "my.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert memory.fit(tmp_path / "my.jsonl").examples == 2


def test_17_rate_and_epochs_as_arguments(memory: TokMem) -> None:
    assert memory.fit(PAIRS, lr=0.02, epochs=2).examples == 4


def test_18_predict_gives_text(memory: TokMem) -> None:
    assert isinstance(memory.predict("30/06/2004", max_new_tokens=4), str)
    assert len(memory.predict(["30/06/2004", "01/01/2001"], max_new_tokens=4)) == 2


def test_19_one_query_gives_one_answer(memory: TokMem) -> None:
    answer = memory.recall("30/06/2004", top_k=3, max_new_tokens=4)
    assert isinstance(answer, Answer)
    assert (answer.procedure, len(answer.choices)) == ("month", 1)
    assert isinstance(memory.recall(["30/06/2004"], max_new_tokens=4), list)


def test_20_an_answer_tells_of_its_route(memory: TokMem) -> None:
    answer = memory.recall("30/06/2004", max_new_tokens=4)
    assert answer.probability == 1.0
    assert 0 <= answer.memory_mass <= 1
    assert answer.rejected in (True, False)
    assert str(answer) == answer.response


def test_21_calls_of_tools() -> None:
    answer = Answer("q", (Turn("weather", '{"city": "Oslo"}'), Turn("month", "March")))
    assert [(call.name, call.arguments) for call in answer.calls] == [("weather", {"city": "Oslo"})]


def test_22_calling_the_memory(memory: TokMem) -> None:
    assert memory("30/06/2004", max_new_tokens=4) == memory.recall("30/06/2004", max_new_tokens=4)


def test_23_streaming(memory: TokMem) -> None:
    pieces = memory.stream("30/06/2004", max_new_tokens=8)
    assert isinstance(pieces, Iterator)
    assert "".join(pieces) == memory.recall("30/06/2004", max_new_tokens=8).response


def test_24_routing_alone(memory: TokMem) -> None:
    memory.add("upper")
    route = memory.route("30/06/2004")
    assert route.procedure in ("month", "upper")
    assert sum(choice.probability for choice in route.choices) == pytest.approx(1)


def test_25_removing_and_renaming(memory: TokMem) -> None:
    memory.add("upper")
    memory.rename("upper", "capitals")
    memory.remove("month")
    assert list(memory) == ["capitals"]
    errors(lambda: memory.remove("month"), "month", "capitals")


def test_26_from_and_save_pretrained(memory: TokMem, backbone: Backbone, tmp_path: Path) -> None:
    memory.save_pretrained(tmp_path / "bank")
    assert list(TokMem.from_pretrained(tmp_path / "bank", backbone)) == ["month"]


def test_27_a_bank_names_its_own_backbone(memory: TokMem, tmp_path: Path) -> None:
    memory.save(tmp_path / "bank")
    assert TokMem.load(tmp_path / "bank").backbone.id == "mini"


def test_28_what_it_is_at_a_glance(memory: TokMem) -> None:
    assert repr(memory) == "TokMem(backbone='mini', decoupled, 1 procedure: month)"
    assert tokmem.__version__


def test_29_scores(memory: TokMem) -> None:
    scores = memory.evaluate(PAIRS, procedure="month", max_new_tokens=4)
    assert scores["routing_accuracy"] == 100.0
    assert 0 <= scores["exact_match"] <= 100


@pytest.mark.parametrize(
    ("guess", "words"),
    [
        (lambda m: m.add(5), ("int", "a name")),
        (lambda m: m.add("month"), ("month", "twice")),
        (lambda m: m.fit([("q", 5)]), ("int", "text")),
        (lambda m: m.fit(["q"]), ("str", "(query, response)")),
        (lambda m: m.fit([]), ("no examples",)),
        (lambda m: m.fit("no such file.jsonl"), ("no such file.jsonl",)),
        (lambda m: m.recall(5), ("int", "text")),
        (lambda m: m.recall("q", tokens=5), ("tokens", "max_new_tokens")),
        (lambda m: m.fit(PAIRS, epoch=5), ("epoch", "epochs")),
        (lambda m: m.recall([""]), ("empty query",)),
        (lambda m: Turn("x", 5), ("int", "text")),
        (lambda m: Example(5), ("int", "text")),
        (lambda m: Procedure(None), ("NoneType", "text")),
        (lambda m: m["nope"], ("nope", "month")),
    ],
)
def test_30_the_rest_says_what_was_wanted(
    memory: TokMem, guess: Callable[[Any], object], words: tuple[str, ...]
) -> None:
    errors(lambda: guess(memory), *words)


def test_31_a_dry_run_shows_tokens_and_cost(memory: TokMem) -> None:
    before = memory.bank.rows("month")[1].clone()
    shown = memory.dry_run({"month": PAIRS, "year": PAIRS}, epochs=3, batch_size=2)
    assert (shown.examples, shown.epochs, shown.steps) == (4, 3, 6)
    learned = [text for text, flag in shown.tokens if flag]
    assert "".join(learned).startswith("March 2021")
    given = "".join(text for text, flag in shown.tokens if not flag)
    assert "14/03/2021" in given
    assert given.endswith("<|mem:month|>")
    assert "6 steps" in str(shown)
    assert "second" in str(shown)
    assert list(memory) == ["month"]
    assert memory.bank.rows("month")[1].equal(before)
    assert shown.steps == memory.fit({"month": PAIRS, "year": PAIRS}, epochs=3, batch_size=2).steps


def test_32_callbacks_are_told_of_every_step(memory: TokMem) -> None:
    steps: list[int] = []
    losses: list[float] = []

    class Heard(tokmem.Callback):
        def on_step(self, step: int, values: Any) -> None:
            steps.append(step)

        def on_validation(self, step: int, loss: float) -> None:
            losses.append(loss)

    memory.fit(PAIRS, PAIRS, epochs=3, callbacks=[Heard()])
    assert (steps, len(losses)) == ([1, 2, 3, 4, 5, 6], 1)


def test_33_an_unknown_or_missing_tracker_is_named(memory: TokMem, monkeypatch: pytest.MonkeyPatch) -> None:
    errors(lambda: memory.fit(PAIRS, report_to=("tensorbord",)), "report_to", "'tensorboard'")
    monkeypatch.setattr("tokmem.train.trackers.find_spec", lambda name: None)
    errors(lambda: memory.fit(PAIRS, report_to=("wandb",)), "pip install wandb")


@pytest.mark.parametrize(
    ("guess", "words"),
    [
        (lambda m: m.fit(PAIRS, learning_rate=0.1), ("learning_rate", "write lr")),
        (lambda m: m.fit(PAIRS, num_train_epochs=3), ("num_train_epochs", "write epochs")),
        (lambda m: m.fit(PAIRS, per_device_train_batch_size=3), ("write batch_size",)),
        (lambda m: m.fit(PAIRS, gradient_accumulation_steps=3), ("write accumulation",)),
        (lambda m: m.fit(PAIRS, eval_dataset=PAIRS), ("write fit(examples, validation)",)),
        (lambda m: m.fit(PAIRS, validation_data=PAIRS), ("write fit(examples, validation)",)),
        (lambda m: m.fit(PAIRS, random_state=1), ("write seed",)),
        (lambda m: m.fit(PAIRS, output_dir="x"), ("checkpoint=FOLDER",)),
        (lambda m: m.recall("q", do_sample=True), ("do_sample", "write temperature")),
        (lambda m: m.recall("q", max_length=5), ("write max_new_tokens",)),
        (lambda m: m.recall("q", stream=True), ("write memory.stream(query)",)),
        (lambda m: m.recall("q", procedure="month"), ('write procedures=[["NAME"]]',)),
        (lambda m: TokMem(model="mini"), ("no argument 'model'", "TokMem(model, tokenizer)")),
        (lambda m: TokMem(m.backbone, torch_dtype="auto"), ("write dtype",)),
        (lambda m: TokMem(m.backbone, lr=0.1), ("fit(..., lr=0.02)",)),
        (lambda m: TokMem(m.backbone, decoupled=True), ("no argument 'decoupled' (close: coupled)",)),
    ],
)
def test_34_names_of_other_libraries_are_told_ours(
    memory: TokMem, guess: Callable[[Any], object], words: tuple[str, ...]
) -> None:
    errors(lambda: guess(memory), *words)


def test_35_a_hint_offers_no_setting_that_is_not_there(memory: TokMem) -> None:
    with pytest.raises(TokMemError) as caught:
        memory.recall("q", learning_rate=0.1)
    assert "write lr" not in str(caught.value)


def test_36_one_tracker_as_one_text(memory: TokMem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokmem.train.trackers.find_spec", lambda name: None)
    for given in ("tensorboard", ["tensorboard"]):
        errors(lambda given=given: memory.fit(PAIRS, report_to=given), "pip install tensorboard")


def test_37_types_and_devices_of_torch() -> None:
    made = TokMem("mini", device=torch.device("cpu"), dtype=torch.bfloat16)  # type: ignore[arg-type]
    assert made.backbone.model.dtype == torch.bfloat16
    whole = load_backbone("mini", device=torch.device("cpu"))  # type: ignore[arg-type]
    assert whole.model.dtype == torch.float32
    errors(lambda: TokMem("mini", dtype=torch.int8), "torch.int8", "bfloat16")


@pytest.mark.parametrize("name", sorted(INSTEAD))
def test_38_a_guessed_attribute_says_what_to_write(memory: TokMem, name: str) -> None:
    assert not hasattr(memory, name)
    with pytest.raises(AttributeError, match="write ") as caught:
        getattr(memory, name)
    assert INSTEAD[name] in str(caught.value)
    for word in INSTEAD[name].replace("(", " ").replace(")", " ").split():
        if word.startswith("memory."):
            found: Any = memory
            for part in word.rstrip(",:").split(".")[1:]:
                found = getattr(found, part)


def test_39_other_attributes_are_refused_as_python_does(memory: TokMem) -> None:
    with pytest.raises(AttributeError, match=r"'TokMem' object has no attribute 'recal'$"):
        memory.recal  # type: ignore[attr-defined] # noqa: B018
    assert list(copy(memory)) == list(deepcopy(memory)) == ["month"]
    assert not hasattr(memory, "__deepcopy__")


def test_40_procedures_by_number_are_refused(memory: TokMem) -> None:
    errors(lambda: memory[0], "int 0", "month", "list(memory)")  # type: ignore[index]
    errors(lambda: memory.procedures[0], "int 0", "month")  # type: ignore[index]
    errors(lambda: memory.procedures["mont"], "close: month")
    assert memory.procedures.get("mont") is None


def test_41_a_procedure_is_deleted_and_not_assigned(memory: TokMem) -> None:
    memory.add(["upper", "lower", "title"])
    del memory["month"]
    memory.remove(["upper", "lower"])
    assert list(memory) == ["title"]
    errors(lambda: memory.remove(["title", "x"]), "no procedure 'x'")
    assert list(memory) == ["title"]

    def assign() -> None:
        memory["x"] = "Write x."

    errors(assign, "memory.add(name, description)")


def test_42_a_function_is_no_callback(memory: TokMem) -> None:
    for given in ([print], print, tokmem.Callback()):
        errors(lambda given=given: memory.fit(PAIRS, callbacks=given), "tokmem.Callback", "on_step")


def test_43_rows_as_mappings(memory: TokMem) -> None:
    rows = [{"query": query, "response": response} for query, response in PAIRS]
    assert memory.fit(rows, procedure="month").examples == 2
    memory.add("upper")
    own = [{"query": "peru", "response": "PERU", "procedure": "upper", "instruction": "In capitals."}]
    assert memory.evaluate(own, max_new_tokens=2).keys() >= {"rouge_l"}
    errors(lambda: memory.fit(rows), "procedure=")
    errors(lambda: memory.fit([{"prompt": "peru", "completion": "PERU"}]), '{"query": ..., "response": ...}')
    errors(lambda: memory.fit([own[0] | {"procedure": "uper"}]), "'uper'")


def test_44_an_export_and_a_plain_model(memory: TokMem, tmp_path: Path) -> None:
    folder = memory.export(tmp_path / "served")
    assert (folder / "config.json").is_file()
    assert memory.export(str(folder), to="lora", check=False) == folder
    model, tokenizer = memory.apply()
    assert tokenizer.convert_tokens_to_ids("<|tokmem:month|>") < model.get_input_embeddings().num_embeddings
    errors(lambda: memory.export(folder, to="onnx"), "'onnx'", "hf, peft, lora, gguf")
    for form in get_args(Kind):
        errors(partial(memory.export, form), f"{form!r} in the place", f'to="{form}"')
        assert not Path(form).exists()
    with pytest.raises(AttributeError, match=r"tokmem serve BANK"):
        memory.serve  # noqa: B018


@pytest.mark.parametrize("folder", [None, 5, "a\0b", b"bank"])
def test_45_what_is_no_folder(folder: Any, memory: TokMem) -> None:
    for guess in (memory.save, memory.restore, memory.export, TokMem.load, TokMem.from_pretrained):
        errors(lambda guess=guess: guess(folder), "path")


@pytest.mark.parametrize("name", [5, None, ["smollm2"]])
def test_46_what_is_no_backbone(name: Any) -> None:
    errors(lambda: TokMem(name), "as a backbone", "the name of a model")
    errors(lambda: load_backbone(name), "as a backbone")


def test_47_a_backbone_by_its_path(tmp_path: Path) -> None:
    errors(lambda: load_backbone(tmp_path / "none"), "none")


@pytest.mark.parametrize("name", ["chat", "settings", "recall", "seed"])
def test_48_objects_of_another_kind(name: str, backbone: Backbone) -> None:
    errors(lambda: TokMem(backbone, **{name: {"lr": 0.1}}), f"{name}={{'lr': 0.1}}", f"{name}=")


def test_49_a_bank_that_the_hub_does_not_take(memory: TokMem) -> None:
    for name in ("", None, "me/bank/too/long", "me/bank"):
        errors(lambda name=name: memory.push_to_hub(name), "the hub does not take the bank", "hf auth login")


def test_51_a_procedure_without_its_keyword(memory: TokMem) -> None:
    errors(lambda: memory.fit(PAIRS, "month"), "write procedure='month'")


def test_50_completion_offers_the_public_names() -> None:
    assert {"TokMem", "Example", "FitSettings", "load_backbone", "__version__"} <= {*dir(tokmem)}
    assert all(hasattr(tokmem, name) for name in dir(tokmem))
