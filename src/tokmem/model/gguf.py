"""Finds GGUF files, and reads the tokenizer and the dequantised model that they hold."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokmem.errors import BackboneError
from tokmem.model.whole import lost_weights

if TYPE_CHECKING:  # importing them takes seconds
    import torch
    from gguf import GGUFReader
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SUFFIX = ".gguf"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_USER_DEFINED = 4  # a token type of GGUF: matched whole in a text, and not special
_NEEDED = ("block_count", "embedding_length")  # sizes that every header has; transformers would guess them
_SIZES = (*_NEEDED, "feed_forward_length", "attention.head_count", "vocab_size")
# Vocabularies whose merges were learned on single digits; transformers does not split digits for them.
_DIGITS_APART = {"smollm", "starcoder", "refact", "command-r"}


def is_gguf(name: str) -> bool:
    """Whether a backbone's name means a GGUF file."""
    return name.lower().endswith(SUFFIX)


def find_gguf(name: str) -> Path:
    """Finds the GGUF file that a name means.

    Args:
        name: path of a file, ``folder:file.gguf``, or ``owner/name:file.gguf`` of the hub.

    Raises:
        BackboneError: there is no such file, or the hub cannot be reached.
    """
    if Path(name).is_file():
        return Path(name)
    place, _, file = name.rpartition(":")
    if place and (Path(place) / file).is_file():
        return Path(place) / file
    if not place or Path(place).is_dir() or not _HUB_ID.fullmatch(place):
        raise BackboneError(
            f"no file {name!r}", "a .gguf file, folder:file.gguf, or owner/name:file.gguf", "check the path"
        )
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(place, file))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise BackboneError(
            f"{file} of {place} cannot be downloaded ({_first_line(error)})",
            "a file of a hub repository that can be reached",
            "check the name, or download the file and give its path",
        ) from error


def open_gguf(path: Path) -> GGUFReader:
    """Maps a GGUF file and reads its header.

    Raises:
        BackboneError: the file is not a GGUF file, is truncated, or is one part of several.
    """
    import numpy as np
    from gguf import GGUFReader

    class Bounded(GGUFReader):
        """Ends at the end of the file. A damaged count would else be read on and on."""

        def _get(self, offset: Any, dtype: Any, count: Any = 1, override_order: Any = None) -> Any:
            if int(offset) + np.dtype(dtype).itemsize * int(count) > len(self.data):
                raise ValueError("it ends within its header or a tensor")
            return super()._get(offset, dtype, count, override_order)

    if not path.is_file():
        raise BackboneError(f"no file {str(path)!r}", "a GGUF file", "check the path")
    try:
        reader = Bounded(path)
    except Exception as error:
        raise BackboneError(
            f"{path} is damaged or no GGUF file ({_first_line(error)})", "a whole GGUF file", "get it again"
        ) from error
    parts = header_value(reader, "split.count")
    if parts not in (None, 0, 1):
        raise BackboneError(f"{path} is one of {parts!r:.40} parts", "one file", "merge the parts first")
    return reader


def count_weights(reader: GGUFReader) -> int:
    """Counts the numbers in a file's tensors."""
    return sum(int(tensor.n_elements) for tensor in reader.tensors)


def check_sizes(reader: GGUFReader, path: Path) -> None:
    """Refuses sizes that the file's tensors cannot have; transformers would try to make such a model.

    Raises:
        BackboneError: a size is missing, or is larger than the tensors allow.
    """
    largest = max((int(size) for tensor in reader.tensors for size in tensor.shape), default=0)
    for name in _SIZES:
        found = header_value(reader, f"{header_value(reader, 'general.architecture')}.{name}")
        most = len(reader.tensors) if name == "block_count" else largest
        if name in _NEEDED and not (isinstance(found, int) and found > 0):
            raise BackboneError(f"{path} with {name} {found!r:.40}", "a positive number", "get it again")
        if isinstance(found, int) and found > most:
            raise BackboneError(
                f"{path} with {name} {found}", f"at most {most}, by its tensors", "get it again"
            )


