"""The settings of a backbone: which model, and how it is loaded."""

from __future__ import annotations

from dataclasses import dataclass

from tokmem.config import Config, setting
from tokmem.model.backbone import Backbone, DeviceMap, DTypeName, Quantization, load_backbone
from tokmem.model.catalog import NAMES, SMOLLM2


@dataclass(frozen=True)
class BackboneConfig(Config):
    """Which model, and how it is loaded."""

    model_name: str = setting(SMOLLM2, NAMES)
    dtype: DTypeName = setting(
        "auto",
        "of the weights; 'auto': the checkpoint's own, float32 for a .gguf file; 'fastest': bfloat16 where "
        "the device multiplies it faster, else float32",
    )
    device: str = setting("auto", "'auto', 'cpu', 'cuda', ...")
    device_map: DeviceMap = setting(
        "none", "divide a backbone that is larger than one device, through accelerate"
    )
    quantization: Quantization = setting("none", "'8bit' or '4bit', through bitsandbytes")

    def load(self) -> Backbone:
        """Loads and freezes the backbone.

        Raises:
            BackboneError: it cannot be found, or cannot carry memory tokens.
        """
        return load_backbone(
            self.model_name,
            dtype=self.dtype,
            device=self.device,
            device_map=self.device_map,
            quantization=self.quantization,
        )
