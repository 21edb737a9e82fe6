"""Two processes answer what one does."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from tests.data.tiny_chat import LLAMA, tiny_tokenizer
from tests.tiny import tiny_backbone
from tests.train.test_parallel import free_port
from tokmem.methods.base import Base
from tokmem.methods.protocol import Method
from tokmem.methods.shared import answer_both, answer_shared
from tokmem.methods.tokmem import TokMem
from tokmem.recall.settings import RecallSettings
from tokmem.records import Answer, Choice, Example, Procedure, Route, Turn
from tokmem.train.parallel import Processes

QUERIES = ["France", "Chad is", "Peru", "Göteborg", "Today"]


def memory() -> TokMem:
    recall = RecallSettings(mode="chain", max_new_tokens=4, batch_size=2)
    made = TokMem(tiny_backbone(tiny_tokenizer(LLAMA)), prompt="query", recall=recall)
    made.add([Procedure("capital"), Procedure("date")])
    made.bank.freeze()
    return made


def answered() -> str:
    answers = answer_shared(memory(), [Example(query) for query in QUERIES])
    return json.dumps([asdict(answer) for answer in answers])


def main(index: int, port: int, folder: Path) -> None:
    """What `torchrun` would start."""
    names = {"RANK": index, "LOCAL_RANK": index, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
    os.environ |= {name: str(value) for name, value in names.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    (folder / f"{index}.json").write_text(answered())
    torch.distributed.destroy_process_group()


def test_alone_it_is_the_methods_own() -> None:
    made, examples = memory(), [Example(query) for query in QUERIES]
    assert answer_shared(made, examples) == made.answer(examples)
    base = Base(made.backbone, recall=RecallSettings(max_new_tokens=2))
    assert answer_shared(base, examples) == base.answer(examples), "without a route"
    assert answer_shared(base, []) == []


class Recorder(Method):
    """A method that writes down what it is asked with the right procedures given."""

    forces = True

    def __init__(self) -> None:
        self.given = list[str]()

    def answer(self, examples: Any, *, forced: bool = False) -> list[Answer]:
        if forced:
            self.given += [example.query for example in examples]
        return [Answer(e.query, text=f"{e.query}, {forced}") for e in examples]

    def settled(self, example: Example, answer: Answer) -> bool:
        return example.query == "two"


def test_only_what_is_not_settled_is_asked_again() -> None:
    method, examples = Recorder(), [Example(query) for query in ("one", "two", "three")]
    answers, forced, _ = answer_both(method, examples)
    assert method.given == ["one", "three"]
    assert [answer.text for answer in forced] == ["one, True", "two, False", "three, True"]
    assert [answer.text for answer in answers] == ["one, False", "two, False", "three, False"]


@pytest.mark.parametrize(
    ("recalled", "text", "options", "settled"),
    [
        ("ab", "", {}, True),
        ("ba", "", {}, False),
        ("a", "", {}, False),
        ("abb", "", {}, False),
        ("", "", {}, False),
        ("ab", "Well, ", {}, False),  # with its token given, nothing stands before it
        ("ab", "", {"temperature": 0.5}, False),
        ("ab", "", {"reject": True}, False),
    ],
)
def test_an_answer_of_the_right_procedures_is_settled(
    recalled: str, text: str, options: dict[str, Any], settled: bool
) -> None:
    made = memory()
    made.recall_settings = replace(made.recall_settings, **options)
    example = Example("q", tuple(Turn(name, "right") for name in "ab"))
    assert made.settled(example, Answer("q", tuple(Turn(name, "x") for name in recalled), text)) is settled


def test_a_right_answer_is_the_same_with_its_token_given() -> None:
    made = memory()
    examples = [Example(query, (Turn(name, "x"),)) for query in QUERIES for name in ("capital", "date")]
    answers, forced, _ = answer_both(made, examples)
    assert [a.turns for a in forced] == [a.turns for a in made.answer(examples, forced=True)]
    assert any(answer is given for answer, given in zip(answers, forced, strict=True))


@pytest.mark.slow
def test_two_processes_give_all_answers_in_order(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(main, (free_port(), tmp_path), nprocs=2)
    first, second = (json.loads((tmp_path / f"{i}.json").read_text()) for i in (0, 1))
    assert first == second
    alone = json.loads(answered())
    assert [a["query"] for a in first] == QUERIES == [a["query"] for a in alone]
    assert [a["turns"] for a in first] == [a["turns"] for a in alone]
    for got, wanted in zip(first, alone, strict=True):
        likely = wanted["route"]["choices"][0]
        assert got["route"]["choices"][0]["procedure"] == likely["procedure"]
        assert got["route"]["choices"][0]["probability"] == pytest.approx(likely["probability"], rel=1e-4)


def test_answers_come_in_the_order_of_the_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    class Echo:
        def answer(self, examples: Any, *, forced: bool = False) -> list[Answer]:
            route = Route((Choice("a", 1.0),), rejected=forced, memory_mass=0.5)
            return [Answer(e.query, (Turn("a", e.query),), route=route, routes=(route,)) for e in examples]

    examples, method = [Example(word) for word in ("one", "two", "three")], cast(Any, Echo())
    others = json.dumps([asdict(answer) for answer in method.answer(examples[1::2])])
    monkeypatch.setattr("tokmem.methods.shared.join_processes", lambda: Processes(0, 2))
    monkeypatch.setattr(Processes, "gather", lambda self, text: [text, others])
    assert answer_shared(method, examples) == method.answer(examples)
