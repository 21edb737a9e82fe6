from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, Gemma3nTextConfig, T5Config

from tests.cli.conftest import save_model
from tests.data.tiny_chat import LLAMA, tiny_tokenizer
from tests.tiny import CONFIGS, DIM, VOCAB, tiny_backbone, tiny_model
from tokmem.errors import BackboneError, TokMemError
from tokmem.model import backbone as module
from tokmem.model.backbone import (
    SAVED,
    Backbone,
    as_backbone,
    check_supported,
    is_recurrent,
    load_backbone,
    save_backbone,
    wrap_backbone,
)
from tokmem.model.fingerprint import fingerprint
from tokmem.model.settings import BackboneConfig


class Vocabulary:
    """As much of a tokenizer as the id space reads."""

    def __init__(self, **vocab: int) -> None:
        self.vocab = vocab

    def get_vocab(self) -> dict[str, int]:
        return self.vocab


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hub") / "tiny-llama"
    backbone = tiny_backbone(tiny_tokenizer(LLAMA))
    backbone.model.save_pretrained(path)
    backbone.tokenizer.save_pretrained(path)
    return path


def test_a_local_folder_loads_frozen(folder: Path) -> None:
    loaded = load_backbone(str(folder), device="cpu")
    assert (loaded.id, loaded.dim, loaded.device.type) == ("tiny-llama", DIM, "cpu")
    assert not loaded.model.training
    assert not any(p.requires_grad for p in loaded.model.parameters())
    assert loaded.fingerprint == tiny_backbone(tiny_tokenizer(LLAMA)).fingerprint


def test_a_saved_backbone_comes_back_and_replaces_only_its_own_kind(tmp_path: Path) -> None:
    backbone = tiny_backbone(tiny_tokenizer(LLAMA))
    for _ in range(2):  # the second time over the first
        save_backbone(backbone, tmp_path / "saved")
    again = load_backbone(str(tmp_path / "saved"), device="cpu")
    assert again.fingerprint == backbone.fingerprint
    assert again.tokenizer.get_vocab() == backbone.tokenizer.get_vocab()
    facts = json.loads((tmp_path / "saved" / SAVED).read_text())
    assert facts == {"backbone": backbone.id, "fingerprint": backbone.fingerprint}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious.txt").write_text("precious")
    with pytest.raises(TokMemError, match="mine"):
        save_backbone(backbone, tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["precious.txt"]


def test_settings_reach_the_loader(monkeypatch: pytest.MonkeyPatch) -> None:
    own = {"dtype": "bfloat16", "device": "cpu", "device_map": "auto", "quantization": "8bit"}
    asked: list[Any] = []
    monkeypatch.setattr(
        "tokmem.model.settings.load_backbone", lambda name, **options: asked.append((name, options))
    )
    BackboneConfig("one", **own).load()  # type: ignore[arg-type]
    assert asked == [("one", own)]


def test_a_backbone_is_made_of_a_name_or_of_a_model_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    made = as_backbone(tiny_model("llama"), tiny_tokenizer(LLAMA), "cpu", "float32")
    assert made.fingerprint == fingerprint(tiny_model("llama"))
    assert as_backbone(made, None, "cpu", "float32") is made
    asked: list[Any] = []
    monkeypatch.setattr(
        "tokmem.model.backbone.load_backbone", lambda name, **options: asked.append((name, options))
    )
    own: Any = {"device": "cpu", "dtype": "bfloat16", "device_map": "auto"}
    as_backbone("one", None, **own)
    assert asked == [("one", own)]


def test_the_fingerprint_is_of_the_checkpoint_not_of_its_dtype(folder: Path) -> None:
    half, full = (load_backbone(str(folder), dtype=d, device="cpu") for d in ("bfloat16", "float32"))
    assert (half.model.dtype, full.model.dtype) == (torch.bfloat16, torch.float32)
    assert half.fingerprint == full.fingerprint


@pytest.mark.parametrize("place", ["embed", "norm", "swap"])
def test_one_changed_weight_changes_the_fingerprint(place: str) -> None:
    model = tiny_model("llama")
    before = fingerprint(model)
    assert before == fingerprint(tiny_model("llama"))
    with torch.no_grad():
        if place == "embed":
            model.get_input_embeddings().weight[50, 3] *= 1.01
        elif place == "norm":
            model.model.norm.weight[0] = 1.01
        else:
            rows = model.lm_head.weight
            rows[[4, 5]] = rows[[5, 4]].clone()
    assert fingerprint(model) != before


def test_free_ids_are_reserved_tokens_by_number_then_rows_past_the_tokenizer() -> None:
    reserved = {f"<|reserved_special_token_{n}|>": i for n, i in ((10, 20), (2, 21), (0, 30))}
    beyond = {"<|reserved_special_token_3|>": VOCAB + 5}
    backbone = Backbone(tiny_model("llama"), Vocabulary(a=0, b=92, **reserved), "x", "")
    assert backbone.id_space().spare == (30, 21, 20, 93, 94, 95)
    assert backbone.id_space().rows == VOCAB
    larger = Backbone(tiny_model("llama"), Vocabulary(a=0, **reserved, **beyond), "x", "")
    assert larger.id_space().spare == (30, 21, 20)


def test_an_encoder_decoder_is_refused_by_name(tmp_path: Path) -> None:
    T5Config(d_model=8, num_layers=1).save_pretrained(tmp_path / "small-t5")
    with pytest.raises(BackboneError, match="small-t5 is an encoder-decoder"):
        load_backbone(str(tmp_path / "small-t5"))


def test_per_layer_embeddings_are_refused_by_name() -> None:
    config = Gemma3nTextConfig(
        vocab_size=VOCAB,
        vocab_size_per_layer_input=VOCAB,
        hidden_size=DIM,
        hidden_size_per_layer_input=8,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        laurel_rank=4,
        altup_num_inputs=2,
        num_kv_shared_layers=0,
        activation_sparsity_pattern=None,
        layer_types=["sliding_attention", "full_attention"],
        pad_token_id=0,
    )
    model = AutoModelForCausalLM.from_config(config)
    with pytest.raises(
        BackboneError, match=r"Gemma3nForCausalLM reads token ids in 'model\.embed_tokens_per"
    ):
        wrap_backbone(model, tiny_tokenizer())


def test_weights_of_another_library_are_refused_by_their_type(monkeypatch: pytest.MonkeyPatch) -> None:
    class Packed(torch.nn.Parameter):
        pass

    def unreadable(_: object) -> str:
        raise NotImplementedError

    model = tiny_model("llama")
    model.model.norm.weight = Packed(model.model.norm.weight.detach())
    monkeypatch.setattr("tokmem.model.backbone.fingerprint", unreadable)
    with pytest.raises(BackboneError, match="LlamaForCausalLM with weights of type Packed"):
        wrap_backbone(model, tiny_tokenizer())


@pytest.mark.parametrize("missing", ["input", "output"])
def test_a_model_without_embedding_or_head_is_refused(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama")
    monkeypatch.setattr(model, f"get_{missing}_embeddings", lambda: None)
    with pytest.raises(BackboneError, match=f"LlamaForCausalLM without an {missing}"):
        check_supported(model)


@pytest.mark.parametrize("name", CONFIGS)
def test_attention_alone_is_not_recurrent(name: str) -> None:
    assert not is_recurrent(tiny_model(name))


def test_a_linear_attention_layer_is_recurrent() -> None:
    model = tiny_model("qwen3")
    model.config.layer_types = ["linear_attention", "full_attention"]
    assert is_recurrent(model)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "no/such-model-anywhere"}, "'no/such-model-anywhere' cannot be loaded"),
        ({"name": "mni"}, "'mni'.*did you mean mini"),
        ({"name": "SmolLM2"}, "did you mean smollm2"),
        ({"device": "cuda:99"}, "device 'cuda:99'"),
        ({"device": "gpu"}, "device 'gpu'"),
        ({"dtype": "fp32"}, "dtype 'fp32'.*float32"),
        ({"quantization": "3bit"}, "quantization '3bit'.*8bit"),
    ],
)
def test_bad_arguments_are_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(BackboneError, match=message):
        load_backbone(**options)


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({"num_attention_heads": 0}, "ZeroDivisionError"),
        ({"hidden_size": None}, "hidden_size"),
        ({"hidden_act": "zzz"}, "KeyError: 'zzz'"),
        ({"model_type": ["llama"]}, "TypeError"),
        ({"dtype": "float99"}, "AttributeError"),
    ],
)
def test_a_damaged_configuration_is_refused(entry: dict[str, Any], problem: str, tmp_path: Path) -> None:
    path = save_model(tmp_path / "model", 0) / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | entry), "utf-8")
    with pytest.raises(BackboneError, match=rf"cannot be loaded \(.*{problem}.*config\.json may be damaged"):
        load_backbone(str(path.parent))


