"""`tokmem tools` on a tiny random model, from the command line to a recalled chain."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.cli.conftest import Cli

SMALL = (
    *("--samples_per_tool", 16, "--train_size", 12, "--val_size", 2, "--test_size", 4),
    *("--train_max_calls", 2, "--test_max_calls", 2, "--max_new_tokens", 4),
)


def test_a_list_of_texts_with_commas_in_them(cli: Cli, model: Path, tmp_path: Path) -> None:
    args = ("tools", "--model", model, "--methods", "icl", "--tools", "51-53", *SMALL, "--save_path", "run")
    done = cli(*args, "--connectors", '["Also,", "Then, too,"]')
    assert done.exit_code == 0, done.output
    config = yaml.safe_load((tmp_path / "run/config.yaml").read_text())
    assert config["data"]["connectors"] == ["Also,", "Then, too,"]


def test_rounds_are_learned_measured_and_recalled(cli: Cli, model: Path, tmp_path: Path) -> None:
    args = ("tools", "--model", model, "--training_rounds", "51-53:1,54-56:2", *SMALL, "--save_path", "run")
    done = cli(*args)
    assert done.exit_code == 0, done.output
    assert "tool F1" in done.output
    assert "6 procedures" in done.output
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert [one["epochs"] for one in summary["rounds"]] == [1, 2]
    assert {(row["round"], row["tools"]) for row in summary["rows"]} == {
        (1, "51-53"),
        (2, "51-53"),
        (2, "54-56"),
    }
    again = cli(*args)
    assert again.exit_code == 2
    assert "already holds a run" in again.output
    assert cli(*args, "--resume").exit_code == 0
    told = cli(
        "recall", "some query", "--chain", "--bank", "run/banks/tokmem-0", "--model-name", model, "--json"
    )
    assert told.exit_code == 0, told.output
    assert json.loads(told.output)["turns"][0]["procedure"] in summary["procedures"]


def test_a_saved_bank_is_measured_on_composed_queries(cli: Cli, model: Path, tmp_path: Path) -> None:
    """On the queries of its own run, which score what they scored there."""
    spec = ("--train_size", 12, "--val_size", 2, "--test_size", 4)
    calls = ("--train_max_calls", 2, "--test_max_calls", 2)
    made = cli("data", "compose", "--top_k", "51-53", *spec, *calls, "--out", "data")
    assert made.exit_code == 0, made.output
    train = ("--source", "files", "--path", "data", "--tools", "51-53", "--methods", "tokmem_dc", *spec)
    done = cli("tools", "--model", model, *train, *calls, "--max_new_tokens", 4, "--save_path", "run")
    assert done.exit_code == 0, done.output
    test = "data/test/function_calling_test_tools51-53_2calls.json"
    ask = ("eval", "--bank", "run/banks/tokmem_dc-0", "--corpus", test, "--max_new_tokens", 4)
    ask += ("--model_name", model)
    done = cli(*ask, "--save_path", "asked")
    assert done.exit_code == 0, done.output
    assert "tool F1" in done.output
    own, told = (json.loads((tmp_path / name / "summary.json").read_text()) for name in ("run", "asked"))
    scores = ("tool_f1", "call_f1", "call_f1_forced", "invalid_json", "prompt_tokens_per_query")
    for row, other in zip(told["rows"], own["rows"], strict=True):
        assert [row[name] for name in scores] == [other[name] for name in scores]
        assert row["calls"] == other["calls"]
    predictions = [
        json.loads((tmp_path / name).read_text())
        for name in ("run/predictions/tokmem_dc-0-round1.json", "asked/predictions/calls.json")
    ]
    assert predictions[0] == predictions[1]
    pytest.importorskip("llguidance")
    held = cli(*ask, "--constrained", "--save_path", "held")
    assert held.exit_code == 0, held.output
    rows = json.loads((tmp_path / "held/summary.json").read_text())["rows"]
    assert {row["method"] for row in rows} == {"tokmem_dc+constrained=true"}
    page = cli("report", "asked", "--out", "page")
    assert page.exit_code == 0, page.output
    for wrong, said in (
        ((*ask, "--save_path", "asked"), "already holds a run"),
        ((*ask, "--num_tasks", 3), "--num-tasks with composed queries"),
        ((*ask, "--test_size", 0), "test_size 0"),
        (("eval", "--bank", "run/banks/tokmem_dc-0", "--constrained"), "--constrained without composed"),
    ):
        refused = cli(*wrong)
        assert refused.exit_code == 2, refused.output
        assert said in " ".join(refused.output.split())
    other = cli("data", "compose", "--top_k", "1-3", *spec, *calls, "--out", "more")
    assert other.exit_code == 0, other.output
    foreign = cli(*ask, "--corpus", "more/test/function_calling_test_tools1-3_2calls.json")
    assert foreign.exit_code == 2
    assert "no query whose tools are all in the bank" in foreign.output


def test_a_bank_finds_the_backbone_that_its_run_adapted(cli: Cli, model: Path) -> None:
    pytest.importorskip("peft")
    args = ("tools", "--model", model, "--tools", "51-53", *SMALL, "--save_path", "run")
    adapted = ("--adaptation", "auxiliary", "--auxiliary_tools", "1-3", "--auxiliary_train_size", 8)
    done = cli(*args, *adapted)
    assert done.exit_code == 0, done.output
    told = cli("recall", "some query", "--chain", "--bank", "run/banks/tokmem-0", "--json")
    assert told.exit_code == 0, told.output
    added = cli("bank", "add", "run/banks/tokmem-0", "--name", "another", "--out", "larger")
    assert added.exit_code == 0, added.output


def test_mistakes_are_told(cli: Cli, tmp_path: Path) -> None:
    for args, said in (
        (("--training_rounds", "51-60:1,55-70:1"), "51-60 and 55-70 overlap"),
        (("--source", "xlam"), "a path for xlam"),
        (("--source", "xlam", "--path", tmp_path / "none.json"), "none.json"),
        (("--samples_per_tool", 0), "data: samples_per_tool 0 of generated tools"),
        (("--renorm", "always"), "'off' | 'stage' | 'step'"),
        (("--methods", "tokmen"), "close: tokmem"),
        (("--lr", "fast"), "training.lr"),
    ):
        done = cli("tools", "--backbone", "mini", *args)
        assert done.exit_code == 2, (args, done.output)
        assert said in " ".join(done.output.split()), done.output
