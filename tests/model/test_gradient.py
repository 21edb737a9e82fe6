"""The gradient of a backbone is compared with a finite difference when it is first loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.cli.conftest import save_model
from tests.tiny import CONFIGS, tiny_model
from tokmem.errors import BackboneError
from tokmem.model import gradient
from tokmem.model.backbone import load_backbone, wrap_backbone
from tokmem.model.gradient import OFF, check_once, gradient_pair


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(OFF, raising=False)
    return tmp_path / "cache" / "tokmem" / "checks"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_right_gradient_passes(name: str, dtype: torch.dtype, own_cache: Path) -> None:
    model = tiny_model(name).to(dtype)
    if dtype == torch.float32:
        found, wanted = gradient_pair(model)
        assert found == pytest.approx(wanted, rel=0.02)
        assert found > 0.004
    check_once(model, "f", name)
    (passed,) = own_cache.iterdir()
    assert json.loads(passed.read_text())["backbone"] == name


def scaled(factor: float) -> Any:
    """A hook that leaves the forward pass as it is and scales the backward pass."""

    def hook(_: object, __: object, output: Any) -> Any:
        first = output[0] if isinstance(output, tuple) else output
        wrong = first * factor + (first * (1 - factor)).detach()
        return (wrong, *output[1:]) if isinstance(output, tuple) else wrong

    return hook


@pytest.mark.parametrize("factor", [0.0, -1.0, 0.25, 4.0, float("nan")])
def test_a_wrong_gradient_is_refused_and_not_noted(factor: float, own_cache: Path) -> None:
    model = tiny_model("llama")
    model.model.layers[1].register_forward_hook(scaled(factor))
    with pytest.raises(BackboneError, match=r"the gradient of tiny as torch\.float32 .*--no-check"):
        check_once(model, "f", "tiny")
    assert not own_cache.exists()


@pytest.mark.parametrize("bits", ["8bit", "4bit"])
def test_weights_of_bitsandbytes_pass(bits: Any) -> None:
    pytest.importorskip("bitsandbytes")
    backbone = load_backbone("mini", quantization=bits, device="cpu")
    assert backbone.model.is_quantized


def test_weights_of_torchao_are_refused_by_name() -> None:
    quantization = pytest.importorskip("torchao.quantization")
    model = tiny_model("llama")
    quantization.quantize_(model, quantization.Int8WeightOnlyConfig())
    with pytest.raises(BackboneError, match="weights of type Int8Tensor; wanted: plain weights, or those of"):
        wrap_backbone(model, None)  # type: ignore[arg-type]


def test_a_backbone_is_checked_once_in_each_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, pair = str(save_model(tmp_path / "model", 0)), gradient_pair
    asked: list[torch.dtype] = []

    def counted(model: Any) -> tuple[float, float]:
        asked.append(model.dtype)
        return pair(model)

    monkeypatch.setattr(gradient, "gradient_pair", counted)
    for _ in range(2):
        load_backbone(folder, device="cpu")
        load_backbone(folder, dtype="bfloat16", device="cpu")
    assert asked == [torch.float32, torch.bfloat16]
    monkeypatch.setattr(gradient, "gradient_pair", lambda _: (1.0, 3.0))
    load_backbone(folder, device="cpu")
    with pytest.raises(BackboneError, match="changes by 3"):
        load_backbone(folder, dtype="float16", device="cpu")
    load_backbone(folder, dtype="float16", device="cpu", check=False)