def read_model(path: Path, dtype: torch.dtype) -> PreTrainedModel:
    """Reads the model into memory; all its weights get one floating-point type.

    Raises:
        BackboneError: transformers does not know the architecture, or a weight is missing or not finite.
    """
    from transformers import AutoModelForCausalLM

    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            path.parent, gguf_file=path.name, dtype=dtype, device_map={"": "cpu"}, output_loading_info=True
        )
    except Exception as error:  # a damaged header may divide by zero there
        raise BackboneError(
            f"{path} cannot be read ({_first_line(error)})",
            "a GGUF file of a decoder-only model that transformers knows",
            "get it again if it may be damaged, or convert it to safetensors with another tool",
        ) from error
    model: PreTrainedModel = loaded[0]
    lost = lost_weights(*loaded)
    broken = lost or [
        name
        for name, weight in model.named_parameters()
        if weight.dtype != dtype or not weight.isfinite().all()
    ]
    if broken:
        what = "lacks weights" if lost else "has weights that are not finite"
        raise BackboneError(f"{path} {what}: {', '.join(broken[:3])}", "a whole model", "get it again")
    # The weights are ordinary now; without this transformers would neither save nor load them as such.
    loaded[0].hf_quantizer, loaded[0].is_quantized = None, False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    return model


def read_tokenizer(path: Path, reader: GGUFReader) -> PreTrainedTokenizerBase:
    """Reads the tokenizer, and adds what some versions of transformers leave out of it.

    Raises:
        BackboneError: the header describes no tokenizer that transformers knows.
    """
    from transformers import AutoTokenizer

    try:
        return _completed(AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name), reader)
    except Exception as error:
        raise BackboneError(
            f"the tokenizer in {path} cannot be read ({_first_line(error)})",
            "a tokenizer that transformers knows",
            "convert the file to safetensors with another tool",
        ) from error


def _completed(tokenizer: PreTrainedTokenizerBase, reader: GGUFReader) -> PreTrainedTokenizerBase:
    """Sets special tokens, texts that are matched whole, and digits apart, as the header says."""
    from tokenizers import pre_tokenizers
    from transformers import AddedToken

    facts = {name: header_value(reader, f"tokenizer.ggml.{name}") for name in ("tokens", "token_type", "pre")}
    for role, key in {"bos": "bos", "eos": "eos", "pad": "padding"}.items():  # some versions take another
        number = header_value(reader, f"tokenizer.ggml.{key}_token_id")
        if number is not None:
            setattr(tokenizer, f"{role}_token", facts["tokens"][number])
    kinds = facts["token_type"] or ()
    whole = {i: facts["tokens"][i] for i, kind in enumerate(kinds) if kind == _USER_DEFINED}
    _name_rows(tokenizer, whole)
    known = tokenizer.get_added_vocab()
    added = [AddedToken(t, special=False, normalized=False) for t in whole.values() if t not in known]
    tokenizer.add_tokens(added)
    if facts["pre"] in _DIGITS_APART:
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    return tokenizer


def _name_rows(tokenizer: PreTrainedTokenizerBase, texts: Mapping[int, str]) -> None:
    """Gives rows their texts where transformers has changed blanks in them, as it does in ordinary tokens."""
    vocabulary = tokenizer.get_vocab()
    if all(vocabulary.get(text) == token for token, text in texts.items()):
        return
    from tokenizers import Tokenizer

    spec = json.loads(tokenizer.backend_tokenizer.to_str())
    if isinstance(spec["model"]["vocab"], list):  # of texts and scores, in the order of their ids
        return
    spec["model"]["vocab"] = {texts.get(i, text): i for text, i in spec["model"]["vocab"].items()}
    tokenizer.backend_tokenizer.model = Tokenizer.from_str(json.dumps(spec)).model


def header_value(reader: GGUFReader, name: str) -> Any:
    """Reads a value of the header; None if it is missing.

    Raises:
        BackboneError: it cannot be read.
    """
    field = reader.fields.get(name)
    try:
        return None if field is None else field.contents()
    except Exception as error:  # such as bytes that are no text
        raise BackboneError(
            f"a GGUF file whose {name} cannot be read ({_first_line(error)})", "a whole file", "get it again"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
