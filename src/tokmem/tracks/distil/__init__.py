"""Distillation: memory tokens and their rivals learn from prompts, without labels."""

from tokmem.tracks.distil.config import DistilConfig as CONFIG
from tokmem.tracks.distil.experiment import Distillation as prepare

__all__ = ["CONFIG", "prepare"]
