"""Tools in the prompt: their descriptions, how many fit, which are retrieved, and what is saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.data.tiny_chat import LLAMA, tiny_tokenizer
from tests.tiny import WordCounts, recorded_prompts, tiny_backbone
from tokmem.data.calls.schema import signature
from tokmem.errors import ConfigError, RecallError, TokMemError
from tokmem.methods.tool_prompt import ToolPrompt
from tokmem.mini.tools import TOOLS
from tokmem.model.backbone import Backbone
from tokmem.recall.settings import RecallSettings
from tokmem.records import Example, Procedure, Turn

RECALL = RecallSettings(max_new_tokens=3)
CHOSEN = [Procedure(tool.name, tool.description, tool.parameters) for tool in TOOLS[:6]]
TRAIN = [Example(f"query {i}", (Turn(CHOSEN[0].name, f'{{"name": "{i}"}}'),)) for i in range(5)]
WEATHER = Example("tells the weather in a city", (Turn(CHOSEN[0].name, "{}"),))


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return tiny_backbone(tiny_tokenizer(LLAMA))


def learned(backbone: Backbone, **options: Any) -> ToolPrompt:
    made = ToolPrompt(backbone, **{"recall": RECALL} | options)
    made.learn(CHOSEN[:3], TRAIN, [])
    made.learn(CHOSEN[3:], [], [])
    return made


def prompt_text(made: ToolPrompt, prompts: list[list[int]], place: int = -1) -> str:
    return made.encoder.chat.decode(prompts[place])


def test_a_tool_is_one_line() -> None:
    odd = {"properties": {"a": {"type": ["string", "null"]}, "b": {}}, "required": ["b"]}
    assert signature(Procedure("f", "Two\nlines", odd)) == "f(a?: string or null, b: any): Two lines"
    assert signature(Procedure("f")) == "f(): "
    either = {"a": {"anyOf": [{"type": "string"}, {"type": "null"}]}, "b": {"enum": ["on", 1]}}
    assert signature(Procedure("f", "", {"properties": either})) == 'f(a?: string or null, b?: "on" or 1): '


def test_all_tools_and_two_demonstrations_stand_before_the_query(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = recorded_prompts(monkeypatch)
    made = learned(backbone, max_length=4000)
    made.answer([WEATHER])
    text = prompt_text(made, prompts)
    places = [text.index(signature(tool)) for tool in CHOSEN]
    assert places == sorted(places)
    assert text.index("query ") < places[0]
    assert text.count('{"name": "') == 2
    assert text.index(WEATHER.query) > places[-1]
    assert made.notes == {"few_shot": 2, "fewest_tools_shown": 6, "most_tools_shown": 6}


@pytest.mark.parametrize("seed", range(4))
def test_one_demonstration_shows_a_chain(backbone: Backbone, seed: int) -> None:
    chain = Example("both", (Turn(CHOSEN[0].name, '{"name": "a"}\n{"name": "b"}'),))
    made = ToolPrompt(backbone, recall=RECALL, seed=seed)
    made.learn(CHOSEN, [*TRAIN, chain], [])
    assert [one.query for one in made.shown].count("both") == 1
    assert len({one.query for one in made.shown}) == 2
    none = ToolPrompt(backbone, recall=RECALL, few_shot=0, seed=seed)
    none.learn(CHOSEN, [*TRAIN, chain], [])
    assert none.shown == ()


def test_as_many_tools_as_fit(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = recorded_prompts(monkeypatch)
    whole = learned(backbone, max_length=4000)
    whole.answer([WEATHER])
    room = len(prompts[0]) - 1
    made = learned(backbone, max_length=room)
    made.answer([WEATHER])
    assert len(prompts[-1]) <= room
    assert made.notes["most_tools_shown"] == 5
    assert signature(CHOSEN[4]) in prompt_text(made, prompts)
    assert signature(CHOSEN[5]) not in prompt_text(made, prompts)


def test_retrieved_and_given_tools(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = recorded_prompts(monkeypatch)
    made = learned(backbone, retriever=WordCounts(), retrieval_k=2)
    route = made.answer([WEATHER])[0].route
    assert route is not None
    assert route.procedure == "get_weather"
    assert len(route.choices) == 2
    text = prompt_text(made, prompts)
    assert {tool.name for tool in CHOSEN if signature(tool) in text} == {c.procedure for c in route.choices}
    assert made.notes["most_tools_shown"] == 2
    other = Example(WEATHER.query, (Turn(CHOSEN[5].name, "{}"),))
    assert made.answer([other], forced=True)[0].route == route, "what was retrieved, given or not"
    text = prompt_text(made, prompts)
    assert [tool for tool in CHOSEN if signature(tool) in text] == [CHOSEN[5]]
    with pytest.raises(RecallError, match="get_whether"):
        made.answer([Example("x", (Turn("get_whether", ""),))], forced=True)


@pytest.mark.parametrize("retriever", [None, WordCounts()])
def test_what_is_saved_answers_alike(
    backbone: Backbone, retriever: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = recorded_prompts(monkeypatch)
    made = learned(backbone, retriever=retriever, seed=3)
    made.save(tmp_path)
    again = ToolPrompt(backbone, retriever=retriever, recall=RECALL)
    with pytest.raises(RecallError, match="no tools to show"):
        again.answer([WEATHER])
    again.restore(tmp_path)
    assert made.answer([WEATHER]) == again.answer([WEATHER])
    assert prompts[-1] == prompts[-2]
    (path,) = tmp_path.iterdir()
    for odd in ([5], [{"name": "a", "kind": 1}]):
        path.write_text(json.dumps({"demonstrations": [], "tools": odd}))
        with pytest.raises(TokMemError, match="is damaged"):
            again.restore(tmp_path)


def test_numbers_out_of_range(backbone: Backbone) -> None:
    with pytest.raises(ConfigError, match="retrieval_k 0"):
        ToolPrompt(backbone, retrieval_k=0)
    with pytest.raises(ConfigError, match="few_shot -1"):
        ToolPrompt(backbone, few_shot=-1)
    with pytest.raises(ConfigError, match="room for a prompt"):
        ToolPrompt(backbone, max_length=64, recall=RecallSettings(max_new_tokens=64))


def test_prompt_and_answer_fit(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = recorded_prompts(monkeypatch)
    whole = learned(backbone)
    whole.answer([WEATHER])
    longest = len(prompts[-1])
    cut = learned(backbone, max_length=longest + RECALL.max_new_tokens - 1)
    cut.answer([WEATHER])
    assert len(prompts[-1]) < longest
