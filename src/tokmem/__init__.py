"""TokMem: a procedural memory for frozen language models, one trained token per procedure."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokmem.errors import TokMemError
    from tokmem.log import Callback
    from tokmem.methods.tokmem import TokMem
    from tokmem.model.backbone import load_backbone
    from tokmem.recall.settings import RecallSettings
    from tokmem.records import Answer, Example, Procedure, Turn
    from tokmem.train.settings import FitReport, FitSettings

try:
    __version__ = version("tokmem")
except PackageNotFoundError:  # a source tree on the path that is not installed
    __version__ = "unknown"
_HOMES = {
    "TokMemError": "tokmem.errors",
    "Callback": "tokmem.log",
    "TokMem": "tokmem.methods.tokmem",
    "load_backbone": "tokmem.model.backbone",
    "RecallSettings": "tokmem.recall.settings",
    "Answer": "tokmem.records",
    "Example": "tokmem.records",
    "Procedure": "tokmem.records",
    "Turn": "tokmem.records",
    "FitReport": "tokmem.train.settings",
    "FitSettings": "tokmem.train.settings",
}
__all__ = [
    "Answer",
    "Callback",
    "Example",
    "FitReport",
    "FitSettings",
    "Procedure",
    "RecallSettings",
    "TokMem",
    "TokMemError",
    "Turn",
    "load_backbone",
]


def __dir__() -> list[str]:
    """Lists the public names, so that a shell completes those that are not imported yet."""
    return [*__all__, "__version__"]


def __getattr__(name: str) -> Any:
    """Imports public names when they are first asked for, so that `tokmem --help` need not load torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'tokmem' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
