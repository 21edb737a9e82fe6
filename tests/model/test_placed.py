"""Backbones that accelerate has divided: half of the layers, and a head, come from disk for each call."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.data.tiny_chat import LLAMA, tiny_tokenizer
from tests.tiny import CONFIGS, randomised
from tokmem.data.coerce import as_examples
from tokmem.errors import BackboneError
from tokmem.export.write import export
from tokmem.methods.memory_settings import Addresses
from tokmem.methods.tokmem import TokMem
from tokmem.model.backbone import Backbone, load_backbone
from tokmem.model.lora import Adapter, LoraSettings
from tokmem.model.placed import bare_copy, device_of, is_divided, values_of
from tokmem.model.prefix import read_prefixes
from tokmem.recall.settings import RecallSettings
from tokmem.train.bank_objective import BankObjective
from tokmem.train.step import frozen_prefix_loss, plain_loss

PAIRS = [("Peru", "Lima."), ("Chad", "N'Djamena."), ("Spain", "Madrid."), ("France", "Paris.")]


def saved(folder: Path, name: str) -> Path:
    """A tiny model of an architecture, as a folder."""
    tokenizer = tiny_tokenizer(LLAMA)
    torch.manual_seed(0)
    config = CONFIGS[name]()
    config.vocab_size, config.max_position_embeddings = len(tokenizer) + 8, 512
    randomised(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def places(model: torch.nn.Module, tied: bool) -> dict[str, str]:
    """A map with the second layer on disk, and the head too unless it is the embedding."""
    parts = [name for name, _ in model.model.named_children() if name != "layers"]
    own = {f"model.{name}": "cpu" for name in parts} | {"model.layers.0": "cpu", "model.layers.1": "disk"}
    return own | {"lm_head": "cpu" if tied else "disk"}


@pytest.fixture(params=["llama", "llama-tied", "gemma2"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Backbone, Backbone]:
    """One backbone, undivided and divided."""
    folder = str(saved(tmp_path / "model", request.param))
    whole = load_backbone(folder)
    tied = whole.model.config.tie_word_embeddings
    return whole, load_backbone(folder, device_map=places(whole.model, tied))


def memory(backbone: Backbone, coupled: bool, addresses: Addresses = "trained") -> TokMem:
    recall = RecallSettings(max_new_tokens=6, batch_size=2, mode="chain")
    made = TokMem(backbone, prompt="query", coupled=coupled, addresses=addresses, recall=recall)
    made.add("capital")
    return made


def gradients(made: TokMem, *, frozen: bool) -> list[Tensor]:
    """The loss of examples, and the gradients of all rows."""
    encoded = made.encoder.encode_all(as_examples(PAIRS, made.bank.names, "capital"))
    prefixes = read_prefixes(made.lm, [e.ids[: e.prefix] for e in encoded]) if frozen else []
    loss = frozen_prefix_loss(made.lm, encoded, prefixes) if frozen else plain_loss(made.lm, encoded)
    loss.total.backward()
    rows = [table.fresh.grad for table in made.bank.tables]
    return [loss.total.detach(), *(row for row in rows if row is not None)]


def test_weights_are_told_from_their_places(pair: tuple[Backbone, Backbone]) -> None:
    whole, divided = pair
    assert (is_divided(whole.model), is_divided(divided.model)) == (False, True)
    assert divided.fingerprint == whole.fingerprint
    layer, other = (one.model.model.layers[1].mlp.down_proj for one in pair)
    assert other.weight.device.type == "meta"
    assert torch.equal(values_of(other), layer.weight)
    assert other.weight.device.type == "meta"
    assert device_of(other) == divided.device == torch.device("cpu")


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("coupled", [True, False])
def test_losses_and_gradients_are_those_of_the_undivided_backbone(
    pair: tuple[Backbone, Backbone], coupled: bool, frozen: bool
) -> None:
    wanted, found = (gradients(memory(backbone, coupled), frozen=frozen) for backbone in pair)
    assert len(wanted) == len(found) == (2 if coupled else 3)
    for one, other in zip(wanted, found, strict=True):
        assert one.norm() > 0
        torch.testing.assert_close(other, one, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("addresses", ["trained", "closed"])
def test_a_divided_backbone_learns_and_recalls_the_same(
    pair: tuple[Backbone, Backbone], addresses: Addresses
) -> None:
    banks = []
    for backbone in pair:
        made = memory(backbone, coupled=False, addresses=addresses)
        made.fit(PAIRS, procedure="capital", lr=0.05, epochs=2, batch_size=2)
        banks.append((made.bank, made.recall([query for query, _ in PAIRS])))
    (whole, answers), (divided, others) = banks
    assert [answer.turns for answer in answers] == [answer.turns for answer in others]
    for table, other in zip(whole.tables, divided.tables, strict=True):
        torch.testing.assert_close(other.rows(), table.rows(), rtol=1e-5, atol=1e-5)


def test_a_copy_of_a_hooked_module_runs_its_own_parts() -> None:
    from accelerate.hooks import ModelHook, add_hook_to_module

    module = torch.nn.Sequential(torch.nn.Linear(2, 2))
    add_hook_to_module(module, ModelHook())
    made = bare_copy(module)
    made._modules = {"0": torch.nn.Identity()}
    given = torch.ones(1, 2)
    assert torch.equal(made(given), given)
    assert not torch.equal(module(given), given), "the original is as it was"


def test_adapters_and_exports_need_an_undivided_backbone(
    pair: tuple[Backbone, Backbone], tmp_path: Path
) -> None:
    with pytest.raises(BackboneError, match="an export of a backbone that is divided"):
        export(memory(pair[1], coupled=True), tmp_path / "exported")
    pytest.importorskip("peft")
    with pytest.raises(BackboneError, match="divided among devices"):
        Adapter(pair[1], LoraSettings())


def test_no_prefixes_are_kept_on_disk(
    pair: tuple[Backbone, Backbone], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = memory(pair[1], coupled=True)
    objective = BankObjective(
        made.lm, frozen_prefix=True, cache_bytes=0, disk_bytes=1 << 20, disk_folder=tmp_path / "kept"
    )
    assert objective.cache.files is None
    assert "no prefixes are kept on disk" in caplog.text
