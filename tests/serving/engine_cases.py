"""Real engines on an exported bank, asked with the official client: what they must answer, case by case.

`python -m tests.serving.engine_cases` writes results/serving/engines.json; a test asks the same.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, get_args

from tests.serving.memorised import AGAIN, ASKED, CASES, LIMA, PROCEDURES, RESULT, TEN, memorised
from tokmem.data.calls.text import CallStyle
from tokmem.export import export
from tokmem.export.card import FACTS
from tokmem.export.spelling import spelled_calls, unescaped
from tokmem.files import atomic_write_json, read_json
from tokmem.methods.tokmem import TokMem
from tokmem.provenance import provenance
from tokmem.records import Turn
from tokmem.serving.client import tool_list
from tokmem.serving.engines import ENGINES, Engine, Load
from tokmem.serving.server import Server, serving

OUT = Path(__file__).parents[2] / "results/serving/engines.json"
PACKAGES = {"llama.cpp": "xllamacpp", "transformers": "transformers"}
TOOLS = tool_list(PROCEDURES)
LONGEST = 200  # tokens of an answer
HISTORY = (
    {"role": "user", "content": ASKED},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "call-1",
                "type": "function",
                "function": {"name": LIMA.procedure, "arguments": LIMA.response},
            }
        ],
    },
    {"role": "tool", "tool_call_id": "call-1", "content": RESULT},
    {"role": "user", "content": AGAIN},
)


class Said(NamedTuple):
    """Calls, with arguments as JSON values, and plain text."""

    calls: list[tuple[str, Any]]
    text: str


def own_answers(memory: TokMem) -> dict[str, Said]:
    """What our own recall answers; the conversation was learned by heart."""
    tools = {tool.name for tool in PROCEDURES if tool.parameters}
    answers = {
        name: memory.recall(example.query, mode="chain", reject=True, max_new_tokens=LONGEST)
        for name, example in CASES.items()
    }
    return {
        **{
            name: _said([t for t in a.turns if t.procedure in tools])
            if name != "free text"
            else Said([], a.response)
            for name, a in answers.items()
            if a.turns
        },
        "plain": Said([], answers["plain"].text),
        "history": _said([TEN]),
    }


def _said(turns: Sequence[Turn]) -> Said:
    return Said([(turn.procedure, json.loads(turn.response)) for turn in turns], "")


def asked(server: Server, messages: Sequence[Any], tools: Sequence[Any], stream: bool) -> Said:
    """Asks with the official client; calls in the text count, for an engine without tools gives them so."""
    from openai import NOT_GIVEN, OpenAI

    with OpenAI(base_url=server.url, api_key="none", max_retries=0) as client:
        made = client.chat.completions.create(
            model=server.model,
            messages=list(messages),
            tools=list(tools) or NOT_GIVEN,
            temperature=0,
            max_tokens=LONGEST,
            stream=stream,
        )
        calls, text = _streamed(made) if stream else _whole(made.choices[0].message)
    before, spelled = spelled_calls(text)
    return Said([(unescaped(name), json.loads(arguments)) for name, arguments in calls + spelled], before)


def _whole(message: Any) -> tuple[list[tuple[str, str]], str]:
    calls = [(call.function.name, call.function.arguments) for call in message.tool_calls or ()]
    return calls, message.content or ""


def _streamed(chunks: Any) -> tuple[list[tuple[str, str]], str]:
    names: dict[int, str] = {}
    arguments: dict[int, str] = {}
    text = ""
    for delta in (chunk.choices[0].delta for chunk in chunks if chunk.choices):
        text += delta.content or ""
        for call in delta.tool_calls or ():
            names[call.index] = names.get(call.index, "") + (call.function.name or "")
            arguments[call.index] = arguments.get(call.index, "") + (call.function.arguments or "")
    return [(names[index], arguments[index]) for index in names], text


def rows(engine: Engine, folder: Path, wanted: Mapping[str, Said], log: Path) -> Iterator[dict[str, Any]]:
    """Asks an engine every case: with and without tools, whole and streamed."""
    spelling = read_json(folder / FACTS, dict, "export again")["spelling"]
    facts = {"engine": engine.name, "version": version(PACKAGES[engine.name]), "spelling": spelling}
    with serving(engine, folder, log, load=Load(threads=1)) as server:
        for case, expected in wanted.items():
            messages = HISTORY if case == "history" else [{"role": "user", "content": CASES[case].query}]
            for tools in (TOOLS, ()):
                for stream in (False, True):
                    got = asked(server, messages, tools, stream)
                    ways = {"tools": bool(tools), "stream": stream}
                    yield {**facts, "case": case, **ways, "ok": got == expected}


def export_for(engine: Engine, memory: TokMem, home: Path) -> Path:
    """Exports the memory in the engine's form."""
    options = {"source": home / "tiny.gguf"} if engine.form == "gguf" else {}
    return export(memory, home / engine.form, to=engine.form, **options).folder  # type: ignore[arg-type]


def main() -> None:
    found: list[dict[str, Any]] = []
    for style in get_args(CallStyle):
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder)
            memory = memorised(home, style)
            wanted = own_answers(memory)
            for engine in ENGINES.values():
                found += rows(engine, export_for(engine, memory, home), wanted, home / "log")
    facts = provenance(0, "", memory.backbone.fingerprint, "cpu")
    atomic_write_json(OUT, {"rows": found, "provenance": facts})


if __name__ == "__main__":
    main()
