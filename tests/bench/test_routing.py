from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from bench.routing import cut, follow, main, order_rows, spread, stand_in_rows, text_rows
from bench.routing_learners import Closed, Learner, NearestMean, Trained, _loss
from bench.routing_reject import reject_rows
from bench.routing_states import Read, TaskStates
from bench.routing_texts import read_texts
from tests.bank.gaussians import clouds
from tests.tiny import tiny_lm
from tokmem.bank.policy import ClosedForm
from tokmem.data.corpus import Corpus
from tokmem.records import Example, Procedure, Turn
from tokmem.report.page import page_sections
from tokmem.report.read import read_result
from tokmem.seeds import generator
from tokmem.train.loss import memory_loss


def tasks(count: int, *, dim: int = 16, train: int = 10, made: int = 0) -> list[TaskStates]:
    """Tasks whose states are Gaussian clouds, those of stand-in queries too."""

    def read(states: torch.Tensor) -> Read:
        return Read(states, torch.full((len(states),), 8.0), torch.full((len(states),), 9.0))

    states = clouds(count, train + 5 + made, dim=dim, spread=2.0)
    cuts = [train, 5, made]
    return [TaskStates(name, *map(read, own.split(cuts))) for name, own in states.items()]


def test_the_rival_is_trained_by_the_loss_of_the_library() -> None:
    lm = tiny_lm("llama", coupled=False, policy="append")
    states, ids = torch.randn(5, lm.bank.dim), lm.bank.head_ids
    total, labels = lm.head.frozen(states).logsumexp(-1), torch.tensor([0, 3, 1, 4, 2])
    wanted = memory_loss(lm.head, states, ids[labels]).total
    torch.testing.assert_close(_loss(lm.bank.addresses(), states, total, labels), wanted)


@pytest.mark.parametrize(
    "make", [lambda: Closed(ClosedForm()), lambda: Closed(ClosedForm("frozen")), NearestMean]
)
def test_computed_addresses_lose_nothing(make: type[Learner]) -> None:
    scores = follow(make(), tasks(25))
    assert scores["routing_accuracy"] > 80
    assert scores["routing_accuracy"] > scores["when_learned"] - 10


def test_stand_ins_help_few_examples_and_need_none() -> None:
    plain = follow(Closed(ClosedForm()), tasks(25, train=2))["routing_accuracy"]
    rows = stand_in_rows(tasks(25, train=2, made=16), "instruction+query", (25,), (0, 2))
    assert {row["examples"]: row["routing_accuracy"] > plain for row in rows} == {0: True, 2: True}
    assert stand_in_rows(tasks(25), "query", (25,), (4,)) == [], "the query alone shows no instruction"


def test_trained_addresses_learn_a_block() -> None:
    start = torch.randn(16, generator=generator(0, "start"))
    assert follow(Trained(start, 0.05, epochs=30), tasks(8))["routing_accuracy"] > 80
    alone, kept = Trained(start, 0.05, epochs=30), Trained(start, 0.05, epochs=30, kept=8)
    assert follow(kept, tasks(30))["routing_accuracy"] > follow(alone, tasks(30))["routing_accuracy"]


class Words:
    """Stands for Sentence-BERT: a text is the words that it holds."""

    name = "words"

    def __call__(self, texts: Sequence[str]) -> torch.Tensor:
        known = ("count", "add", "one", "two", "three")
        return torch.tensor([[float(word in text) for word in known] for text in texts])


def test_texts_are_read_once_and_an_instructed_pool_knows_the_task(tmp_path: Path) -> None:
    """By the query alone both tasks are alike; with the instruction on both sides they are not."""
    procedures = tuple(Procedure(name) for name in ("count", "add"))
    examples = {
        p.name: tuple(Example(q, (Turn(p.name, "x"),), p.name) for q in ("one", "two")) for p in procedures
    }
    corpus = Corpus(procedures, examples, {}, examples)
    vectors = read_texts(Words(), tmp_path, corpus, 2, 2)
    again = read_texts(lambda _: pytest.fail("read again"), tmp_path, corpus, 2, 2)  # type: ignore[arg-type]
    assert torch.equal(again["add"]["query"][0], vectors["add"]["query"][0])
    rows = text_rows(vectors, "instruction+query", (2, 3), (1, 2))
    scores = {(row["method"], row["examples"]): row["routing_accuracy"] for row in rows}
    assert scores == {("rag", 1): 50, ("rag", 2): 50, ("rag_instructed", 1): 100, ("rag_instructed", 2): 100}
    assert {row["method"] for row in text_rows(vectors, "query", (2,), (2,))} == {"rag"}


