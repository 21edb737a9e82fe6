"""Writes an export: checked before it is said to be done, and whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from tokmem.errors import ExportError
from tokmem.export import adapter, gguf, hf, lora, peft
from tokmem.export.card import CARD, FACTS, card, facts
from tokmem.export.engines import for_engines
from tokmem.export.vocabulary import Vocabulary, plan_vocabulary
from tokmem.files import atomic_write_json, atomic_write_text, check_replaceable, replace_folder
from tokmem.log import logger
from tokmem.methods.tokmem import TokMem
from tokmem.model.placed import check_undivided

Kind = Literal["hf", "peft", "lora", "gguf"]
# What exports hold, tokenizers of every kind included; a folder with anything else has files of its user.
FILES = (FACTS, CARD, gguf.FILE, "*.json", "*.safetensors", "*.jinja", "*.model", "merges.txt", "vocab.txt")


@dataclass(frozen=True)
class Form:
    """A form of exports.

    Attributes:
        about: what the card says of it.
        write: writes its files: takes the memory, its vocabulary and a folder; `gguf` also takes `source`
            and `weights`.
        check: compares them with the memory; gives the largest difference of logits.
    """

    about: str
    write: Callable[..., None]
    check: Callable[[TokMem, Vocabulary, Path], float]


FORMS: dict[str, Form] = {
    "hf": Form(hf.ABOUT, hf.write, hf.check),
    "peft": Form(peft.ABOUT, peft.write, adapter.check),
    "lora": Form(lora.ABOUT, lora.write, adapter.check),
    "gguf": Form(gguf.ABOUT, gguf.write, gguf.check),
}


@dataclass(frozen=True)
class Exported:
    """What was exported.

    Attributes:
        folder: where it is.
        kind: its form.
        texts: text of each procedure's memory token.
        difference: largest difference of logits to the memory's, relative to the largest logit; None if
            nothing was checked.
    """

    folder: Path
    kind: str
    texts: dict[str, str]
    difference: float | None


def export(
    memory: TokMem,
    folder: Path | str,
    *,
    to: Kind = "hf",
    spelling: str | None = None,
    source: Path | str | None = None,
    weights: gguf.Weights | None = None,
    check: bool = True,
) -> Exported:
    """Exports a memory in a form that engines serve as it is.

    Args:
        memory: a memory.
        folder: folder to write; an older export there is replaced as a whole.
        to: `hf`, a plain Hugging Face folder; `peft`, trainable tokens of PEFT; `lora`, a LoRA adapter;
            `gguf`, the backbone's GGUF file with the bank in it.
        spelling: `mistral`, `hermes` or `private`; None takes the one that fits (see `choose_spelling`).
        source: the GGUF file that the backbone comes from, for `gguf`; None takes that of a named backbone.
        weights: for `gguf`, the type that all its matrices get, `F16` or `Q8_0`; None leaves their bytes.
        check: whether to load the export again and compare it with the memory.

    Returns:
        What was written, and how exact it is.

    Raises:
        BackboneError: the backbone is divided among devices.
        ExportError: the form cannot carry the bank, or the export does something else than the memory.
        TokMemError: the disk is full, or the folder may hold somebody's own files.
    """
    check_undivided(memory.backbone.model, "an export")
    if to not in FORMS:
        raise ExportError(f"form {to!r}", f"one of {', '.join(get_args(Kind))}")
    given = {"source": source and Path(source), "weights": weights}
    options = {name: value for name, value in given.items() if value is not None}
    if options and to != "gguf":
        raise ExportError(
            f"{' and '.join(options)} of a GGUF file, and form {to}", "form gguf", "leave that out"
        )
    if weights not in (None, *get_args(gguf.Weights)):
        raise ExportError(f"weights {weights!r}", f"one of {', '.join(get_args(gguf.Weights))}")
    folder, form = Path(folder), FORMS[to]
    check_replaceable(folder, FILES)
    memory = for_engines(memory)
    vocabulary = plan_vocabulary(memory, spelling)
    with replace_folder(folder, FILES) as draft:
        logger.info("writing the export, which takes a while for a large backbone")
        form.write(memory, vocabulary, draft, **options)
        if check:
            logger.info("loading the export again, to compare it with the bank")
        difference = form.check(memory, vocabulary, draft) if check else None
        atomic_write_text(draft / CARD, card(memory, vocabulary, form.about))
        atomic_write_json(draft / FACTS, facts(memory, vocabulary, to, difference))
    return Exported(folder, to, dict(vocabulary.texts), difference)