@pytest.mark.parametrize(
    ("shape", "problem"), [(None, "lacks weights: .*up_proj"), ((3, 5), r"cannot be loaded \(RuntimeError")]
)
def test_weights_that_are_lost_are_not_drawn_at_random(
    shape: tuple[int, int] | None, problem: str, tmp_path: Path
) -> None:
    path = save_model(tmp_path / "model", 0) / "model.safetensors"
    tensors, name = load_file(path), "model.layers.1.mlp.up_proj.weight"
    del tensors[name]
    if shape:
        tensors[name] = torch.zeros(shape)
    save_file(tensors, path, {"format": "pt"})
    with pytest.raises(BackboneError, match=problem):
        load_backbone(str(path.parent))


def test_a_numbered_cpu_takes_the_types_of_a_cpu() -> None:
    assert load_backbone("mini", device="cpu:0", check=False).model.dtype is torch.float32


@pytest.mark.parametrize("bits", ["8bit", "4bit"])
def test_quantization_and_attention_reach_the_loader(
    folder: Path, bits: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    def loader(source: str, **options: Any) -> tuple[nn.Module, dict[str, Any]]:
        seen.update(options)
        return tiny_backbone(tiny_tokenizer(LLAMA)).model, {"missing_keys": []}

    monkeypatch.setattr(module.AutoModelForCausalLM, "from_pretrained", loader)
    load_backbone(str(folder), quantization=bits, device="cpu", attention="eager")
    assert isinstance(seen["quantization_config"], BitsAndBytesConfig)
    assert (seen["quantization_config"].load_in_8bit, seen["quantization_config"].load_in_4bit) == (
        bits == "8bit",
        bits == "4bit",
    )
    assert (seen["device_map"], seen["attn_implementation"]) == ({"": "cpu"}, "eager")


def test_a_name_is_loaded_where_a_backbone_is_wanted() -> None:
    made = as_backbone("mini", None, "cpu", torch.bfloat16)
    assert (made.id, made.model.dtype, str(made.device)) == ("mini", torch.bfloat16, "cpu")
    assert as_backbone(made, None, "cpu", "auto") is made
