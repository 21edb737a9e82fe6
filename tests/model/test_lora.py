from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from tests.tiny import DIM, tiny_model
from tokmem.errors import AdapterError, ConfigError, TokMemError
from tokmem.model.backbone import Backbone, wrap_backbone
from tokmem.model.lora import CONFIG, FACTS, TENSORS, Adapter, LoraSettings, adapter_shape

pytest.importorskip("peft")

IDS = torch.tensor([[2, 7, 40, 9, 5]])


def bare(name: str = "llama", seed: int = 0) -> Backbone:
    """A backbone without a tokenizer, which an adapter does not need."""
    return wrap_backbone(tiny_model(name, seed), None, "tiny")


def adapted(backbone: Backbone | None = None, seed: int = 0, moved: bool = True, **shape: Any) -> Adapter:
    """An adapter; `moved`: with a B that is not zero, as after training."""
    made = Adapter(backbone or bare(), LoraSettings(**shape), seed)
    draws = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in made.parameters if moved else ():
            parameter.add_(torch.randn(parameter.shape, generator=draws) * 0.1)
    return made


def test_a_frozen_adapter_takes_no_gradient() -> None:
    made = adapted()
    assert all(parameter.requires_grad for parameter in made.parameters)
    made.freeze()
    assert not any(parameter.requires_grad for parameter in made.model.parameters())


@pytest.mark.parametrize("layers", [(), (1,)])
def test_the_shape_of_a_saved_adapter_is_read(layers: tuple[int, ...], tmp_path: Path) -> None:
    shape = LoraSettings(lora_r=2, lora_alpha=6, lora_dropout=0.25, lora_layer_indices=layers)
    Adapter(bare(), shape, 0).save(tmp_path / "adapter", {})
    assert adapter_shape(tmp_path / "adapter") == shape


@pytest.mark.parametrize("rank", [1, 3, 8])
@pytest.mark.parametrize("targets", [("q_proj", "v_proj"), ("down_proj",), ("layers.1.self_attn.o_proj",)])
def test_parameters_are_rank_times_in_and_out(rank: int, targets: tuple[str, ...]) -> None:
    """Two layers, queries 32 wide, keys and values 16, the feed-forward part 48."""
    sizes = {("q_proj", "v_proj"): 2 * (32 + 32 + 32 + 16), ("down_proj",): 2 * (48 + 32)}
    made = adapted(lora_r=rank, target_modules=targets)
    assert made.trainable_parameters == rank * sizes.get(targets, 32 + 32)
    assert sum(p.numel() for p in made.model.parameters() if p.requires_grad) == made.trainable_parameters


def test_the_papers_backbone_has_the_papers_number_of_parameters() -> None:
    """0.85M: rank 8 on queries and values of Llama-3.2-1B."""
    config = LlamaConfig(
        vocab_size=128256,
        hidden_size=2048,
        intermediate_size=8192,
        num_hidden_layers=16,
        num_attention_heads=32,
        num_key_value_heads=8,
        tie_word_embeddings=True,
    )
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    made = Adapter(Backbone(model, None, "meta", "f"), LoraSettings())
    assert made.trainable_parameters == 16 * 8 * (2048 + 2048 + 2048 + 512) == 851_968


def test_the_backbone_is_shared_and_never_meets_the_adapter() -> None:
    backbone = bare("llama-tied")
    modules = [name for name, _ in backbone.model.named_modules()]
    before = {name: tensor.clone() for name, tensor in backbone.model.state_dict().items()}
    plain = backbone.model(IDS).logits
    first, second = adapted(backbone), adapted(backbone, seed=1)
    assert not torch.equal(first.model(IDS).logits, plain)
    assert not torch.equal(first.model(IDS).logits, second.model(IDS).logits)
    assert torch.equal(backbone.model(IDS).logits, plain)
    assert [name for name, _ in backbone.model.named_modules()] == modules
    assert not any(p.requires_grad for p in backbone.model.parameters())
    assert all(torch.equal(t, before[name]) for name, t in backbone.model.state_dict().items())
    own = {id(p) for p in first.parameters}
    shared = {id(p) for p in backbone.model.parameters()}
    assert {id(p) for p in first.model.parameters()} == own | shared, "no weight is held twice"


