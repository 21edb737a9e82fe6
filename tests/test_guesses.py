"""Thirty guesses at the Python API. Each works, or its error says what to write instead."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tokmem
from tokmem import Answer, Example, FitSettings, Procedure, TokMem, TokMemError, Turn, load_backbone
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
    assert "seconds" in str(shown)
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
