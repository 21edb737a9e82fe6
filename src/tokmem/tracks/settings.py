"""What the configs of several tracks share."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

from tokmem.errors import ConfigError
from tokmem.model.backbone import Backbone
from tokmem.provenance import provenance


def provenance_of(seed: int, checksum: str, backbone: Backbone) -> dict[str, Any]:
    """Where a result comes from: seed, checksum of the data, backbone, and the type of its numbers."""
    device, source = str(backbone.device), backbone.source_sha256
    came = provenance(seed, checksum, backbone.fingerprint, device, source)
    return came | {"dtype": str(backbone.model.dtype).removeprefix("torch.")}


def check_filled(config: Any, names: Sequence[str]) -> None:
    """Refuses empty lists.

    Raises:
        ConfigError: a setting among `names` is empty.
    """
    for name in names:
        if not getattr(config, name):
            raise ConfigError(f"no {name}", "at least one")


def value_of(config: Any, key: str) -> Any:
    """The value of a setting, named by its dotted key."""
    return reduce(getattr, key.split("."), config)
