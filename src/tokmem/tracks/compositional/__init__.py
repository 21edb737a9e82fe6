"""Compositional recall: tools as tokens, called in chains, learned in rounds."""

from tokmem.tracks.compositional.config import CompositionalConfig as CONFIG
from tokmem.tracks.compositional.experiment import CompositionalExperiment as prepare

__all__ = ["CONFIG", "prepare"]
