"""A memory's own words for `tokmem.export`, which stands above all methods and is loaded by its name."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokmem.errors import ExportError
from tokmem.files import as_path

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class Exportable:
    """Gives a memory to engines, and to plain pipelines of transformers."""

    def export(self, folder: Path | str, to: str = "hf", **options: Any) -> Path:
        """Exports the memory in a form that engines serve as it is.

        Args:
            folder: folder to write; an older export there is replaced as a whole.
            to: `hf`, `peft`, `lora` or `gguf` (see `tokmem.export.export`).
            **options: `spelling`, `source`, `weights` and `check`, of the same function.

        Returns:
            The folder.

        Raises:
            ExportError: the form cannot carry the memory, or the export does something else than the memory.
            TokMemError: the disk is full, or the folder may hold somebody's own files.
        """
        if isinstance(folder, str) and to == "hf" and folder in import_module("tokmem.export.write").FORMS:
            do = f'write memory.export("FOLDER", to="{folder}"), or Path("{folder}") to name a folder so'
            raise ExportError(f"the form {folder!r} in the place of the folder", "a folder first", do)
        exported = import_module("tokmem.export").export(self, as_path(folder), to=to, **options)
        return Path(exported.folder)

    def apply(self, spelling: str | None = None) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        """Makes a plain model of transformers and its tokenizer. The backbone does not change.

        Args:
            spelling: of tools, `mistral`, `hermes` or `private`; None takes the one that fits.

        Raises:
            ExportError: a plain model cannot carry the memory.
        """
        plain: tuple[PreTrainedModel, PreTrainedTokenizerBase] = import_module("tokmem.export").apply(
            self, spelling
        )
        return plain
