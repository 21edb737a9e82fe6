"""A conversation shows answers as they come, and learns from corrections."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.data.tiny_chat import LLAMA, tiny_tokenizer
from tests.methods.test_closed import learn, memory
from tests.tiny import tiny_backbone
from tokmem.data.jsonl import read_jsonl
from tokmem.errors import RecallError, TokMemError
from tokmem.methods.tokmem import TokMem
from tokmem.model.backbone import Backbone
from tokmem.records import Answer, Choice, Example, Procedure, Route, Turn
from tokmem.report.answers import answer_lines
from tokmem.report.conversation import Conversation, pieces

NAMES = ("capital", "date", "sum")


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return tiny_backbone(tiny_tokenizer(LLAMA))


def say(conversation: Conversation, line: str) -> str:
    return "".join(conversation.reply(line))


def other_than(answer: Answer) -> str:
    return next(name for name in NAMES if name != answer.procedure)


def test_an_answer_comes_in_pieces_and_ends_as_it_is_shown_whole(backbone: Backbone, tmp_path: Path) -> None:
    made = learn(memory(backbone), *NAMES)
    whole = made.recall("France")
    got = list(Conversation(made, tmp_path).reply("France"))
    lines = [f"{label:>9}  {text}" for label, text, _ in answer_lines(whole, made.procedures)[1:]]
    assert "".join(got) == "\n".join(lines)
    assert len([piece for piece in got if piece]) > 2


def test_a_tools_arguments_are_judged_when_they_are_whole() -> None:
    route = Route((Choice("order", 0.9),), False, 0.9)
    grown = [Answer("q", (Turn("order", text),), route=route) for text in ('{"a"', '{"a": 1}')]
    got = list(pieces(grown, {"order": Procedure("order", "", {"type": "object"})}))
    assert got[1] == ": 1}"
    assert got[2] == "   valid"


def test_a_computed_bank_learns_a_correction_and_is_saved(backbone: Backbone, tmp_path: Path) -> None:
    made = learn(memory(backbone), *NAMES)
    made.save(tmp_path / "bank")
    query = "nothing of the kind"
    wanted = other_than(made.recall(query))
    talk = Conversation(made, tmp_path / "bank")
    say(talk, query)
    assert f"{wanted}, forced" in say(talk, f"that was `{wanted}`")
    assert made.recall(query).procedure != wanted, "it learns on request"
    assert say(talk, "/learn") == "Learned 1 correction; the bank is saved."
    assert TokMem.load(tmp_path / "bank", backbone).recall(query).procedure == wanted
    assert "No corrections" in say(talk, "/learn")
    assert not list(tmp_path.glob("*.jsonl")), "a computed bank keeps no text"


def test_a_trained_bank_collects_corrections_as_training_examples(backbone: Backbone, tmp_path: Path) -> None:
    made = TokMem(backbone, coupled=True, prompt="query", recall=memory(backbone).recall_settings)
    made.add(NAMES)
    talk = Conversation(made, tmp_path / "bank", instruction="Answer.")
    say(talk, "France")
    wanted = other_than(made.recall("France"))
    said = say(talk, f"/was {wanted}")
    file = tmp_path / "bank.corrections.jsonl"
    assert f"tokmem train {file} --load-task-tokens {tmp_path / 'bank'}" in said
    (example,) = read_jsonl(file)
    assert (example.query, example.instruction, example.turns[0].procedure) == ("France", "Answer.", wanted)
    assert example.turns[0].response == made.recall("France", [[wanted]]).response


def test_what_is_no_correction_is_a_query(backbone: Backbone, tmp_path: Path) -> None:
    made = TokMem(backbone, coupled=True, prompt="query", recall=memory(backbone).recall_settings)
    made.add(NAMES)
    talk = Conversation(made, tmp_path)
    with pytest.raises(TokMemError, match="before any query"):
        say(talk, "/was date")
    assert "recalled" in say(talk, "that was a good day")
    with pytest.raises(TokMemError, match="no procedure 'dates'"):
        say(talk, "/was dates")
    assert [line.split()[0] for line in say(talk, "/list").splitlines()] == list(NAMES)


@pytest.mark.parametrize(
    ("line", "got"),
    [
        ("that was nothing", "no procedure 'nothing'; wanted: that was NAME"),
        ("that was dates", "no procedure 'dates' .close: date"),
        ("That is `Capitals`.", "no procedure 'Capitals' .close: capital"),
        ("/lern", "no command '/lern' .close: /learn.; wanted: /help, /list, /learn or /was NAME"),
        ("/LIST", "no command '/LIST' .close: /list"),
        ("/was", "no command '/was'"),
        ("/quit now", "no command '/quit'"),
        ("/", "no command '/'"),
    ],
)
def test_a_mistyped_command_is_told_and_asked_when_it_comes_again(
    backbone: Backbone, tmp_path: Path, line: str, got: str
) -> None:
    made = TokMem(backbone, coupled=True, prompt="query", recall=memory(backbone).recall_settings)
    made.add(NAMES)
    talk = Conversation(made, tmp_path)
    say(talk, "France")
    with pytest.raises(RecallError, match=got + ".*; to do: type the line again to ask it as a query"):
        say(talk, line)
    assert talk.last.query == "France", "a correction still is of this query"
    assert "recalled" in say(talk, line)
    assert talk.last.query == line
    with pytest.raises(RecallError):
        say(talk, line)


@pytest.mark.parametrize("line", ["/etc/hosts is what?", "that was a good day", "that was all I had to say."])
def test_a_query_that_only_begins_like_a_command_is_answered(
    backbone: Backbone, tmp_path: Path, line: str
) -> None:
    made = TokMem(backbone, coupled=True, prompt="query", recall=memory(backbone).recall_settings)
    made.add(NAMES)
    talk = Conversation(made, tmp_path)
    assert "recalled" in say(talk, "that was nothing"), "there is no query that it could correct"
    assert "recalled" in say(talk, line)


def test_plus_signs_compose_procedures_for_every_query(backbone: Backbone, tmp_path: Path) -> None:
    made = learn(memory(backbone), *NAMES)
    talk = Conversation(made, tmp_path, forced=["capital+date", "sum"])
    (answer,) = talk.ask([Example("France")])
    assert [turn.procedure for turn in answer.turns[:2]] == ["capital", "date"]
    assert answer.turns[0].response == ""
    assert answer.turns == made.recall(Example("France"), [[("capital", "date"), "sum"]]).turns
    said = say(talk, "France")
    assert "date, forced" in said
    assert said.count("response") == 1, "one for the two together"


def test_a_name_with_a_plus_sign_is_one_procedure(backbone: Backbone, tmp_path: Path) -> None:
    made = learn(memory(backbone), "capital", "date", "capital+date")
    (answer,) = Conversation(made, tmp_path, forced=["capital+date"]).ask([Example("France")])
    assert [turn.procedure for turn in answer.turns] == ["capital+date"]


def test_names_with_plus_signs_are_composed_too(backbone: Backbone, tmp_path: Path) -> None:
    made = memory(backbone, addresses="trained")
    made.add(["c++", "a+b", "c", "a", "date"])

    def forced(name: str) -> object:
        return Conversation(made, tmp_path, forced=[name]).forced[0]

    assert forced("c++") == "c++"
    assert forced("c+++a+b") == ("c++", "a+b")
    assert forced("date + c++ + c") == ("date", "c++", "c")
    with pytest.raises(TokMemError, match=r"procedure 'dat' is not in the bank .close: date"):
        forced("c+++dat")
    made.add("b")
    with pytest.raises(TokMemError, match=r"may be 'a' and 'b' and 'c' or 'a\+b' and 'c'; .* rename one"):
        forced("a+b+c")


def test_parts_may_have_blanks_and_stand_there_once(backbone: Backbone, tmp_path: Path) -> None:
    made = learn(memory(backbone), *NAMES)
    assert Conversation(made, tmp_path, forced=["capital + date"]).forced == [("capital", "date")]
    with pytest.raises(TokMemError, match="different ones between the plus signs"):
        Conversation(made, tmp_path, forced=["date+date"])


@pytest.mark.parametrize("name", ["dat", "capital+dat", "+capital"])
def test_a_forced_procedure_that_the_bank_lacks_is_named(
    backbone: Backbone, tmp_path: Path, name: str
) -> None:
    made = learn(memory(backbone), *NAMES)
    with pytest.raises(
        TokMemError, match=f"procedure '{name.split('+')[-1] if 'dat' in name else ''}' is not"
    ):
        Conversation(made, tmp_path, forced=[name])
