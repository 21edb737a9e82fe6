"""The backbone section of a config."""

from __future__ import annotations

from dataclasses import dataclass

from tokmem.config import setting
from tokmem.model.backbone import MINI, Backbone, DTypeName, Quantization, load_backbone


@dataclass(frozen=True)
class BackboneConfig:
    """Which model, and how it is loaded."""

    model_name: str = setting(MINI, "'mini' or 'mini-tools' (bundled), a hub id, or a local folder")
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
