"""The evaluation of the bundled backbone, and the text of its card."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest

from pretraining.evaluate import OTHER, training
from pretraining.publish import card
from pretraining.tools import schema_line
from tokmem.mini.tools import AUXILIARY, HELD_OUT
from tokmem.model.catalog import mini_path

ROOT = Path(__file__).parents[2]


def test_the_training_of_all_runs_is_counted(tmp_path: Path) -> None:
    earlier = {"step": 200, "tokens": 2_000_000, "supervised": 1_500_000, "seconds": 3600}
    last = {"step": 1100, "tokens": 500_000, "supervised": 100_000, "seconds": 1800}
    facts = {**last, "earlier": earlier, "loss": 0.5, "averaged_with_tokens": 9}
    (tmp_path / "training.json").write_text(json.dumps(facts))
    seen = training(tmp_path)
    assert seen == {
        **{"step": 1300, "tokens": 2_500_000, "supervised": 1_600_000, "seconds": 5400},
        **{"earlier": earlier, "loss": 0.5, "averaged_with_tokens": 9},
    }
    result = {
        "training": seen,
        "exact_trained": {"a": 90.0, "b": 40.0},
        "exact_held_out_instructed": {"c": 10.0},
        "exact_other": {"tool_arguments": 96.0, "held_out_tool_arguments": 21.0, "word_problem": 16.0},
        **{"parameters": 6_000_000, "examples_per_family": 20, "copy": 98.0, "held_out_loss": 0.1},
        **{"median_exact_trained": 65.0, "mean_exact_trained": 65.0},
    }
    text = card(mini_path(), result)
    assert "It saw 2.5 M tokens, padding included, in 1,300 steps; it trained on 1.6 M of them." in text
    assert "That took 1.5 hours" in text
    assert "| arguments of an auxiliary tool as JSON | 96% |" in text
    assert "| arguments of a held-out tool (51 to 100) as JSON | 21% |" in text


def test_the_card_is_that_of_the_committed_figures() -> None:
    result = json.loads((ROOT / "results/mini/backbone.json").read_text())
    assert (mini_path() / "README.md").read_text("utf-8") == card(mini_path(), result)


@pytest.mark.parametrize(
    ("skill", "tools"), [("tool_arguments", AUXILIARY), ("held_out_tool_arguments", HELD_OUT)]
)
def test_arguments_are_measured_on_auxiliary_and_on_held_out_tools(skill: str, tools: tuple) -> None:
    lines, rng = {schema_line(tool) for tool in tools}, Random(0)
    drawn = [OTHER[skill](rng) for _ in range(300)]
    assert {query.rpartition("\n")[2] for query, _ in drawn} <= lines
    assert len({query.rpartition("\n")[2] for query, _ in drawn}) > 40
    assert all(isinstance(json.loads(response), dict) for _, response in drawn)
