"""Shared parts of the families that train the bundled backbone."""

from __future__ import annotations

from tokmem.mini.family import Family, Sampler
from tokmem.mini.procedures import DEMO, SETTINGS

HELD_OUT = {family.name: family for family in (*SETTINGS, *DEMO)}
"""Families that training leaves out, by name; they keep their places among the others."""


def trained(name: str, sample: Sampler, *wordings: str) -> Family:
    """Makes a family that backbones are trained on."""
    return Family(name, wordings, sample, "trained")
