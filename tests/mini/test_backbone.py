"""The bundled backbone: what it is, and that committed results belong to it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tokmem.data.chat import Chat
from tokmem.model.backbone import Backbone, load_backbone
from tokmem.model.catalog import MINI, mini_path

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def mini() -> Backbone:
    return load_backbone(MINI)


def fingerprints(value: object) -> Iterator[str]:
    """Every `backbone_fingerprint` in a result, however deep; not those of backbones that it adapted."""
    if isinstance(value, dict):
        for key, entry in value.items():
            if key == "adaptations":
                continue
            if key == "backbone_fingerprint":
                yield entry
            yield from fingerprints(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from fingerprints(entry)


def test_it_is_small_and_has_a_card(mini: Backbone) -> None:
    assert sum(f.stat().st_size for f in mini_path().rglob("*")) <= 15e6
    assert mini.model.config.model_type == "llama"
    assert mini.id == MINI
    assert (mini_path() / "README.md").is_file()


def test_its_tokenizer_splits_digits_and_reserves_64_tokens(mini: Backbone) -> None:
    ids = mini.tokenizer.encode("in 1984", add_special_tokens=False)
    assert mini.tokenizer.convert_ids_to_tokens(ids)[-4:] == ["1", "9", "8", "4"]
    assert len(mini.id_space().spare) >= 64
    text = "Zoë said:\n\t“2+2=4” ☂"
    assert mini.tokenizer.decode(mini.tokenizer.encode(text, add_special_tokens=False)) == text


def test_its_chat_format(mini: Backbone) -> None:
    chat = Chat(mini.tokenizer)
    rendered = mini.tokenizer.apply_chat_template(
        [{"role": "user", "content": "a b"}], tokenize=True, add_generation_prompt=True, return_dict=False
    )
    assert chat.prompt_ids(chat.text_ids("a b")) == list(rendered)
    assert chat.tail == (mini.tokenizer.eos_token_id,)


def committed_results() -> list[Path]:
    """Results of experiments and measurements; campaigns and engines run on models of their own."""
    own = ("reliability", "serving")
    return sorted(p for p in (ROOT / "results").rglob("*.json") if p.parent.name not in own)


@pytest.mark.parametrize("path", committed_results(), ids=lambda p: p.stem)
def test_committed_results_are_of_this_backbone(path: Path, mini: Backbone) -> None:
    result = json.loads(path.read_text())
    assert set(fingerprints(result)), f"{path.name} names no backbone fingerprint"
    if "models" in result:  # of several backbones, each measured for itself
        result = {"models": [m for m in result["models"] if m["backbone"].startswith("mini,")]}
    found, name = set(fingerprints(result)), result.get("backbone", MINI)
    if name == MINI and found:
        assert found == {mini.fingerprint}, f"{path.name} is stale: run it again with the present backbone"


def test_there_are_results_to_check() -> None:
    assert {p.stem for p in committed_results()} >= {
        "backbone",
        "demo",
        "sni10_mini",
    }