def test_it_starts_as_the_backbone_from_a_seed_of_its_own() -> None:
    backbone = bare()
    state = torch.get_rng_state()
    first, same, other = (adapted(backbone, seed, moved=False) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.model(IDS).logits, first.backbone.model(IDS).logits)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters, same.parameters, strict=True))
    assert not torch.equal(first.parameters[0], other.parameters[0])
    assert not torch.equal(first.parameters[0], first.parameters[4]), "each layer draws its own"
    assert first.parameters[0].abs().max() <= DIM**-0.5


def test_dropout_is_there_within_the_block_and_hangs_on_its_names_alone() -> None:
    made = adapted(lora_dropout=0.5)
    still = made.model(IDS).logits
    state = torch.get_rng_state()

    def dropped(*names: int) -> torch.Tensor:
        with made.dropping(0, *names):
            return made.model(IDS).logits

    first = dropped(1, 2)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(5)
    assert torch.equal(dropped(1, 2), first)
    assert not torch.equal(dropped(1, 3), first)
    assert not torch.equal(first, still)
    assert torch.equal(made.model(IDS).logits, still)
    assert not any(module.training for module in made.model.modules())


@pytest.mark.parametrize(
    ("name", "targets"),
    [("gemma2", ("q_proj", "v_proj")), ("gpt-neox", ("query_key_value",)), ("qwen3", ("k_proj", "up_proj"))],
)
def test_peft_loads_what_was_saved(name: str, targets: tuple[str, ...], tmp_path: Path) -> None:
    from peft import PeftModel

    made = adapted(bare(name), target_modules=targets, lora_r=2)
    made.save(tmp_path / "a", {"note": [1, "x"]})
    theirs = PeftModel.from_pretrained(tiny_model(name), str(tmp_path / "a"))
    assert torch.equal(theirs(input_ids=IDS).logits, made.model(IDS).logits)
    again = adapted(bare(name), seed=5, target_modules=targets, lora_r=2)
    assert again.load(tmp_path / "a", {"note": [1, "x"]}) == {"note": [1, "x"]}
    assert torch.equal(again.model(IDS).logits, made.model(IDS).logits)
    again.save(tmp_path / "b", {"note": [1, "x"]})
    for file in (TENSORS, CONFIG, FACTS):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file
    config = json.loads((tmp_path / "a" / CONFIG).read_text())
    assert (config["base_model_name_or_path"], config["inference_mode"]) == ("tiny", True)


def test_layers_that_store_their_weight_transposed_are_adapted_too() -> None:
    config = GPT2Config(vocab_size=96, n_positions=32, n_embd=32, n_layer=1, n_head=4)
    backbone = wrap_backbone(GPT2LMHeadModel(config), None, "tiny")
    made = adapted(backbone, lora_r=2, target_modules=("c_attn",))
    assert made.trainable_parameters == 2 * (32 + 96)
    assert not torch.equal(made.model(IDS).logits, backbone.model(IDS).logits)


def other_backbone(folder: Path) -> Adapter:
    return adapted(bare(seed=1))


def truncated(folder: Path) -> Adapter:
    (folder / TENSORS).write_bytes((folder / TENSORS).read_bytes()[:-4])
    return adapted()


def missing(folder: Path) -> Adapter:
    (folder / TENSORS).unlink()
    return adapted()


def signed(folder: Path, data: bytes) -> Adapter:
    """Other tensors, whose checksum is right."""
    (folder / TENSORS).write_bytes(data)
    facts = json.loads((folder / FACTS).read_text())
    (folder / FACTS).write_text(json.dumps(facts | {"tensors": hashlib.sha256(data).hexdigest()}))
    return adapted()


def no_tensors(folder: Path) -> Adapter:
    return signed(folder, b"no tensors")


def other_shapes(folder: Path) -> Adapter:
    return signed(folder, save({"x": torch.zeros(1)}))


def half_written(folder: Path) -> Adapter:
    (folder / FACTS).write_text((folder / FACTS).read_text()[:40])
    return adapted()


def of_peft_alone(folder: Path) -> Adapter:
    (folder / FACTS).unlink()
    return adapted()


def without_facts(folder: Path) -> Adapter:
    (folder / FACTS).write_text(json.dumps({"format": 1}))
    return adapted()


def with_odd_notes(folder: Path) -> Adapter:
    facts = json.loads((folder / FACTS).read_text())
    (folder / FACTS).write_text(json.dumps(facts | {"notes": [1]}))
    return adapted()


def with_a_list_for_facts(folder: Path) -> Adapter:
    (folder / FACTS).write_text("[" * 50 + "]" * 50)
    return adapted()


