"""Memorisation: passages compressed into a few embeddings and written out from them."""

from tokmem.tracks.memorise.config import MemoriseConfig as CONFIG
from tokmem.tracks.memorise.experiment import prepare

__all__ = ["CONFIG", "prepare"]
