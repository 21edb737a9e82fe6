"""Memorisation: passages compressed into a few embeddings and written out from them."""

from tokmem.tracks.memorise.config import MemoriseConfig as CONFIG
from tokmem.tracks.memorise.experiment import Memorisation as prepare

__all__ = ["CONFIG", "prepare"]
