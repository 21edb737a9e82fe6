"""What the configs of several tracks share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

from tokmem.config import setting
from tokmem.errors import ConfigError
from tokmem.model.backbone import Backbone, DTypeName, Quantization, load_backbone
from tokmem.model.catalog import MINI, MINI_TOOLS
from tokmem.provenance import provenance

_NAMES = "'mini' or 'mini-tools' (bundled), a hub id, or a local folder"


@dataclass(frozen=True)
class BackboneConfig:
    """Which model, and how it is loaded."""

    model_name: str = setting(MINI, _NAMES)
    dtype: DTypeName = setting("auto", "of the weights; 'auto': the checkpoint's own")
    device: str = setting("auto", "'auto', 'cpu', 'cuda', ...")
    quantization: Quantization = setting("none", "'8bit' or '4bit', through bitsandbytes")

    def load(self) -> Backbone:
        """Loads and freezes the backbone.

        Raises:
            BackboneError: it cannot be found, or cannot carry memory tokens.
        """
        return load_backbone(
            self.model_name, dtype=self.dtype, device=self.device, quantization=self.quantization
        )


@dataclass(frozen=True)
class ToolBackboneConfig(BackboneConfig):
    """The same for tools: by default the backbone that was trained to call them."""

    model_name: str = setting(MINI_TOOLS, _NAMES)


def provenance_of(seed: int, checksum: str, backbone: Backbone) -> dict[str, Any]:
    """Where a result comes from: seed, checksum of the data, and backbone."""
    device, source = str(backbone.device), backbone.source_sha256
    return provenance(seed, checksum, backbone.fingerprint, device, source)


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
