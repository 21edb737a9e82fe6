"""Where a result, or what a method has learned, comes from."""

from __future__ import annotations

from typing import Any

from tokmem.model.backbone import Backbone
from tokmem.provenance import provenance


def provenance_of(seed: int, checksum: str, backbone: Backbone) -> dict[str, Any]:
    """Where a result comes from: seed, checksum of the data, backbone, and the type of its numbers."""
    device, source = str(backbone.device), backbone.source_sha256
    came = provenance(seed, checksum, backbone.fingerprint, device, source)
    return came | {"dtype": str(backbone.model.dtype).removeprefix("torch.")}


def origin_of(experiment: str, seed: int, checksum: str, backbone: Backbone) -> dict[str, Any]:
    """What the files of saved knowledge say about the run that it comes from."""
    came = provenance_of(seed, checksum, backbone)
    return {"experiment": experiment, "settings": {"seed": seed}, "provenance": came}
