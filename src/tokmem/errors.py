"""Errors that say what was got, what was wanted, and what to do about it."""

from __future__ import annotations


class TokMemError(Exception):
    """Base of every error that is the caller's to mend.

    Args:
        got: what was found, concretely (a value, a path, a name).
        wanted: what would have been right.
        do: the next thing to try.
    """

    def __init__(self, got: str, wanted: str = "", do: str = "") -> None:
        self.got, self.wanted, self.do = got, wanted, do
        parts = [got, f"wanted: {wanted}" if wanted else "", f"to do: {do}" if do else ""]
        super().__init__("; ".join(part for part in parts if part))


class ConfigError(TokMemError):
    """A setting, flag or YAML key is unknown, of the wrong type, or contradicts another."""


class DataError(TokMemError):
    """A data file or row cannot be used."""


class BankError(TokMemError):
    """A bank operation or a saved bank is not valid."""


class BackboneError(TokMemError):
    """A backbone cannot carry memory tokens, or is not the one a bank was trained on."""


class AdapterError(TokMemError):
    """A LoRA adapter cannot be made, or a saved one is not valid here."""


class TrainingError(TokMemError):
    """Training cannot go on, or a checkpoint cannot be resumed."""


class RecallError(TokMemError):
    """A query cannot be recalled."""
