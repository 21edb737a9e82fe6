"""Exports of a bank that engines serve as they are."""

from tokmem.export.write import Exported, export

__all__ = ["Exported", "export"]
