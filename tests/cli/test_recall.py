"""`tokmem recall` on a tiny random model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.cli.conftest import Cli
from tokmem.cli.main import app
from tokmem.cli.recall import _bank_and_query
from tokmem.methods.tokmem import TokMem
from tokmem.methods.tokmem_lora import TokMemLora
from tokmem.model.backbone import load_backbone
from tokmem.model.lora import LoraSettings
from tokmem.records import Example, Procedure, Turn
from tokmem.train.settings import FitSettings


def lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_one_query_shows_token_probability_and_response(cli: Cli, bank: Path, model: Path) -> None:
    base = ("recall", "France?", "--bank", bank, "--backbone", model, "--max_new_tokens", 6)
    done = cli(*base, "--top_k", 2)
    assert done.exit_code == 0, done.output
    [record] = lines(cli(*base, "--top-k", 2, "--json").stdout)
    first, second = record["routes"]
    assert f"{first['procedure']} {100 * first['probability']:.1f}%" in done.stdout
    assert second["procedure"] in done.stdout
    assert record["recalled"] == [first["procedure"]]
    [forced] = lines(cli(*base, "--procedure", second["procedure"], "--json").stdout)
    assert forced["recalled"] == [second["procedure"]]
    [chain] = lines(cli(*base, "--procedure", "upper", "--procedure", "capital", "--json").stdout)
    assert chain["recalled"][0] == "upper"


def test_file_and_piped_lines_give_what_single_queries_give(cli: Cli, bank: Path, model: Path) -> None:
    common = ("--bank", bank, "--backbone", model, "--json", "--max-new-tokens", 4)
    single = [lines(cli("recall", q, *common).stdout)[0]["routes"] for q in ("France", "Chad is")]
    Path("queries.txt").write_text("France\n\nChad is\n")
    Path("queries.jsonl").write_text('{"query": "France", "id": "x"}\n{"query": "Chad is"}\n')
    composed = [{"user_input": q, "tools": ["a"], "function_calls": ["{}"]} for q in ("France", "Chad is")]
    Path("queries.json").write_text(json.dumps(composed, indent=1))
    for done in (
        cli("recall", "--queries", "queries.txt", *common),
        cli("recall", "--queries", "queries.jsonl", *common),
        cli("recall", "--queries", "queries.json", *common),
        cli("recall", *common, input="France\nChad is\n"),
    ):
        records = lines(done.stdout)
        assert [record["query"] for record in records] == ["France", "Chad is"]
        for record, routes in zip(records, single, strict=True):
            for choice, expected in zip(record["routes"], routes, strict=True):
                assert choice["procedure"] == expected["procedure"]
                assert choice["probability"] == pytest.approx(expected["probability"], abs=1e-4)


def test_a_missing_instruction_is_noted(bank: Path, model: Path) -> None:
    args = ["recall", "France?", "--bank", str(bank), "--backbone", str(model), "--max-new-tokens", "2"]

    def note(*more: str) -> bool:
        done = CliRunner().invoke(app, [*args, *more])
        assert done.exit_code == 0, done.output
        return "without the --instruction" in " ".join(done.stderr.split())

    assert not note(), "this bank was trained by the query alone"
    assert note("--prompt", "instruction+query")
    assert not note("--prompt", "instruction+query", "--instruction", "answer")


def test_conversation_survives_a_bad_query(
    cli: Cli, bank: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tokmem.cli.recall._at_terminal", lambda: True)
    typed = iter([b"France", b"word " * 400, b"\xff", b"Spain", b""])
    monkeypatch.setattr("builtins.input", lambda _: next(typed).decode())
    done = cli("recall", "--bank", bank, "--backbone", model, "--max_length", 64, "--max-new-tokens", 4)
    assert done.exit_code == 0, done.output
    assert done.stdout.count("recalled  ") >= 2
    assert "typed is not UTF-8" in done.stderr


def test_typed_memory_tokens_are_text(cli: Cli, bank: Path, model: Path) -> None:
    token = "<|reserved_special_token_0|>"
    common = ("--bank", bank, "--backbone", model, "--json", "--max-new-tokens", 4)
    [plain] = lines(cli("recall", "France", *common).stdout)
    done = cli("recall", f"France{token}", *common)
    assert done.exit_code == 0, done.output
    [record] = lines(done.stdout)
    assert record["query"] == f"France{token}"
    assert record["prompt_tokens"] > plain["prompt_tokens"] + 5, "written out, not one memory token"


def test_rejected_query_says_so(cli: Cli, bank: Path, model: Path) -> None:
    args = ("recall", "--bank", bank, "--backbone", model, "--reject", "--max-new-tokens", 3)
    done = cli(*args, "--json", input="".join(f"{word}\n" for word in "one two three four five six".split()))
    rejected = [record for record in lines(done.stdout) if record["rejected"]]
    assert rejected, "a random model prefers an ordinary token to two memory tokens"
    assert not any(record["recalled"] for record in rejected)
    assert "no memory token" in cli(*args, rejected[0]["query"]).stdout


def test_a_chain_of_tools_shows_each_with_its_arguments(cli: Cli, bank: Path, model: Path) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    Path("tool.jsonl").write_text(json.dumps({"name": "weather", "parameters": schema}) + "\n")
    add = ("bank", "add", bank, "--procedures", "tool.jsonl", "--backbone", model, "--out", "tools")
    assert cli(*add).exit_code == 0
    base = ("recall", "Oslo?", "--bank", "tools", "--backbone", model, "--chain", "--max-new-tokens", 12)
    forced = ("--procedure", "weather", "--procedure", "upper")
    [record] = lines(cli(*base, *forced, "--json").stdout)
    tool = record["turns"][0]
    assert (tool["procedure"], tool["arguments"]) == ("weather", None), "a random model writes no JSON"
    assert tool["error"].startswith("arguments are")
    assert tool["routes"][0]["probability"] > 0
    shown = cli(*base, *forced).stdout
    assert "weather, forced" in shown
    assert "not valid  arguments are" in shown


def test_constrained_arguments_are_json_of_the_schema(cli: Cli, model: Path) -> None:
    pytest.importorskip("llguidance")
    kinds = {"size": {"enum": ["small", "large"]}, "count": {"type": "integer", "minimum": 0, "maximum": 9}}
    schema = {"type": "object", "properties": kinds, "required": ["size"], "additionalProperties": False}
    memory = TokMem(load_backbone(str(model), device="cpu"), prompt="query")
    memory.add([Procedure("order", "Orders.", schema), Procedure("stop_order", "Stops.", schema)])
    memory.save(Path("tools"))
    args = ("recall", "--bank", "tools", "--backbone", model, "--max-new-tokens", 40, "--constrained")
    queries = "".join(f"{word}\n" for word in "one two three four five six".split())
    records = lines(cli(*args, "--chain", "--json", input=queries).stdout)
    assert len(records) == 6
    for record in records:
        complete = record["turns"] if record["finished"] else record["turns"][:-1]
        assert complete
        for turn in complete:
            arguments = json.loads(turn["response"])
            assert arguments["size"] in ("small", "large")
            assert arguments.get("count", 0) in range(10)
            assert turn["response"] == json.dumps(arguments)
    done = cli(*args, "one")
    assert done.exit_code != 0
    assert "--constrained without --chain" in done.output


def test_a_bank_beside_its_adapter_is_recalled(cli: Cli, model: Path) -> None:
    pytest.importorskip("peft")
    settings = FitSettings(lr=0.05, batch_size=4)
    shape = LoraSettings(lora_r=2, lora_alpha=64)
    backbone = load_backbone(str(model), device="cpu")
    made = TokMemLora(
        backbone, freeze_after_first=True, lora=shape, lora_lr=0.05, prompt="query", settings=settings
    )
    queries = ["France", "Chad is", "Peru"]
    made.learn(
        [Procedure("upper"), Procedure("lower")], [Example(q, (Turn("upper", "A"),)) for q in queries], []
    )
    made.save(Path("kept"))
    expected = made.recall(queries, mode="chain", max_new_tokens=6)
    args = ("--backbone", model, "--chain", "--json", "--max-new-tokens", 6)
    for bank in ("kept", "kept/bank"):
        done = cli("recall", "--bank", bank, *args, input="\n".join(queries))
        assert done.exit_code == 0, done.output
        for record, answer in zip(lines(done.stdout), expected, strict=True):
            likely = answer.route.choices[0].probability
            assert record["routes"][0]["probability"] == pytest.approx(likely, abs=1e-4)
            assert [turn["response"] for turn in record["turns"]] == [t.response for t in answer.turns]
    plain = TokMem(backbone, bank=made.bank, prompt="query").recall(queries)
    found, without = (answers[0].route.choices[0].probability for answers in (expected, plain))
    assert abs(found - without) > 0.05, "the adapter matters"
    added = cli("bank", "add", "kept", "--name", "title", "--backbone", model)
    assert added.exit_code == 0, added.output
    assert "title" in cli("bank", "list", "kept").stdout
    assert cli("recall", "France", "--bank", "kept", *args).exit_code == 0
    Path("p.txt").write_text("Answer in capitals.")
    for refused in (
        cli("learn", "p.txt", "--bank", "kept/bank", "--backbone", model),
        cli("export", "kept", "--to", "hf", "--out", "served", "--backbone", model),
    ):
        assert refused.exit_code == 2
        assert "trained beside an adapter" in refused.output
    assert cli("bank", "remove", "kept/bank", "lower", "--out", "fewer").exit_code == 0
    refused = cli("recall", "France", "--bank", "fewer", *args)
    assert refused.exit_code == 2
    assert "was trained beside an adapter" in refused.output


def test_a_run_stands_for_its_only_bank_and_knows_its_backbone(cli: Cli, bank: Path) -> None:
    """The bank has the name of its local backbone, and not the path."""
    run = bank.parent.parent
    done = cli("recall", run, "France", "--json", "--max-new-tokens", 2)
    assert done.exit_code == 0, done.output
    assert {route["procedure"] for route in lines(done.stdout)[0]["routes"]} <= {"capital", "upper"}
    assert cli("bank", "list", run).stdout == cli("bank", "list", bank).stdout
    for name in "ab":
        shutil.copytree(bank, f"two/banks/{name}")
    refused = cli("bank", "list", "two")
    assert refused.exit_code == 2
    assert "two/banks/a, two/banks/b" in refused.output


def test_the_command_for_a_trained_bank_learns_the_corrections(cli: Cli, bank: Path, model: Path) -> None:
    Path("c.jsonl").write_text(
        json.dumps({"query": "Oslo?", "turns": [{"procedure": "upper", "response": "OSLO"}]}) + "\n"
    )
    done = cli(
        *("train", "c.jsonl", "--load-task-tokens", bank, "--test-size", 0, "--backbone", model),
        *("--epochs", 1, "--out", "again"),
    )
    assert done.exit_code == 0, done.output
    learned = json.loads(Path("again/banks/tokmem-query-0/bank.json").read_text())
    assert [one["name"] for one in learned["procedures"]] == ["capital", "upper"]


def test_that_command_finds_the_backbone_and_the_call_style_of_the_bank(cli: Cli) -> None:
    tool = Procedure("order", "Orders.", {"type": "object"})
    memory = TokMem("mini", device="cpu", prompt="query", call_style="hermes", coupled=True)
    memory.add(tool)
    memory.save(Path("tools"))
    row = {"query": "Oslo?", "turns": [{"procedure": "order", "response": "{}"}]}
    Path("c.jsonl").write_text(json.dumps(row) + "\n")
    done = cli("train", "c.jsonl", "--load-task-tokens", "tools", "--test-size", 0, "--epochs", 1)
    assert done.exit_code == 0, done.output
    origin = json.loads(Path("runs/train/banks/tokmem-query-0/bank.json").read_text())["origin"]
    assert (origin["backbone"], origin["training"]["call_style"]) == ("mini", "hermes")


def test_the_bank_may_stand_before_the_query(cli: Cli, bank: Path, model: Path) -> None:
    common = ("--backbone", model, "--json", "--max-new-tokens", 4)
    named = cli("recall", "France?", "--bank", bank, *common)
    assert cli("recall", bank, "France?", *common).stdout == named.stdout
    assert cli("recall", bank, *common, input="France?\n").stdout == named.stdout


def test_with_a_server_too_a_run_stands_for_its_only_bank(tmp_path: Path) -> None:
    bank = tmp_path / "run" / "banks" / "one"
    bank.mkdir(parents=True)
    (bank / "bank.json").touch()
    assert _bank_and_query([str(tmp_path / "run")], None, "http://x") == (bank, None)
    assert _bank_and_query([str(tmp_path)], None, "http://x") == (None, str(tmp_path)), "a query"


@pytest.mark.parametrize("query", ["", " "])
def test_an_empty_query_is_refused_before_the_backbone_loads(
    cli: Cli, query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tokmem.cli.recall.open_memory", lambda *_: pytest.fail("the backbone was loaded"))
    Path("b").mkdir()
    Path("b/bank.json").touch()
    done = cli("recall", "b", query)
    assert done.exit_code == 2
    assert "an empty query" in done.stderr
