"""The backbone section of a config."""

from __future__ import annotations

from dataclasses import dataclass

from tokmem.config import setting
from tokmem.model.backbone import Backbone, DTypeName, Quantization, load_backbone
from tokmem.model.catalog import MINI, MINI_TOOLS

_NAMES = "'mini' or 'mini-tools' (bundled), a hub id, or a local folder"


@dataclass(frozen=True)
class BackboneConfig:
    """Which model, and how it is loaded."""

    model_name: str = setting(MINI, _NAMES)
    dtype: DTypeName = setting("auto", "of the weights; 'auto': the checkpoint's own")
    device: str = setting("auto", "'auto', 'cpu', 'cuda', ...")
    quantization: Quantization = setting("none", "'8bit' or '4bit', through bitsandbytes")

    def load(self) -> Backbone:
        """Loads and freezes it.

        Raises:
            BackboneError: it cannot be found, or cannot carry memory tokens.
        """
        return load_backbone(
            self.model_name, dtype=self.dtype, device=self.device, quantization=self.quantization
        )


@dataclass(frozen=True)
class ToolBackboneConfig(BackboneConfig):
    """The same where tools are called: by default what was trained for that."""

    model_name: str = setting(MINI_TOOLS, _NAMES)