def test_orders_leave_computed_routes_as_they_are() -> None:
    rows = order_rows(tasks(20), "query", torch.zeros(16), 0.02, 20, 10)
    lines = {line["addresses"]: line for line in spread(rows)}
    assert lines["closed, updated"]["std"] == 0.0
    assert lines["closed, updated"]["changed_routes"] == 0.0
    assert lines["trained"]["changed_routes"] > 0.0


def test_tasks_with_too_few_examples_are_left_out() -> None:
    short = tasks(2, train=4)
    assert [len(task.train.states) for task in cut([*tasks(2), *short], 6)] == [6, 6]


def test_strangers_are_told_from_known_queries() -> None:
    chat = Read(100 + torch.randn(7, 16), torch.full((7,), 8.0), torch.full((7,), 9.0))
    rows = reject_rows(tasks(30), "query", 10, chat, Trained(torch.zeros(16), 0.02))
    fits = next(row for row in rows if row["measure"] == "fit (closed)")
    assert not any("stand-ins" in row["measure"] for row in rows)
    wide = reject_rows(tasks(30, made=16), "instruction+query", 10, chat, Trained(torch.zeros(16), 0.02))
    assert 0.5 < next(r for r in wide if r["measure"] == "fit (closed, stand-ins)")["auroc_unseen"] <= 1
    assert (fits["tasks"], fits["unseen_tasks"]) == (20, 10)
    assert 50 < 100 * fits["auroc_unseen"] <= 100
    assert [entry["stated"] for entry in fits["stated_rates"]] == pytest.approx([1, 5, 10, 20])
    accepted = [entry["accepted_known"] for entry in fits["stated_rates"]]
    assert accepted == sorted(accepted)
    assert 0 <= fits["calibration_error"] <= 100


def test_a_measurement_reads_once_and_writes_both_results(tmp_path: Path) -> None:
    folder = tmp_path / "tasks"
    folder.mkdir()
    for number in range(6):
        task = {
            "Definition": [f"Write the word number {number} of the text."],
            "Input_language": ["English"],
            "Output_language": ["English"],
            "Instruction_language": ["English"],
            "Positive Examples": [],
            "Instances": [{"input": f"some text {i} of {number}", "output": [str(i)]} for i in range(9)],
        }
        (folder / f"task{number:03d}_words.json").write_text(json.dumps(task))
    arguments = [
        *("--tasks-dir", str(folder), "--states", str(tmp_path / "states"), "--out", str(tmp_path)),
        *("--backbone", "mini", "--dtype", "float32", "--sizes", "3", "6", "--examples", "2", "4"),
        *("--test", "4", "--few", "2", "2", "--deep", "3"),
    ]
    main(arguments)
    files = sorted((tmp_path / "states").glob("*/*.safetensors"))
    assert len(files) == 2 * (6 + 3) + 6 + 1, "stand-in queries in one of the two prompt modes"
    times = [file.stat().st_mtime_ns for file in files]
    main(arguments)
    assert [file.stat().st_mtime_ns for file in files] == times
    result = read_result(tmp_path / "routing.json")
    shapes = {(r["tasks"], r["examples"]) for r in result["rows"] if "stand-ins" not in r["addresses"]}
    assert shapes == {(3, 2), (3, 4), (6, 2)}
    reject = read_result(tmp_path / "reject.json")
    (section,) = [s for s in page_sections([result, reject]) if s.title == "Routing by states"]
    assert len(section.blocks) == 3
