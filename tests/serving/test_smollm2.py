"""A bank of SmolLM2, taught a few tools, in unmodified engines that the official client asks."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.serving.engine_cases import PACKAGES, Said, asked
from tests.serving.memorised import MINUTES, PLACE
from tokmem.export import export
from tokmem.methods.tokmem import TokMem
from tokmem.recall.settings import RecallSettings
from tokmem.records import Example, Procedure, Turn
from tokmem.serving.client import tool_list
from tokmem.serving.engines import ENGINES, Engine, Load
from tokmem.serving.server import Server, serving

pytest.importorskip("openai")
pytestmark = pytest.mark.slow
PROCEDURES = (
    Procedure("weather.now", "Gives the weather of a place.", PLACE),
    Procedure("set timer", "Starts a timer.", MINUTES),
    Procedure("shout", "Writes a word in capitals."),
)
PLACES = "Lima Oslo Rome Cairo Paris Tokyo Berlin Madrid Dublin Athens Vienna Lisbon".split()
WORDS = "cat house river stone cloud window garden letter bridge candle horse table".split()


def weather(place: str) -> Example:
    return Example(f"What is the weather in {place}?", (Turn("weather.now", f'{{"place": "{place}"}}'),))


def timer(minutes: int) -> Example:
    return Example(f"Start a timer of {minutes} minutes.", (Turn("set timer", f'{{"minutes": {minutes}}}'),))


def both(place: str, minutes: int) -> Example:
    first, second = timer(minutes), weather(place)
    return Example(f"{first.query} {second.query}", (*first.turns, *second.turns))


def shout(word: str) -> Example:
    return Example(f"Shout {word}!", (Turn("shout", word.upper()),))


@pytest.fixture(scope="module")
def memory() -> TokMem:
    recall = RecallSettings(mode="chain", reject=True, max_new_tokens=64)
    made = TokMem("smollm2", coupled=False, addresses="closed", prompt="query", recall=recall)
    examples = [*map(weather, PLACES), *map(timer, range(5, 29, 2)), *map(shout, WORDS)]
    examples += [both(place, 30 + i) for i, place in enumerate(PLACES)]
    made.add(PROCEDURES)
    made.fit(examples, lr=0.02, epochs=6, batch_size=8)
    return made


@pytest.fixture(scope="module", params=list(ENGINES))
def server(
    request: pytest.FixtureRequest, memory: TokMem, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    engine: Engine = ENGINES[request.param]
    if not engine.installed():
        pytest.skip(f"needs {PACKAGES[engine.name]}")
    home = tmp_path_factory.mktemp("served")
    folder = export(memory, home / engine.form, to=engine.form).folder
    with serving(engine, folder, home / "log", load=Load(context=2048, threads=1)) as running:
        yield running


def own(memory: TokMem, query: str) -> Said:
    """What our own recall answers; the response of a free-text procedure counts as text."""
    answer = memory.recall(query)
    tools = [turn for turn in answer.turns if memory[turn.procedure].parameters]
    calls = [(turn.procedure, json.loads(turn.response)) for turn in tools]
    return Said(calls, "" if calls else answer.response)


CASES = {
    "single": weather("Bern").query,
    "another": timer(44).query,
    "chain": both("Prague", 12).query,
    "free text": shout("apple").query,
    "plain": "Which ocean is the largest one on Earth?",
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("case", CASES)
def test_answers_are_those_of_recall(case: str, stream: bool, memory: TokMem, server: Server) -> None:
    """llama.cpp serves rows of fewer bits: there the tools must be the same, where one fits the query."""
    if case == "plain" and server.engine.form == "gguf":
        pytest.skip("no procedure fits the query, so fewer bits may decide which one is nearest")
    expected, messages = own(memory, CASES[case]), [{"role": "user", "content": CASES[case]}]
    got = asked(server, messages, tool_list(PROCEDURES), stream)
    assert [name for name, _ in got.calls] == [name for name, _ in expected.calls]
    assert bool(got.text) == bool(expected.text)
    if server.engine.form == "hf":
        assert (got.calls, got.text.strip()) == (expected.calls, expected.text.strip())
