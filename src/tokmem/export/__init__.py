"""Exports of a bank that engines serve as they are."""

from tokmem.export.apply import apply
from tokmem.export.write import Exported, export

__all__ = ["Exported", "apply", "export"]