def of_a_later_version(folder: Path) -> Adapter:
    (folder / FACTS).write_text(json.dumps({"format": 99}))
    return adapted()


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (other_backbone, r"trained on backbone \w+ \(tiny\); wanted: backbone \w+, the one at hand"),
        (lambda folder: adapted(lora_r=4), "has r 8; wanted: r 4"),
        (lambda folder: adapted(lora_alpha=16), "has lora_alpha 32; wanted: lora_alpha 16"),
        (lambda folder: adapted(target_modules=("k_proj",)), r"has target_modules \['q_proj', 'v_proj'\]"),
        (truncated, "adapter_model.safetensors is truncated or was edited"),
        (no_tensors, "adapter_model.safetensors cannot be read"),
        (other_shapes, r"adapter_model.safetensors with base_model\..*lora_A.weight missing"),
        (missing, "no adapter_model.safetensors in"),
        (half_written, "tokmem.json is truncated"),
        (of_peft_alone, "no tokmem.json in"),
        (without_facts, "tokmem.json without fingerprint; wanted: a whole file"),
        (of_a_later_version, "has format 99; wanted: at most format 1; .*pip install --upgrade tokmem"),
        (with_odd_notes, r"notes \[1\]; wanted: an object"),
        (with_a_list_for_facts, "tokmem.json holds .*wanted: a JSON object"),
    ],
)
def test_what_does_not_belong_here_is_refused(spoil: Any, match: str, tmp_path: Path) -> None:
    adapted(seed=3).save(tmp_path / "a", {})
    made = spoil(tmp_path / "a")
    before = [p.detach().clone() for p in made.parameters]
    with pytest.raises(AdapterError, match=match):
        made.load(tmp_path / "a")
    assert all(torch.equal(a, b) for a, b in zip(made.parameters, before, strict=True))


@pytest.mark.parametrize(
    ("key", "value"),
    [("r", "8"), ("r", None), ("lora_dropout", []), ("target_modules", 5), ("layers_to_transform", [[1]])],
)
def test_a_configuration_with_odd_values_is_refused(key: str, value: Any, tmp_path: Path) -> None:
    adapted().save(tmp_path / "a", {})
    config = json.loads((tmp_path / "a" / CONFIG).read_text())
    (tmp_path / "a" / CONFIG).write_text(json.dumps(config | {key: value}))
    with pytest.raises(AdapterError, match="is no configuration of an adapter"):
        adapter_shape(tmp_path / "a")


def test_a_folder_of_somebody_elses_is_left_alone(tmp_path: Path) -> None:
    adapted().save(tmp_path, {})
    (tmp_path / "precious.txt").write_text("precious")
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(TokMemError, match=r"precious\.txt"):
        adapted().save(tmp_path, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_notes_that_disagree_are_refused(tmp_path: Path) -> None:
    made = adapted()
    made.save(tmp_path / "a", {"chat": "one"})
    with pytest.raises(AdapterError, match="has chat 'one'; wanted: chat 'two'"):
        made.load(tmp_path / "a", {"chat": "two"})


def test_an_unknown_target_is_told_what_there_is() -> None:
    with pytest.raises(
        ConfigError,
        match=r"'q_prj', 'lm_head' in LlamaForCausalLM.*: down_proj, gate_proj, k_proj, o_proj, q_",
    ):
        adapted(target_modules=("q_prj", "v_proj", "lm_head"))
    with pytest.raises(ConfigError, match=r"'q_proj', 'v_proj' in GPTNeoX.*query_key_value"):
        adapted(bare("gpt-neox"))
    with pytest.raises(ConfigError, match="'mlp'"):
        adapted(target_modules=("mlp",))


@pytest.mark.parametrize(
    "wrong",
    [
        {"lora_r": 0},
        {"lora_r": -1},
        {"lora_r": 2.5},
        {"lora_alpha": 0},
        {"lora_dropout": 1.0},
        {"lora_dropout": -0.1},
        {"target_modules": ()},
        {"target_modules": "q_proj"},
    ],
)
def test_shapes_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(wrong))} .*wanted"):
        LoraSettings(**wrong)


def test_the_least_shape_is_allowed() -> None:
    assert LoraSettings(lora_r=1, lora_alpha=1).lora_alpha == 1


def test_without_peft_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(TokMemError, match=r'peft is not installed.*pip install "tokmem\[peft\]"'):
        adapted()
