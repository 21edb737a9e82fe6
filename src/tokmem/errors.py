"""Errors that say what was found, what was wanted, and what to do."""

from __future__ import annotations


class TokMemError(Exception):
    """Base of all errors that the caller can fix.

    Args:
        got: what was found: a value, a path, a name.
        wanted: what would have been correct.
        do: what to try next.
    """

    def __init__(self, got: str, wanted: str = "", do: str = "") -> None:
        self.got, self.wanted, self.do = got, wanted, do
        parts = [got, f"wanted: {wanted}" if wanted else "", f"to do: {do}" if do else ""]
        super().__init__("; ".join(part for part in parts if part))


class ConfigError(TokMemError):
    """A setting, flag or YAML key is unknown, has the wrong type, or contradicts another."""


class DataError(TokMemError):
    """A data file or a row of it cannot be used."""


class BankError(TokMemError):
    """A bank operation or a saved bank is not valid."""


class BackboneError(TokMemError):
    """A backbone cannot carry memory tokens, or a bank was trained on another one."""


class AdapterError(TokMemError):
    """A LoRA adapter cannot be made, or a saved adapter is not valid here."""


class TrainingError(TokMemError):
    """Training cannot continue, or a checkpoint cannot be resumed."""


class DivergedError(TrainingError):
    """A loss or a parameter is not finite any more; a lower rate may help."""


class RecallError(TokMemError):
    """A query cannot be recalled."""


class ExportError(TokMemError):
    """A bank cannot be exported in a form, or an export does not do what the bank does."""


class ServingError(TokMemError):
    """An engine cannot serve an export, or a server does not answer."""
