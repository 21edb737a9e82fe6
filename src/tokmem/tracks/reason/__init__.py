"""Reasoning: word problems solved step by step, with memory tokens before the query or after it."""

from tokmem.tracks.reason.config import ReasonConfig as CONFIG
from tokmem.tracks.reason.experiment import Reasoning as prepare

__all__ = ["CONFIG", "prepare"]
