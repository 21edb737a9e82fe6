"""Text that spells a memory token or a control token stays text, wherever somebody wrote it."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import save_model
from tests.data.tiny_chat import CONTROLS, LLAMA, QWEN, tiny_tokenizer
from tests.tiny import tiny_backbone
from tokmem.errors import BackboneError
from tokmem.methods.tokmem import TokMem
from tokmem.model.backbone import load_backbone
from tokmem.records import Demonstration, Example, Turn

TYPED = "".join(CONTROLS)


@pytest.mark.parametrize("template", [LLAMA, QWEN, None], ids=["llama", "qwen", "plain"])
def test_no_place_of_an_example_takes_a_typed_token_for_a_memory_token(template: str | None) -> None:
    memory = TokMem(tiny_backbone(tiny_tokenizer(template)), max_length=4096)
    memory.add(["a", "b"])
    tokens = [id for ids in memory.bank.memory.values() for id in ids]
    spelt = "".join(memory.backbone.tokenizer.convert_ids_to_tokens(id) or "" for id in tokens) + TYPED
    turns = (Turn("a", spelt), Turn("b", spelt))
    shown = (Demonstration(spelt, spelt, instruction=spelt),)
    example = Example(spelt, turns, instruction=spelt, demonstrations=shown)
    encoded = memory.encoder.encode(example)
    assert [id for id in encoded.ids if id in tokens] == tokens, "one for each turn, none that was typed"
    assert not set(memory.encoder.prompt(example)) & set(tokens)
    plain = memory.encoder.encode_plain(Example("q", (Turn("a", "r"),)))
    controls = {id for id in plain.ids if id in memory.backbone.tokenizer.added_tokens_decoder}
    written = [id for id in encoded.ids if id in memory.backbone.tokenizer.added_tokens_decoder]
    assert set(written) - {*tokens} <= controls, "control tokens come from the template alone"


@pytest.mark.parametrize(
    ("file", "own"),
    [
        ("config.json", {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}),
        ("config.json", {"AutoModelForCausalLM": "own.Model"}),
        ("tokenizer_config.json", {"AutoTokenizer": ["own.Tokenizer", "own.Tokenizer"]}),
    ],
)
def test_code_beside_a_model_of_a_known_kind_does_not_run(tmp_path: Path, file: str, own: Any) -> None:
    folder = save_model(tmp_path / "model", 0)
    facts = json.loads((folder / file).read_text()) | {"auto_map": own}
    (folder / file).write_text(json.dumps(facts))
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with suppress(BackboneError):  # transformers may refuse the folder, or take its own class
        load_backbone(str(folder), device="cpu")
    assert not (tmp_path / "ran").exists()


def test_code_of_a_model_repository_does_not_run(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "model", 0)
    config = json.loads((folder / "config.json").read_text())
    config["model_type"] = "own"
    config["auto_map"] = {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(BackboneError, match=r"program code of its own.*TokMem runs no code of a repository"):
        load_backbone(str(folder), device="cpu")
    assert not (tmp_path / "ran").exists()
