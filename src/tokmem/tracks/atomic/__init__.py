"""Atomic recall: one procedure a query."""

from tokmem.tracks.atomic.config import AtomicConfig as CONFIG
from tokmem.tracks.atomic.experiment import AtomicExperiment as prepare

__all__ = ["CONFIG", "prepare"]
