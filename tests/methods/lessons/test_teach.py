"""Lessons on a tiny model: what is taught, what stays as it is, what goes on, and what is refused."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.data.tiny_chat import LLAMA, tiny_tokenizer
from tests.tiny import recorded_prompts, tiny_backbone
from tokmem.data.lessons.lesson import Lesson
from tokmem.data.lessons.tools import tool_lesson
from tokmem.errors import BankError, ConfigError, DataError
from tokmem.methods.lessons import student
from tokmem.methods.lessons import teach as module
from tokmem.methods.lessons.settings import LessonSettings
from tokmem.methods.lessons.teach import identity, teach
from tokmem.methods.lessons.teacher import Teacher
from tokmem.methods.tokmem import TokMem
from tokmem.model.backbone import Backbone
from tokmem.model.fingerprint import fingerprint
from tokmem.recall.settings import RecallSettings
from tokmem.records import Example, Procedure, Turn
from tokmem.train.distil import DistilObjective
from tokmem.train.fit import fit

QUERIES = [Example(q) for q in ("France", "a country", "Today", "Italy", "a river", "Japan", "Peru", "Chad")]
SHORT = LessonSettings(max_new_tokens=6, queries=6, max_query_tokens=8, held_out=0.25)
TRAINING = {"epochs": 2, "batch_size": 3, "lr": 0.05}
UPPER = Lesson(Procedure("upper", "Capitals."), "Write the text in capital letters.")
TOOL = {"name": "weather", "description": "Tells the weather.", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}  # fmt: skip


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return tiny_backbone(tiny_tokenizer(LLAMA))


def memory(backbone: Backbone, **options: Any) -> TokMem:
    """Ids are appended: a random model would write the tokens whose rows newcomers take."""
    fixed = {"coupled": False, "addresses": "closed", "prompt": "query", "policy": "append"}
    return TokMem(backbone, recall=RecallSettings(max_new_tokens=20), **fixed | options)


def lesson(memory: TokMem, of: Lesson = UPPER, **options: Any) -> Any:
    given = {"queries": QUERIES, "training": TRAINING}
    return teach(memory, of, options.pop("settings", SHORT), **given | options)


@pytest.mark.parametrize("width", [1, 4])
@pytest.mark.parametrize("addresses", ["closed", "trained"])
def test_a_lesson_moves_its_own_rows_and_nothing_else(backbone: Backbone, addresses: str, width: int) -> None:
    made, weights = memory(backbone, addresses=addresses, width=width), fingerprint(backbone.model)
    card = lesson(made)
    assert (card.procedure, card.tokens, card.queries, card.held_out) == ("upper", width, 6, 2)
    assert card.saved_tokens == len(made.chat.text_ids("Write the text in capital letters.\n\n")) - width
    first = made.bank.rows("upper")[1]
    start = memory(backbone, addresses=addresses, width=width)
    start.add(UPPER.procedure)
    assert not torch.equal(first, start.bank.rows("upper")[1])
    asked = [Example(e.query, (Turn("upper", ""),)) for e in QUERIES]
    before = made.answer(asked, forced=True)
    lesson(made, replace(UPPER, procedure=Procedure("lower"), text="Write it in small letters."))
    assert torch.equal(made.bank.rows("upper")[1], first)
    assert [a.response for a in made.answer(asked, forced=True)] == [a.response for a in before]
    assert fingerprint(backbone.model) == weights


def test_the_divergence_falls(backbone: Backbone) -> None:
    card = lesson(memory(backbone), training={**TRAINING, "epochs": 60})
    assert card.kl < 0.8 * card.kl_no_prompt


@pytest.mark.parametrize("addresses", ["closed", "trained"])
def test_a_round_on_its_own_responses_moves_the_steering_alone(backbone: Backbone, addresses: str) -> None:
    alone, again = memory(backbone, addresses=addresses), memory(backbone, addresses=addresses)
    lesson(alone)
    lesson(again, settings=replace(SHORT, own_epochs=2))
    (address, steering), (same, moved) = alone.bank.rows("upper"), again.bank.rows("upper")
    assert torch.equal(address, same)
    assert not torch.equal(steering, moved)


def test_a_round_on_its_own_responses_has_as_many_passes_as_asked(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = []

    def spy(*given: Any, **options: Any) -> Any:
        steps.append(fit(*given, **options).steps)

    monkeypatch.setattr(student, "fit", spy)
    changes = {"min_steps": 8, "batch_size": 3, "lr": 0.05}
    lesson(memory(backbone), settings=replace(SHORT, own_epochs=2), training=changes)
    assert steps == [4], "two passes over six responses in batches of three"


def test_an_anchor_keeps_the_steering_near_its_start(backbone: Backbone) -> None:
    free, held, unmoved = (memory(backbone) for _ in range(3))
    lesson(free, training={**TRAINING, "epochs": 20})
    lesson(held, settings=replace(SHORT, anchor=100.0), training={**TRAINING, "epochs": 20})
    lesson(unmoved, training={"epochs": 1, "lr": 0.0})
    rows, near, start = (made.bank.rows("upper")[1] for made in (free, held, unmoved))
    assert (near - start).norm() < 0.7 * (rows - start).norm()


def test_a_lesson_is_measured_against_references_if_there_are_any(backbone: Backbone) -> None:
    own = lesson(memory(backbone))
    assert (own.measured_by, own.teacher) == ("teacher", pytest.approx(100))
    marked = [replace(e, references=("nothing like it",)) for e in QUERIES]
    judged = lesson(memory(backbone), queries=marked)
    assert (judged.measured_by, judged.teacher) == ("references", 0)


def test_a_card_measures_responses_in_any_language(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = Teacher.answers

    def russian(self: Teacher, examples: list[Example], *, reads: bool = True, **options: Any) -> Any:
        text = "Привет, мир" if reads else "Привет"
        return [replace(answer, text=text) for answer in answers(self, examples, reads=reads, **options)]

    monkeypatch.setattr(Teacher, "answers", russian)
    card = lesson(memory(backbone))
    assert card.teacher == pytest.approx(100)
    assert 0 < card.no_prompt < 100


def test_queries_are_made_where_none_are_given(backbone: Backbone) -> None:
    card = lesson(memory(backbone), queries=())
    again = lesson(memory(backbone), queries=())
    assert card.queries + card.held_out >= 4
    assert replace(card, seconds=0) == replace(again, seconds=0), "equal seeds make equal queries"


def test_a_tool_is_learned_from_its_schema(backbone: Backbone, tmp_path: Path) -> None:
    card = lesson(memory(backbone), tool_lesson(TOOL, "here"), queries=(), folder=tmp_path)
    assert card.measured_by == "references"
    (queries,) = tmp_path.glob("weather-*/queries.json")
    assert '{\\"city\\": ' in queries.read_text("utf-8")


@pytest.mark.parametrize(("tool", "given", "used"), [(True, 0.0, 1.0), (True, 0.5, 0.5), (False, 0.0, 0.0)])
def test_drawn_calls_are_learned_by_their_cross_entropy_too(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch, tool: bool, given: float, used: float
) -> None:
    weights = []

    class Spy(DistilObjective):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            weights.append((self.hard, self.end is None))

    monkeypatch.setattr(student, "DistilObjective", Spy)
    of, queries = (tool_lesson(TOOL, "here"), ()) if tool else (UPPER, QUERIES)
    settings = replace(SHORT, hard=given, max_new_tokens=20)
    lesson(memory(backbone), of, queries=queries, settings=settings)
    assert weights == [(used, tool)], "the end of a drawn call always counts"


@pytest.mark.parametrize("hard", [0.0, 0.5])
def test_responses_that_were_cut_teach(backbone: Backbone, hard: float) -> None:
    teacher = Teacher(backbone, memory(backbone).chat, UPPER, replace(SHORT, hard=hard, max_new_tokens=1))
    assert not any(answer.finished for answer in teacher.answers(QUERIES))
    assert len(teacher.responses(QUERIES)) == len(QUERIES)


def test_a_step_takes_few_queries(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    monkeypatch.setattr(student, "learn_taught", lambda *given: taken.append(given[3]))
    lesson(memory(backbone), training={})
    lesson(memory(backbone), training={"batch_size": 6})
    assert [(how.batch_size, how.epochs) for how in taken] == [(4, 75), (6, 150)]


def test_an_interrupted_lesson_goes_on(
    backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = lesson(memory(backbone))
    with monkeypatch.context() as patch:
        patch.setattr(module, "train_student", interrupt)
        with pytest.raises(KeyboardInterrupt):
            lesson(memory(backbone), folder=tmp_path)
    monkeypatch.setattr(Teacher, "responses", None)  # neither the responses nor the targets are made again
    monkeypatch.setattr(Teacher, "targets", None)
    made = memory(backbone)
    assert replace(lesson(made, folder=tmp_path), seconds=0) == replace(whole, seconds=0)


@pytest.mark.parametrize("file", ["queries.json", "responses.json"])
def test_a_kept_file_that_lost_its_queries_is_refused(backbone: Backbone, tmp_path: Path, file: str) -> None:
    made = memory(backbone)
    lesson(made, folder=tmp_path)
    made.remove("upper")
    (folder,) = tmp_path.glob("upper-*")
    (folder / file).write_text("[]", "utf-8")
    with pytest.raises(DataError, match=f"{file}: 0 queries"):
        lesson(made, folder=tmp_path)


def test_queries_that_differ_in_their_instruction_are_other_queries(
    backbone: Backbone, tmp_path: Path
) -> None:
    made = memory(backbone, prompt="instruction+query")
    french, german = (
        [replace(e, instruction=f"In {word}.") for e in QUERIES] for word in ("French", "German")
    )
    cards = [lesson(made, queries=french, folder=tmp_path)]
    made.remove("upper")
    cards.append(lesson(made, queries=german, folder=tmp_path))
    assert cards[0].identity != cards[1].identity
    kept = sorted(path.read_text("utf-8") for path in tmp_path.glob("upper-*/queries.json"))
    assert [text.count("French") for text in kept] == [len(QUERIES), 0]
    alone = memory(backbone)  # reads the queries alone
    marks = {identity(alone, UPPER, SHORT, queries) for queries in (QUERIES, french, german)}
    assert len(marks) == 1, "what no prompt holds changes nothing"


@pytest.mark.parametrize("name", ["../../up", "a/b", "..", "n" * 300, "ß" * 150, "a\\b"])
def test_a_lesson_of_any_name_is_kept_in_the_folder(backbone: Backbone, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "a" / "b" / "lessons"
    of = replace(UPPER, procedure=Procedure(name))
    card = lesson(memory(backbone), of, folder=folder)
    (kept,) = tmp_path.rglob("queries.json")
    assert kept.parent.parent == folder
    assert kept.parent.name.endswith(f"-{card.identity[:8]}")


def test_ordinary_names_name_the_folder(backbone: Backbone, tmp_path: Path) -> None:
    for name in ("upper", "Write in capitals: é.", "shop:add_item"):
        card = lesson(memory(backbone), replace(UPPER, procedure=Procedure(name)), folder=tmp_path)
        assert (tmp_path / f"{name}-{card.identity[:8]}" / "queries.json").is_file()


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_the_python_interface_takes_paths_and_texts(backbone: Backbone, tmp_path: Path) -> None:
    path = tmp_path / "upper.txt"
    path.write_text("Write the text in capital letters.", "utf-8")
    made = memory(backbone)
    (card,) = made.teach(path, [e.query for e in QUERIES], max_new_tokens=6, epochs=1)
    assert card.procedure == "upper"
    assert made.recall("Spain").procedure == "upper"
    file = tmp_path / "queries.txt"
    file.write_text("\n".join(e.query for e in QUERIES), "utf-8")
    for given in (file, str(file)):
        (same,) = memory(backbone).teach(path, given, max_new_tokens=6, epochs=1)
        assert replace(same, seconds=0) == replace(card, seconds=0)
    with pytest.raises(ConfigError, match="no setting 'epoch'"):
        memory(backbone).teach(path, [e.query for e in QUERIES], epoch=1)


def test_what_cannot_be_taught_is_refused(backbone: Backbone) -> None:
    with pytest.raises(DataError, match="tokens; wanted: at most"):
        lesson(memory(backbone), replace(UPPER, text="capital " * 600))
    with pytest.raises(DataError, match="3 different queries"):
        lesson(memory(backbone), queries=QUERIES[:3] * 2)
    made = memory(backbone)
    made.add("upper")
    with pytest.raises(BankError, match="upper"):
        lesson(made)


def test_a_teacher_that_always_says_the_same_is_told(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answers = Teacher.answers

    def same(self: Teacher, examples: list[Example], **options: Any) -> Any:
        return [replace(answer, text="the same") for answer in answers(self, examples, **options)]

    monkeypatch.setattr(Teacher, "answers", same)
    with caplog.at_level(logging.WARNING, "tokmem"):
        lesson(memory(backbone))
    assert "always says the same" in caplog.text


@pytest.mark.parametrize("addresses", ["closed", "trained"])
def test_a_lesson_leaves_what_is_not_learned_yet_trainable(backbone: Backbone, addresses: str) -> None:
    made = memory(backbone, addresses=addresses)
    made.add("later")
    lesson(made)
    assert made.bank.fresh_names == ("later",)


def test_a_lesson_that_is_refused_leaves_no_procedure(backbone: Backbone) -> None:
    made = memory(backbone)
    with pytest.raises(ConfigError, match="epoch"):
        lesson(made, training={"epoch": 2})
    assert made.bank.names == ()
    lesson(made)


def test_a_name_that_the_bank_cannot_take_is_refused_before_any_query(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = memory(backbone)
    made.add("upper")
    prompts = recorded_prompts(monkeypatch)
    with pytest.raises(BankError, match="procedure 'upper' twice"):
        lesson(made)
    with pytest.raises(BankError, match="visible text on one line"):
        lesson(made, replace(UPPER, procedure=Procedure("a\nb")))
    assert not prompts
    assert [*made] == ["upper"]
