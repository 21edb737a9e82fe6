"""Every command and snippet of README and docs is one that exists; `test_pages.py` executes them."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.docs.fences import PAGES, ROOT, blocks, page_commands, prose_commands
from tokmem.cli.main import app
from tokmem.config import load_config
from tokmem.data.calls.files import read_calls
from tokmem.data.calls.xlam import read_xlam
from tokmem.data.jsonl import read_jsonl, read_procedures
from tokmem.tracks.registry import track_of

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
ENGINES = (
    "llama-server",
    "transformers",
    "vllm",
    "sglang",
)  # the page says which of them were run
LAUNCHERS = ("torchrun", "accelerate")
LANGUAGES = {"bash", "python", "json", "yaml", "console", "text"}


@every_page
def test_every_block_names_its_language(page: Path) -> None:
    code_map = "src/tokmem/\n"  # in the README
    assert {b.language for b in blocks(page) if not b.text.startswith(code_map)} <= LANGUAGES


@every_page
def test_commands_and_options_exist(page: Path) -> None:
    for program, *words in (*page_commands(page), *prose_commands(page)):
        if program in LAUNCHERS:  # of a script, or of a module
            if "-m" in words:
                _, program, *words = words[words.index("-m") :]
            else:
                continue
        if program == "tokmem":
            value = (
                ["x"] if words[-1].startswith("--") else []
            )  # a sentence names an option without its value
            done = CliRunner().invoke(app, [*words, *value, "--help"])
            assert done.exit_code == 0, (words, done.output)
        elif program == "make":
            assert re.search(rf"^{words[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), words
        elif program == "pip":
            extras = set(re.findall(r"\w+", words[1]))
            assert words[0] == "install"
            assert extras <= set(
                re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
            )
        elif program == "python" and words[0] != "-m":
            assert (ROOT / words[0]).is_file(), words
        elif program == "python":
            if words[1].partition(".")[0] in ENGINES:
                continue
            assert importlib.util.find_spec(words[1]), words
        else:
            assert program in ENGINES, (program, words)


@every_page
def test_experiments_that_commands_run_can_be_read(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TOKMEM_SNI_DIR", "TOKMEM_TOOLCALLS", "TOKMEM_GSM8K_DIR", "TOKMEM_PASSAGES"):
        monkeypatch.setenv(name, "data")
    for words in page_commands(page):
        files = [ROOT / word for word in words if word.startswith("experiments/")]
        changes = [after for word, after in pairwise(words) if word == "--set"]
        for path in files:
            assert load_config(track_of(path).config, path, changes).track in (
                "atomic",
                "compositional",
                "capacity",
                "distil",
            )


@every_page
def test_settings_can_be_read(page: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TOKMEM_SNI_DIR", "tasks")
    for block in blocks(page):
        if block.language == "yaml":
            whole = "" if block.text.startswith("track:") else "track: atomic\nname: mine\n"
            (tmp_path / "own.yaml").write_text(whole + block.text)
            assert load_config(track_of(tmp_path / "own.yaml").config, tmp_path / "own.yaml").name


@every_page
def test_python_can_be_read_and_what_it_imports_is_there(page: Path) -> None:
    for block in blocks(page):
        if block.language == "python":
            lines = [
                node for node in ast.parse(block.text).body if isinstance(node, ast.Import | ast.ImportFrom)
            ]
            exec(compile(ast.Module(lines, []), page.name, "exec"), {})


def read(text: str, folder: Path) -> Sequence[object]:
    """Reads lines of JSON as the reader of their kind does."""
    first = json.loads(text if text.count("\n{") == 0 else text.splitlines()[0])
    path = folder / "rows.jsonl"
    path.write_text(text)
    if "response" in first or "turns" in first:
        return read_jsonl(path)
    if "description" in first:
        return read_procedures(path)
    path = path.with_suffix(".json")
    path.write_text(f"[{text}]")
    return read_calls(path) if "function_calls" in first else read_xlam(path).rows


@every_page
def test_rows_of_data_can_be_read(page: Path, tmp_path: Path) -> None:
    for block in blocks(page):
        if block.language == "json":
            assert read(block.text, tmp_path)


def test_links_of_the_readme_lead_somewhere() -> None:
    """`make docs` checks those of the site."""
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text("utf-8")):
            assert (ROOT / target).is_file(), f"{page.name}: {target}"
