"""Each extra does what it promises; where an extra is not installed, its check is skipped by name."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
import torch

from tests.data.tiny_chat import LLAMA, tiny_tokenizer
from tests.test_packaging import extras
from tests.tiny import tiny_model
from tokmem.recall.constrained import Guides
from tokmem.records import Procedure

TOKENIZER = tiny_tokenizer(LLAMA)


def an_adapter(folder: Path) -> None:
    from peft import LoraConfig, PeftModel, get_peft_model

    adapted = get_peft_model(tiny_model("llama"), LoraConfig(r=2, target_modules=["q_proj"]))
    adapted.save_pretrained(folder)
    ids = torch.tensor([[1, 2, 3]])
    again = PeftModel.from_pretrained(tiny_model("llama"), folder)
    assert torch.equal(again(input_ids=ids).logits, adapted(input_ids=ids).logits)


def an_index(folder: Path) -> None:
    faiss = import_module("faiss")
    index = faiss.IndexFlatIP(4)
    index.add(torch.eye(4).numpy())
    faiss.write_index(index, str(folder / "index"))
    _, found = faiss.read_index(str(folder / "index")).search(torch.eye(4)[2:3].numpy(), 1)
    assert found.tolist() == [[2]]


def a_guided_call(folder: Path) -> None:
    schema = {"type": "object", "properties": {"on": {"type": "boolean"}}, "required": ["on"]}
    only = {**schema, "additionalProperties": False}
    guide = Guides([Procedure("switch", parameters=only)], TOKENIZER, len(TOKENIZER), [0]).open("switch")
    assert guide is not None
    for token in TOKENIZER.encode('{"on": true}', add_special_tokens=False):
        assert not guide.complete
        assert guide.allowed()[token]
        guide.accept(token)
    assert guide.complete


def a_picture(folder: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure()
    figure.subplots().plot([0, 1])
    figure.savefig(folder / "plot.png")
    assert (folder / "plot.png").read_bytes().startswith(b"\x89PNG")


def rows_of_data(folder: Path) -> None:
    from datasets import Dataset
    from pyarrow import parquet

    Dataset.from_list([{"query": "tea"}, {"query": "rice"}]).to_parquet(str(folder / "rows.parquet"))
    assert parquet.read_table(folder / "rows.parquet").to_pylist() == [{"query": "tea"}, {"query": "rice"}]


def an_event(folder: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder)) as writer:
        writer.add_scalar("loss", 1.0, 1)
    assert [path for path in folder.iterdir() if "tfevents" in path.name]


def a_tool_of_a_server(folder: Path) -> None:
    types = import_module("mcp.types")
    tool = types.Tool.model_validate({"name": "clock", "inputSchema": {"type": "object"}})
    assert tool.name == "clock"


CHECKS: dict[str, Callable[[Path], None]] = {
    "peft": an_adapter,
    "rag": an_index,
    "constrained": a_guided_call,
    "plot": a_picture,
    "data": rows_of_data,
    "trackers": an_event,
    "mcp": a_tool_of_a_server,
}
# Heavy: `test_packaging.py` imports what they bring; their own tests use it.
IMPORTED = {"ray", "docs", "serving", "campaigns", "dev"}


def test_every_extra_has_a_check() -> None:
    assert set(extras()) == {*CHECKS, *IMPORTED}


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("extra", CHECKS)
def test_an_extra_does_what_it_promises(extra: str, tmp_path: Path) -> None:
    for package in extras()[extra]:
        try:
            version(package)
        except PackageNotFoundError:
            pytest.skip(f"extra {extra}: {package} is not installed")
    CHECKS[extra](tmp_path)
