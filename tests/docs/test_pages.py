"""The commands and the Python of each page run in the order of the page, in a folder of their own.

Here on `mini` and on little data. What names results of hours, an engine or a GPU is not run: `test_words.py`
reads it, as it does with the pages that are not listed below. `.ci/run` runs the quick ones.
"""

from __future__ import annotations

import glob
import json
import shlex
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from typer.testing import CliRunner

from tests.cli.test_mistakes import write_task
from tests.docs.fences import ROOT, Block, blocks, commands
from tests.methods.test_memory import StandIn
from tokmem import TokMem
from tokmem.cli.main import app

pytestmark = pytest.mark.slow
FEW = ["--backbone", "mini", "--max-new-tokens", "2"]
TOOLS = [*("--train-size", "200", "--val-size", "4", "--test-size", "4", "--samples-per-tool", "12")]
CHEAPER = {
    "train": [*FEW, "--epochs", "1", "--train-size", "6", "--val-size", "1", "--test-size", "1"],
    "tools": [*TOOLS, *FEW, "--train-max-calls", "1", "--epochs-per-round", "1"],
    "eval": ["--max-new-tokens", "2"],
    "recall": ["--max-new-tokens", "2"],
    "data compose": [
        *("--train-size", "40", "--val-size", "4", "--test-size", "4", "--samples-per-tool", "6")
    ],
    "bank add": ["--epochs", "1"],
    "bank compose": ["--epochs", "1"],
    "learn": ["--backbone", "mini", "--max-new-tokens", "4", "--make", "8", "--epochs", "1", "--yes"],
}
# What a page needs that is made on another page.
BEFORE = {
    "cli": ["tools --out runs/tools --methods tokmem_dc --seeds 0", "data compose --tools 51-100"],
    "learn": ["train my.jsonl"],
    "procedures": ["train my.jsonl"],
    "report": ["train my.jsonl --out runs/demo --methods tokmem"],
    "tools": ["tools --out runs/tools --methods tokmem_dc --seeds 0"],
    "serving": ["tools --out runs/tools --methods tokmem --seeds 0"],
}
# Results of hours, engines, and folders that stand for the reader's own; test_words.py reads these lines.
NOT_RUN = (
    "serve ",
    "export BANK",
    "run experiments/",
    "tools experiments/",
    "backbone get",
    "backbone path smollm2",
    "backbone remove",
)
CORPUS = {
    "more.jsonl": ("upper",),
    "other.jsonl": ("message_sender", "order_to_json"),
    "tasks.jsonl": ("upper", "lower", "title"),
    "shout.jsonl": ("shout",),
}
SHOWN = {"upper": str.upper, "lower": str.lower, "title": str.title, "shout": str.upper}
WORDS = "tree house river stone cloud window garden letter bridge candle".split()


def write_corpora(folder: Path) -> None:
    for name, procedures in CORPUS.items():
        rows = [
            {"query": f"{p}: {word}", "turns": [{"procedure": p, "response": SHOWN.get(p, str)(word)}]}
            for p in procedures
            for word in WORDS
        ]
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "prompt.txt").write_text("Write the text in capital letters.\n")
    (folder / "natural-instructions").mkdir()
    for number in range(10):
        write_task(folder / "natural-instructions/tasks", f"task{number:03}_say")
    calls = [call(tool, time) for tool in range(100) for time in range(6)]
    (folder / "xlam_function_calling_60k.json").write_text(json.dumps(calls))
    for name in ("experiments", "results"):
        (folder / name).symlink_to(ROOT / name)


def call(tool: int, time: int) -> dict[str, Any]:
    """A row that calls one tool, in xlam's columns."""
    name, city = f"look_up_{tool}", WORDS[time]
    known = {"name": name, "description": "Looks up.", "parameters": {"city": {"type": "str"}}}
    answer = {"name": name, "arguments": {"city": city}}
    return {
        "id": 10 * tool + time,
        "query": f"look up {tool} in {city}",
        "answers": [answer],
        "tools": [known],
    }


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that pages name; `mini` is the default backbone, and the hub a folder."""
    monkeypatch.chdir(tmp_path)
    write_corpora(tmp_path)
    assert invoke("init").exit_code == 0
    monkeypatch.setattr(TokMem.__init__, "__defaults__", ("mini", None))
    StandIn.hub = tmp_path / "hub"
    monkeypatch.setattr(huggingface_hub, "HfApi", StandIn)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, **_: str(StandIn.hub / name))
    return tmp_path


def invoke(*words: str) -> Any:
    return CliRunner().invoke(app, ["-q", *words])


def run_command(words: list[str]) -> None:
    if " ".join(words).startswith(NOT_RUN) or "--url" in words:
        return
    words = [found for word in words for found in (sorted(glob.glob(word)) if "*" in word else [word])]
    group = " ".join(words[: 2 if words[0] in ("bank", "data", "backbone") else 1])
    done = invoke(*words, *CHEAPER.get(group, []))
    assert done.exit_code == 0, f"tokmem {shlex.join(words)}\n{done.output}"


def run_block(block: Block, names: dict[str, Any]) -> None:
    # One block needs a GPU, another several launched processes (tests/cli/test_launched.py has those).
    if block.language == "python" and not any(name in block.text for name in ("4bit", "torch.distributed")):
        exec(block.text.replace('"smollm2"', '"mini"'), names)
    if block.language == "bash":
        for program, *words in commands(block):
            if program == "tokmem":
                run_command(words)


@pytest.mark.parametrize(
    "page",
    ["README", *"api backbones cli data gpus learn procedures reject report routing serving tools".split()],
)
def test_a_page_runs_from_top_to_bottom(page: str, stage: Path) -> None:
    for line in BEFORE.get(page, []):
        run_command(shlex.split(line))
    names: dict[str, Any] = {"__name__": page}
    for block in blocks(ROOT / ("README.md" if page == "README" else f"docs/{page}.md")):
        run_block(block, names)
