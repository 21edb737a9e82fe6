"""A bank in the GGUF file of its backbone: what was there stays, and logits are those of the memory."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter
from gguf.quants import quantize

from tests.export.tiny_memory import PROCEDURES, logit_gap, randomise, tiny_memory
from tests.tiny_gguf import write_gguf
from tokmem.bank.slots import IdPolicy
from tokmem.data.calls.text import CallStyle
from tokmem.errors import ExportError, TokMemError
from tokmem.export import export
from tokmem.export.gguf import Weights, _copy_fields, quantised
from tokmem.export.vocabulary import plan_vocabulary
from tokmem.methods.tokmem import TokMem
from tokmem.model.backbone import load_backbone
from tokmem.model.catalog import SMOLLM2
from tokmem.model.gguf import read_model, read_tokenizer


def gguf_memory(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    coupled: bool,
    policy: IdPolicy = "auto",
    call_style: CallStyle = "plain",
) -> tuple[TokMem, Path]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "tiny.gguf"
    write_gguf(path, kind=kind)
    memory = TokMem(
        load_backbone(str(path)), coupled=coupled, policy=policy, call_style=call_style, addresses="trained"
    )
    memory.add(PROCEDURES)
    randomise(memory)
    return memory, path


@pytest.mark.parametrize(
    ("kind", "policy"),
    [("F32", "spare"), ("F16", "append"), ("Q8_0", "spare"), ("Q8_0", "append"), ("Q4_1", "append")],
)
@pytest.mark.parametrize("coupled", [True, False])
def test_old_bytes_stay_and_logits_are_equal(
    kind: str, policy: IdPolicy, coupled: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory, path = gguf_memory(tmp_path, monkeypatch, kind, coupled, policy)
    made = export(memory, tmp_path / "served", to="gguf", source=path)
    old, new = (GGUFReader(file) for file in (path, made.folder / "model.gguf"))
    held = {tensor.name: tensor for tensor in new.tensors}
    assert (set(held) - {tensor.name for tensor in old.tensors}) == (set() if coupled else {"output.weight"})
    ids = plan_vocabulary(memory).ids.values()
    for tensor in old.tensors:
        same = [
            row for row in range(len(tensor.data)) if tensor.name != "token_embd.weight" or row not in ids
        ]
        assert np.array_equal(held[tensor.name].data[same], tensor.data[same])
    model = read_model(made.folder / "model.gguf", torch.float32).eval()
    rounded = not coupled and kind in ("Q8_0", "Q4_1")
    if not coupled:
        assert held["output.weight"].tensor_type.name == ("F16" if rounded else kind)
    gap = logit_gap(quantised(memory, plan_vocabulary(memory), new), model)
    assert gap < (1e-2 if rounded else 1e-4)
    assert made.difference is not None


def test_tools_are_shown_and_other_tokens_are_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory, path = gguf_memory(tmp_path, monkeypatch, "Q8_0", True)
    made = export(memory, tmp_path / "served", to="gguf", source=path)
    fields = GGUFReader(made.folder / "model.gguf").fields
    tokens, kinds = (fields[f"tokenizer.ggml.{name}"].contents() for name in ("tokens", "token_type"))
    ids = plan_vocabulary(memory).ids
    assert [(tokens[ids[name]], kinds[ids[name]]) for name in ("weather", "say it in words")] == [
        ("[TOOL_CALLS]weather[ARGS]", 4),
        ("<|tokmem:say%20it%20in%20words|>", 3),
    ]
    assert "[TOOL_CALLS]" not in tokens, "a grammar of llama.cpp would not begin there"
    assert len(tokens) == fields["llama.vocab_size"].contents()
    assert "tokmem.messages" in fields["tokenizer.chat_template"].contents()


def test_texts_with_blanks_and_line_ends_are_read_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory, path = gguf_memory(tmp_path, monkeypatch, "Q8_0", True, call_style="hermes")
    made = export(memory, tmp_path / "served", to="gguf", source=path)
    text = '<tool_call>\n{"name": "weather", "arguments": '
    assert made.texts["weather"] == text
    file = made.folder / "model.gguf"
    read = read_tokenizer(file, GGUFReader(file))
    assert read.encode(f"say{text}", add_special_tokens=False)[-1] == plan_vocabulary(memory).ids["weather"]


def test_rows_that_cannot_be_quantised_are_float16(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory, path = gguf_memory(tmp_path, monkeypatch, "Q8_0", False)

    def no_q8(rows: np.ndarray, kind: GGMLQuantizationType) -> np.ndarray:
        if kind == GGMLQuantizationType.Q8_0:
            raise NotImplementedError
        return quantize(rows, kind)

    monkeypatch.setattr("gguf.quants.quantize", no_q8)
    made = export(memory, tmp_path / "served", to="gguf", source=path)
    kinds = {
        tensor.name: tensor.tensor_type.name for tensor in GGUFReader(made.folder / "model.gguf").tensors
    }
    assert kinds["token_embd.weight"] == kinds["output.weight"] == "F16"
    assert kinds["blk.0.attn_q.weight"] == "Q8_0"


@pytest.mark.parametrize("weights", ["F16", "Q8_0"])
@pytest.mark.parametrize("coupled", [True, False])
def test_all_matrices_get_a_new_type(
    weights: Weights, coupled: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory, path = gguf_memory(tmp_path, monkeypatch, "Q4_1", coupled, "append")
    made = export(memory, tmp_path / "served", to="gguf", source=path, weights=weights)
    reader = GGUFReader(made.folder / "model.gguf")
    kinds = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
    heads = set() if coupled else {"output.weight"}
    assert {kind for name, kind in kinds.items() if "norm" not in name and name not in heads} == {weights}
    assert {kinds[name] for name in heads} <= {"F16"}
    assert {kind for name, kind in kinds.items() if "norm" in name} == {"F32"}
    assert reader.fields["tokmem.weights"].contents() == weights
    assert made.difference is not None
    assert made.difference < (5e-3 if weights == "F16" else 5e-2)


def test_weights_are_those_of_a_gguf_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory, path = gguf_memory(tmp_path, monkeypatch, "Q8_0", True)
    with pytest.raises(ExportError, match="weights of a GGUF file, and form hf"):
        export(memory, tmp_path / "served", weights="F16")
    with pytest.raises(ExportError, match="one of F16, Q8_0"):
        export(memory, tmp_path / "served", to="gguf", source=path, weights="Q4_K")  # type: ignore[arg-type]
    assert not (tmp_path / "served").exists()


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory, path = gguf_memory(tmp_path, monkeypatch, "Q8_0", True)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("gguf.GGUFWriter.write_tensor_data", full)
    with pytest.raises(TokMemError, match="disk full"):
        export(memory, tmp_path / "served", to="gguf", source=path)
    assert not list(tmp_path.glob("*served*"))


def test_another_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory, _ = gguf_memory(tmp_path, monkeypatch, "Q8_0", True)
    write_gguf(tmp_path / "other.gguf", kind="F16")
    with pytest.raises(ExportError, match="does not come from"):
        export(memory, tmp_path / "served", to="gguf", source=tmp_path / "other.gguf")
    with pytest.raises(ExportError, match="not known"):
        export(memory, tmp_path / "served", to="gguf")
    with pytest.raises(ExportError, match="form hf"):
        export(memory, tmp_path / "served", source=tmp_path / "other.gguf")
    assert not (tmp_path / "served").exists()


def test_a_full_disk_is_told_in_numpys_words_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory, path = gguf_memory(tmp_path, monkeypatch, "Q8_0", True)

    def full(*_: object, **__: object) -> None:
        raise OSError("12800 requested and 10480 written")

    monkeypatch.setattr("gguf.GGUFWriter.write_tensor_data", full)
    with pytest.raises(TokMemError, match=r"disk full while writing .*; wanted: more than that"):
        export(memory, tmp_path / "served", to="gguf", source=path)
    assert not list(tmp_path.glob("*served*"))


def test_a_file_keeps_its_own_alignment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path, plain = tmp_path / "wide.gguf", tmp_path / "tiny.gguf"
    write_gguf(plain, kind="F32")
    held, writer = GGUFReader(plain), GGUFWriter(path, "llama")
    writer.add_custom_alignment(64)
    _copy_fields(held, writer, {})
    for tensor in held.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    memory = TokMem(load_backbone(str(path)), addresses="trained")
    memory.add(PROCEDURES)
    export(memory, tmp_path / "served", to="gguf", source=path)
    new = GGUFReader(tmp_path / "served/model.gguf")
    assert (held.alignment, new.alignment) == (32, 64)


def test_a_folder_named_as_a_known_backbone_has_no_known_file(tmp_path: Path) -> None:
    memory = tiny_memory()
    memory.backbone = replace(memory.backbone, id=SMOLLM2)
    with pytest.raises(ExportError, match="whose GGUF file is not known"):
        export(memory, tmp_path / "served", to="gguf")


@pytest.mark.parametrize("kind", ["UINT8", "UINT32", "INT64", "FLOAT64", "BOOL"])
def test_a_list_keeps_the_type_of_its_numbers(tmp_path: Path, kind: str) -> None:
    for name in ("old", "new"):
        writer = GGUFWriter(tmp_path / name, "llama")
        if name == "old":
            writer.add_key_value("some", [1, 0], GGUFValueType.ARRAY, sub_type=GGUFValueType[kind])
        else:
            _copy_fields(GGUFReader(tmp_path / "old"), writer, {})
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        writer.close()
    held = GGUFReader(tmp_path / "new").fields["some"]
    assert held.types == [GGUFValueType.ARRAY, GGUFValueType[kind]]
    assert held.contents() == [1, 0]
