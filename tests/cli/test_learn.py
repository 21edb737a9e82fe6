"""`tokmem learn`: from a prompt to a bank that recalls, once more, and what it says before it begins."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tokmem.bank.store import load_bank
from tokmem.cli.learn import _is_of
from tokmem.methods.lessons import cost
from tokmem.methods.lessons.teacher import Teacher
from tokmem.records import Answer, Example

QUERIES = (
    "selling a red lamp",
    "my order has not come",
    "call me on Monday",
    "three cups of tea",
    "a long day",
)
FAST = ("--queries", "queries.txt", "--max-new-tokens", 6, "--epochs", 2, "--batch-size", 4)


@pytest.fixture
def prompt(cli: Cli) -> Path:
    """A prompt and its queries in the folder where the command runs."""
    Path("queries.txt").write_text("\n".join(QUERIES), "utf-8")
    Path("shout.txt").write_text("Write the text in capital letters.", "utf-8")
    return Path("shout.txt")


@pytest.fixture
def learned(cli: Cli, prompt: Path, model: Path) -> Path:
    """A bank that has learned the prompt."""
    done = cli("learn", prompt, "--bank", "bank", "--yes", *FAST, "--backbone", model)
    assert done.exit_code == 0, done.output
    return Path("bank")


def test_a_prompt_becomes_a_memory_token_of_mini(cli: Cli, prompt: Path) -> None:
    done = cli("learn", prompt, "--bank", "bank", "--backbone", "mini", "--yes", "--json", *FAST)
    assert done.exit_code == 0, done.output
    card = json.loads(done.stdout)
    assert (card["procedure"], card["tokens"], card["queries"], card["held_out"]) == ("shout", 1, 4, 1)
    bank, origin = load_bank(Path("bank"))
    assert bank.names == ("shout",)
    assert origin.training["lessons"]["shout"] == card
    assert origin.training["prompt"] == "query"
    answered = cli("recall", QUERIES[0], "--bank", "bank", "--json")
    assert json.loads(answered.stdout)["turns"][0]["procedure"] == "shout"
    before = {path.name: path.read_bytes() for path in Path("bank").iterdir()}
    again = cli("learn", prompt, "--bank", "bank", "--yes", "--price", 2, *FAST)
    assert "learned already" in again.stdout
    assert f"{card['saved_tokens'] * 2 / 1000:.4f}" in again.stdout
    assert {path.name: path.read_bytes() for path in Path("bank").iterdir()} == before


def test_a_second_lesson_joins_the_bank(cli: Cli, prompt: Path, model: Path) -> None:
    whisper = Path("whisper.md")
    whisper.write_text("Write the text in small letters.", "utf-8")
    args = ["--bank", "bank", "--yes", *FAST, "--backbone", model]
    assert cli("learn", prompt, *args).exit_code == 0
    row = load_bank(Path("bank"))[0].rows("shout")[1]
    joined = cli("learn", whisper, *args)
    assert joined.exit_code == 0, joined.output
    bank, origin = load_bank(Path("bank"))
    assert bank.names == ("shout", "whisper")
    assert set(origin.training["lessons"]) == {"shout", "whisper"}
    assert bank.rows("shout")[1].equal(row)
    prompt.write_text("Another prompt of the same name.", "utf-8")
    other = cli("learn", prompt, *args)
    assert other.exit_code == 2
    assert "'shout'" in other.output


def test_a_procedure_that_was_renamed_is_learned_again(cli: Cli, prompt: Path, model: Path) -> None:
    args = ("learn", prompt, "--bank", "bank", "--yes", *FAST, "--backbone", model)
    assert cli(*args).exit_code == 0
    assert cli("bank", "rename", "bank", "shout", "scream", "--out", "bank").exit_code == 0
    again = cli(*args)
    assert again.exit_code == 0, again.output
    assert "learned already" not in again.stdout
    bank, origin = load_bank(Path("bank"))
    assert bank.names == ("scream", "shout")
    assert list(origin.training["lessons"]) == ["shout"]


def test_another_procedure_of_the_name_is_not_taken_for_the_lesson(
    cli: Cli, prompt: Path, model: Path
) -> None:
    args = ("learn", prompt, "--bank", "bank", "--yes", *FAST, "--backbone", model)
    assert cli(*args).exit_code == 0
    assert cli("bank", "remove", "bank", "shout").exit_code == 0
    rows = [{"query": query, "procedure": "shout", "response": "no"} for query in QUERIES]
    Path("rows.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    add = ("bank", "add", "bank", "--name", "shout", "--examples", "rows.jsonl", "--epochs", 1)
    assert cli(*add, "--backbone", model).exit_code == 0
    again = cli(*args)
    assert "learned already" not in again.stdout
    assert "'shout', which the bank has from another lesson" in again.stderr


def test_a_merged_bank_knows_its_lessons(cli: Cli, learned: Path, prompt: Path, model: Path) -> None:
    Path("polite.txt").write_text("Answer politely.", "utf-8")
    end = ("--yes", *FAST, "--backbone", model)
    assert cli("learn", "polite.txt", "--bank", "other", *end).exit_code == 0
    assert cli("bank", "merge", learned, "other", "--out", "both").exit_code == 0
    done = cli("learn", prompt, "polite.txt", "--bank", "both", *end)
    assert done.exit_code == 0, done.output
    assert "2 procedures are learned already" in done.stdout


@pytest.mark.parametrize("changed", [("--epochs", 3), ("--width", 2), ("--start", "mean"), ("--lr", 0.01)])
def test_other_training_of_a_learned_lesson_is_refused(
    cli: Cli, learned: Path, model: Path, changed: tuple[object, ...]
) -> None:
    args = ("learn", "shout.txt", "--bank", learned, "--yes", *FAST, "--backbone", model)
    refused = cli(*args, *changed)
    assert refused.exit_code == 2
    assert "the same lesson with the same settings" in " ".join(refused.output.split())
    assert "learned already" in cli(*args).stdout


def test_a_card_of_an_older_version_counts_as_trained_alike() -> None:
    card = {"identity": "a", "procedure": "shout"}
    assert _is_of(card, "a", "b")
    assert not _is_of(card, "c", "b")
    assert not _is_of({**card, "recipe": "d"}, "a", "b")


def test_the_seed_of_a_lesson_is_that_of_its_training(
    cli: Cli, prompt: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli("learn", "--help").stdout.count("--seed ") == 1
    taken = []
    monkeypatch.setattr(
        "tokmem.methods.lessons.student.learn_taught", lambda *given: taken.append(given[3].seed)
    )
    cli("learn", prompt, "--bank", "bank", "--yes", *FAST, "--backbone", model, "--seed", 7)
    assert taken == [7]


def test_a_dry_run_shows_the_prompt_and_writes_nothing(cli: Cli, prompt: Path, model: Path) -> None:
    done = cli("learn", prompt, "--bank", "bank", "--backbone", model, "--dry-run")
    assert done.exit_code == 0, done.output
    assert "Write the text in capital letters." in done.stdout
    assert "prompt tokens, about" in done.stdout
    assert not list(Path().glob("bank*/*"))


def test_long_work_asks_first(cli: Cli, prompt: Path, model: Path) -> None:
    args = ("learn", prompt, "--bank", "bank", "--backbone", model, "--make", 10**6)
    done = cli(*args, input="n\n")
    assert done.exit_code == 1
    assert "minutes of work" in done.output
    assert not list(Path().glob("bank*/*"))


def test_long_work_is_estimated_by_how_long_responses_are(
    cli: Cli, prompt: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--queries", "queries.txt", "--dry-run", "--json")
    asked = ("learn", prompt, "--bank", "bank", "--backbone", model, *options)
    monkeypatch.setattr(cost, "seconds_a_token", lambda model: 1.0)
    responses = iter([["one two three"] * 4, [""] * 4])
    read = []

    def answers(self: Teacher, queries: Sequence[Example], **options: bool) -> list[Answer]:
        read.append(len(queries))
        return [Answer(q.query, text=text) for q, text in zip(queries, next(responses), strict=True)]

    monkeypatch.setattr(Teacher, "answers", answers)
    longer, shorter = (json.loads(cli(*asked).stdout)["seconds"] for _ in range(2))
    monkeypatch.setattr(cost, "seconds_a_token", lambda model: 1e-9)
    cli(*asked)
    assert read == [4, 4], "short work needs no trial"
    assert 60 < shorter < longer


def test_a_question_that_nobody_answers_names_the_option(cli: Cli, prompt: Path, model: Path) -> None:
    args = ("learn", prompt, "--bank", "bank", "--backbone", model, "--make", 10**6, "--json")
    done = cli(*args, input="")
    assert done.exit_code == 2
    assert "--yes" in done.stderr
    assert "minutes of work" in done.stderr, "the output is JSON"
    assert not done.stdout.strip()


def test_a_dry_run_tells_its_costs_as_json(cli: Cli, prompt: Path, model: Path) -> None:
    done = cli("learn", prompt, "--bank", "bank", "--backbone", model, "--dry-run", "--json")
    told = json.loads(done.stdout)
    assert (told["procedure"], told["source"]) == ("shout", "shout.txt")
    assert told["prompt_tokens"] > 0
    assert "capital letters" in told["prompt"]


def test_the_folder_of_a_run_stands_for_its_bank(cli: Cli, learned: Path, model: Path) -> None:
    inner = Path("run", "banks", "only")
    inner.parent.mkdir(parents=True)
    learned.rename(inner)
    Path("whisper.txt").write_text("Write the text in small letters.", "utf-8")
    done = cli("learn", "whisper.txt", "--bank", "run", "--yes", *FAST, "--backbone", model)
    assert done.exit_code == 0, done.output
    assert load_bank(inner)[0].names == ("shout", "whisper")


def test_the_way_out_of_a_name_that_is_taken_is_a_whole_command(
    cli: Cli, learned: Path, model: Path, prompt: Path
) -> None:
    prompt.write_text("Another prompt of the same name.", "utf-8")
    refused = cli("learn", prompt, "--bank", learned, "--yes", *FAST, "--backbone", model)
    assert f"bank remove {learned} shout" in " ".join(refused.output.split())


@pytest.mark.parametrize("dry", [("--dry-run",), ("--yes",)])
def test_what_cannot_be_taught_is_refused_before_any_work(
    cli: Cli, prompt: Path, model: Path, dry: tuple[str, ...]
) -> None:
    coded = {"type": "object", "properties": {"code": {"type": "string", "pattern": "^x{9}$"}}}
    coded["required"] = ["code"]
    tools = [{"name": "one", "parameters": {"type": "object"}}, {"name": "two", "parameters": coded}]
    Path("tools.json").write_text(json.dumps(tools), "utf-8")
    base = ("--bank", "bank", "--backbone", model, *dry)
    refused = cli("learn", "tools.json", *base)
    assert refused.exit_code == 2
    assert "no arguments of 'two'" in refused.output
    assert "--skip two" in refused.output
    skipped = cli("learn", "tools.json", *base, "--dry-run", "--skip", "two")
    assert skipped.exit_code == 0, skipped.output
    assert "one (tool" in skipped.output
    assert "two (tool" not in skipped.output
    Path("queries.txt").write_text("\n".join((*QUERIES, "France " * 600)), "utf-8")
    refused = cli("learn", prompt, "--queries", "queries.txt", *base)
    assert refused.exit_code == 2
    assert "query 6, 'France France" in refused.output
    assert not list(Path().glob("bank*/*"))


@pytest.mark.parametrize(
    ("skip", "message"), [("shot", "close: shout"), ("shout", "all lessons are skipped")]
)
def test_what_is_skipped_must_be_there_and_not_all(cli: Cli, prompt: Path, skip: str, message: str) -> None:
    refused = cli("learn", prompt, "--bank", "bank", "--backbone", "no-such-model", "--skip", skip)
    assert refused.exit_code == 2
    assert message in refused.output


def test_a_folder_that_cannot_become_the_bank_is_refused_before_any_work(
    cli: Cli, prompt: Path, learned: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("file").write_text("x")
    end = ("--yes", *FAST, "--backbone", model)
    done = cli("learn", prompt, "--bank", "file", *end)
    assert done.exit_code == 2
    assert "file is a file" in done.stderr
    assert "prompt tokens" not in done.output
    assert not Path("file.lessons").exists()
    monkeypatch.chdir(learned)
    done = cli("learn", f"../{prompt}", "--bank", ".", "--yes", "--backbone", model)
    assert done.exit_code == 2
    assert "is the working folder" in done.stderr


def test_a_broken_source_is_refused_before_the_backbone_loads(cli: Cli) -> None:
    Path("empty.txt").write_text(" ", "utf-8")
    done = cli("learn", "empty.txt", "--bank", "bank", "--backbone", "no-such-model")
    assert done.exit_code == 2
    assert "empty.txt is empty" in done.output


def test_the_example_of_the_docs_runs(cli: Cli) -> None:
    page = (Path(__file__).parents[2] / "docs" / "learn.md").read_text("utf-8")
    blocks = re.findall(r"```(\w+)\n(.*?)```", page, re.DOTALL)
    prompt, queries = [text for kind, text in blocks if kind == "text"]
    Path("prompt.txt").write_text(prompt, "utf-8")
    Path("queries.txt").write_text(queries, "utf-8")
    commands = next(text.splitlines() for kind, text in blocks if kind == "bash")  # the other one measures
    cheap = ["--yes", "--backbone", "mini", "--max-new-tokens", 4, "--epochs", 1]
    for command, more in zip(commands, (cheap, ["--max-new-tokens", 4]), strict=True):
        done = cli(*shlex.split(command)[1:], *more)
        assert done.exit_code == 0, done.output
    assert "prompt" in done.stdout
