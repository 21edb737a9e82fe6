from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from bench.recall import asked_for, divergences, main, margin, measure, summarise
from bench.recall_contenders import Answers, Contender, Ids, contenders
from tests.tiny import STOP, tiny_bank, tiny_model
from tokmem.errors import ConfigError


@pytest.mark.parametrize("policy", ["spare", "append"])
def test_contenders_give_the_same_answers(policy: str) -> None:
    rng = Random(0)
    prompts = [[2, *(rng.randrange(3, 90) for _ in range(rng.randint(1, 20)))] for _ in range(9)]
    limits = [rng.randint(1, 8) for _ in prompts]
    bank = tiny_bank(True, policy, frozen=2, fresh=3)
    runs = contenders(tiny_model("llama-tied"), bank, [STOP], 4, 3, 8)
    answers = {name: run(prompts, limits) for name, run in runs.items()}
    for name, found in answers.items():
        assert found == answers["generate"], name
    assert all(ids[0] in bank.head_ids.tolist() for ids in answers["generate"])
    assert all(len(ids) <= limit for ids, limit in zip(answers["generate"], limits, strict=True))


def test_divergences_name_the_first_token_that_differs() -> None:
    found = divergences([[1, 2, 3], [1, 2], [5]], [[1, 9, 3], [1, 2, 3], [5]])
    assert found == [
        {"query": 0, "position": 1, "got": 2, "wanted": 9},
        {"query": 1, "position": 2, "got": -1, "wanted": 3},
    ]


def test_a_margin_counts_steps_of_the_resolution() -> None:
    model = tiny_model("llama-tied")
    assert margin(model, [2, 3, 4], 7, 7) == 0
    assert margin(model, [2, 3, 4], 7, 8) > 100


def test_rows_are_set_against_the_first() -> None:
    base = {"answers": [[1], [2]], "seconds": [4.0, 8.0, 6.0], "cpu_seconds": []}
    ours = base | {"answers": [[1], [3]], "seconds": [2.0, 2.0, 1.0]}
    first, second = summarise({"generate": base, "tokmem": ours})
    assert (first["speedup"], first["identical"], first["queries_per_second"]) == (1.0, 1.0, 2 / 6)
    assert (second["speedup"], second["identical"], len(second["divergences"])) == (3.0, 0.5, 1)


def test_the_first_is_always_measured() -> None:
    all_ = {name: lambda prompts, limits: [[0] for _ in prompts] for name in ("generate", "other", "tokmem")}
    assert [*asked_for(all_, [])] == ["generate", "other", "tokmem"]
    assert [*asked_for(all_, ["tokmem"])] == ["generate", "tokmem"]
    with pytest.raises(ConfigError, match="'none'"):
        asked_for(all_, ["none"])


def test_contenders_take_turns() -> None:
    turns = []

    def named(name: str) -> Contender:
        def run(prompts: Sequence[Ids], limits: Sequence[int]) -> Answers:
            turns.append((name, len(prompts)))
            return [[len(turns)] for _ in prompts]

        return run

    found = measure({"a": named("a"), "b": named("b")}, [[1]] * 3, [1] * 3, 2)
    assert turns == [("a", 2), ("b", 2), ("a", 3), ("b", 3), ("a", 3), ("b", 3)]
    assert [len(row["seconds"]) for row in found.values()] == [2, 2]
    assert found["a"]["answers"] == [[5]] * 3


@pytest.mark.slow
def test_whole_run_from_a_bare_clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOKMEM_SNI_DIR", raising=False)
    small = "--layers 2 --hidden 32 --heads 4 --kv-heads 2 --intermediate 48 --vocab 6200 --dtype float32"
    out = tmp_path / "recall.json"
    both = ("--backbone", "random", "--backbone", "mini", "--rounds", "1")
    main(
        [
            *small.split(),
            *both,
            "--queries",
            "12",
            "--procedures",
            "4",
            "--max-length",
            "2048",
            "--out",
            str(out),
        ]
    )
    result = json.loads(out.read_text())
    assert len(result["rows"]) == 10
    assert result["rows"][-1]["name"] == f"tokmem; {result['models'][1]['backbone']}, float32"
    assert all(row["queries_per_second"] > 0 for row in result["rows"])
    assert all(row["identical"] == 1 for row in result["rows"])
