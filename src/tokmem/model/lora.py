"""LoRA adapters on a frozen backbone, made with PEFT.

    y = W x + (alpha / r) B A drop(x)        A: (r, in), B: (out, r), zero before training

(Hu et al., 2021, arXiv 2106.09685.) A saved adapter is a folder in PEFT's own format, which
`PeftModel.from_pretrained` loads. The folder also has `tokmem.json`: the adapter's backbone, and notes.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from tokmem.config import Config, check_least
from tokmem.errors import AdapterError, ConfigError, TokMemError
from tokmem.files import check_format, read_object, recover_folder, replace_folder
from tokmem.model.backbone import Backbone
from tokmem.model.placed import check_undivided
from tokmem.seeds import generator
from tokmem.tensors import check_shapes, read_tensors

FORMAT = 1
TENSORS, CONFIG, FACTS = "adapter_model.safetensors", "adapter_config.json", "tokmem.json"
_SHAPE = ("r", "lora_alpha", "target_modules", "layers_to_transform")  # what PEFT calls it


@dataclass(frozen=True)
class LoraSettings(Config):
    """An adapter's shape; the defaults are the published scripts'.

    Attributes:
        lora_r: rank r.
        lora_alpha: the adapter's product is scaled with alpha / r.
        lora_dropout: share of a layer's inputs that the adapter does not see in training.
        target_modules: names of the linear layers to adapt, as `q_proj` or `layers.0.self_attn.q_proj`.
        lora_layer_indices: numbers of the backbone's layers to adapt, from 0; none: all.
    """

    lora_r: int = 8
    lora_alpha: int = 32
    lora_dropout: float = 0.1
    target_modules: tuple[str, ...] = ("q_proj", "v_proj")
    lora_layer_indices: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_least(vars(self), {"lora_r": 1, "lora_alpha": 1})
        if not 0 <= self.lora_dropout < 1:
            raise ConfigError(f"lora_dropout {self.lora_dropout}", "a share from 0 to below 1", "correct it")
        if not self.target_modules:
            raise ConfigError("target_modules ()", "names of layers", "name some, such as q_proj and v_proj")


def adapter_shape(folder: Path) -> LoraSettings:
    """Reads the shape of a saved adapter.

    Raises:
        AdapterError: there is no adapter, or it is damaged.
    """
    recover_folder(folder)
    config = read_facts(folder / CONFIG)
    try:
        return LoraSettings(
            lora_r=config["r"],
            lora_alpha=config["lora_alpha"],
            lora_dropout=config["lora_dropout"],
            target_modules=tuple(config["target_modules"]),
            lora_layer_indices=tuple(config["layers_to_transform"] or ()),
        )
    except KeyError as error:
        raise AdapterError(
            f"{folder / CONFIG} without {error}", "PEFT's configuration of an adapter", "take it from a copy"
        ) from error
    except (TypeError, ConfigError) as error:
        raise AdapterError(
            f"{folder / CONFIG} is no configuration of an adapter ({error})",
            "PEFT's configuration as it was saved",
            "take it from a copy",
        ) from error


class Adapter:
    """A LoRA adapter on a twin of a frozen backbone.

    The twin has its own modules, and PEFT puts the adapter's modules among them. It shares every weight with
    the backbone, so the weights are not copied, and other users of the backbone never see the adapter. The
    adapter is never merged in place, because that would change the shared weights.

    Args:
        backbone: the backbone; it does not change.
        settings: shape of the adapter.
        seed: of the starting values of A.

    Attributes:
        model: the adapted twin, in evaluation mode.
        parameters: A and B of each adapted layer, float32; nothing else takes a gradient.

    Raises:
        BackboneError: the backbone is divided among devices.
        ConfigError: a target names no linear layer of the backbone.
        TokMemError: PEFT is not installed.
    """

    def __init__(self, backbone: Backbone, settings: LoraSettings, seed: int = 0) -> None:
        peft = peft_library()
        check_undivided(backbone.model, "an adapter")
        _check_targets(backbone.model, settings.target_modules)
        _check_layers(backbone.model, settings.lora_layer_indices)
        self.backbone, self.settings = backbone, settings
        twin = twin_of(backbone.model)
        config = peft.LoraConfig(
            r=settings.lora_r,
            lora_alpha=settings.lora_alpha,
            lora_dropout=settings.lora_dropout,
            target_modules=list(settings.target_modules),
            layers_to_transform=list(settings.lora_layer_indices) or None,
            task_type="CAUSAL_LM",
        )
        with torch.random.fork_rng([]):  # PEFT draws from the global stream; `reset` replaces its values
            self._tuned = peft.get_peft_model(twin, config)
        self.model = twin.eval()
        self._named = {name: p for name, p in twin.named_parameters() if p.requires_grad}
        self.parameters: Sequence[nn.Parameter] = list(self._named.values())
        self.reset(seed)
        self._dropouts = [
            drop for m in twin.modules() for drop in getattr(m, "lora_dropout", nn.ModuleDict()).values()
        ]

    @property
    def trainable_parameters(self) -> int:
        """The number of values in A and B: r (in + out) for each adapted layer."""
        return sum(p.numel() for p in self.parameters)

    def reset(self, seed: int, *names: str | int) -> None:
        """Sets starting values: draws A by `seed` and `names`, and sets B to zero."""
        for name, parameter in self._named.items():
            if ".lora_A." in name:
                _draw(parameter, generator(seed, "lora", name, *names))
            else:
                nn.init.zeros_(parameter)

    def freeze(self) -> None:
        """Ends the training of the adapter: from now on its parameters take no gradient."""
        for parameter in self.parameters:
            parameter.requires_grad_(False)

    def merged(self) -> PreTrainedModel:
        """Makes a separate model with the adapter's products added to its weights; changes nothing else.

        W' = W + (alpha / r) B A
        """
        merged: PreTrainedModel = copy.deepcopy(self._tuned).merge_and_unload()
        return merged

    @contextmanager
    def dropping(self, seed: int, *names: str | int) -> Iterator[None]:
        """Turns the adapter's dropout on within the block; the backbone stays in evaluation mode.

        The dropout depends only on `seed` and `names`. The global random streams do not move.
        """
        place = self.backbone.device
        devices, kind = ([], "cuda") if place.type == "cpu" else ([place], place.type)
        with torch.random.fork_rng(devices, device_type=kind):
            torch.manual_seed(generator(seed, "dropout", *names).initial_seed())
            for drop in self._dropouts:
                drop.train()
            try:
                yield
            finally:
                for drop in self._dropouts:
                    drop.eval()

    def save(self, folder: Path, notes: Mapping[str, Any]) -> None:
        """Writes the adapter as a folder; it replaces an older one as a whole.

        Args:
            folder: the folder; `PeftModel.from_pretrained` can load it too.
            notes: JSON values that `load` returns.
        """
        data = save({name: t.detach().cpu().contiguous() for name, t in self._tensors().items()})
        facts = {
            "format": FORMAT,
            "backbone": self.backbone.id,
            "fingerprint": self.backbone.fingerprint,
            "tensors": hashlib.sha256(data).hexdigest(),
            "notes": dict(notes),
        }
        with replace_folder(folder, (FACTS, TENSORS, CONFIG)) as draft:
            (draft / TENSORS).write_bytes(data)
            for name, content in ((CONFIG, self._config()), (FACTS, facts)):
                text = json.dumps(content, indent=1, ensure_ascii=False)
                (draft / name).write_text(text + "\n", "utf-8")

    def load(self, folder: Path, wanted: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Loads the weights of a saved adapter.

        Args:
            folder: folder that `save` wrote.
            wanted: notes that must equal the saved ones.

        Returns:
            the saved notes.

        Raises:
            AdapterError: a file is missing or damaged, or the saved adapter has another backbone, shape or
                notes. The weights then stay unchanged.
        """
        recover_folder(folder)
        facts, config = read_facts(folder / FACTS), read_facts(folder / CONFIG)
        check_format(folder / FACTS, facts.get("format"), FORMAT, AdapterError)
        missing = [key for key in ("fingerprint", "backbone", "notes", "tensors") if key not in facts]
        if missing:
            raise AdapterError(
                f"{folder / FACTS} without {missing[0]}", "a whole file", "save the adapter again"
            )
        if facts["fingerprint"] != self.backbone.fingerprint:
            raise AdapterError(
                f"adapter {folder} was trained on backbone {facts['fingerprint']} ({facts['backbone']})",
                f"backbone {self.backbone.fingerprint}, the one at hand",
                f"load the backbone it belongs to ({facts['backbone']}), unchanged, or train a new adapter",
            )
        own, notes = self._config(), facts["notes"]
        if not isinstance(notes, dict):
            raise AdapterError(f"{folder / FACTS} with notes {notes!r:.80}", "an object", "save it again")
        pairs = [(name, config.get(name), own[name]) for name in _SHAPE]
        for name, got, want in [*pairs, *((name, notes.get(name), w) for name, w in (wanted or {}).items())]:
            if got != want:
                raise AdapterError(
                    f"adapter {folder} has {name} {got!r}",
                    f"{name} {want!r}",
                    "give it what it was saved with",
                )
        tensors = read_tensors(folder / TENSORS, AdapterError, facts["tensors"])
        check_shapes(tensors, self._tensors(), folder / TENSORS, AdapterError)
        peft_library().set_peft_model_state_dict(self._tuned, tensors)
        return dict(notes)

    def _tensors(self) -> dict[str, Tensor]:
        """The tensors of the adapter under PEFT's names."""
        return dict(peft_library().get_peft_model_state_dict(self._tuned, save_embedding_layers=False))

    def _config(self) -> dict[str, Any]:
        """PEFT's configuration as JSON, in a fixed order and without the path of the backbone."""
        config = self._tuned.active_peft_config.to_dict()
        plain = {key: sorted(value) if isinstance(value, set) else value for key, value in config.items()}
        return {**plain, "base_model_name_or_path": self.backbone.id, "inference_mode": True}


def twin_of(model: PreTrainedModel) -> PreTrainedModel:
    """Copies the modules of a model; the copy shares every weight."""
    shared: dict[int, Any] = {id(p): p for p in model.parameters()}
    return copy.deepcopy(model, shared)


def linear_layers(model: PreTrainedModel) -> list[str]:
    """The names of the linear layers in a model's body, without its output head."""
    body = getattr(model, model.base_model_prefix)
    return [name for name, module in body.named_modules() if isinstance(module, nn.Linear | Conv1D)]


def _check_targets(model: PreTrainedModel, targets: Sequence[str]) -> None:
    layers = linear_layers(model)
    unknown = [t for t in targets if not any(name == t or name.endswith(f".{t}") for name in layers)]
    if unknown:
        kinds = sorted({name.rpartition(".")[2] for name in layers})
        raise ConfigError(
            f"target_modules {', '.join(map(repr, unknown))} in {type(model).__name__}",
            f"names of its linear layers: {', '.join(kinds)}",
            "correct them",
        )


def _check_layers(model: PreTrainedModel, indices: Sequence[int]) -> None:
    count = model.config.get_text_config(decoder=True).num_hidden_layers
    if any(not 0 <= index < count for index in indices):
        raise ConfigError(
            f"lora_layer_indices {list(indices)} in a model of {count} layers",
            f"numbers from 0 to {count - 1}",
            "correct them",
        )


@torch.no_grad()
def _draw(parameter: nn.Parameter, draws: torch.Generator) -> None:
    """Draws PEFT's starting values of A on the CPU, so that all devices start with the same ones."""
    start = torch.empty(parameter.shape)
    nn.init.kaiming_uniform_(start, a=math.sqrt(5), generator=draws)
    parameter.copy_(start)


def read_facts(path: Path) -> dict[str, Any]:
    """Reads a JSON file of a saved adapter.

    Raises:
        AdapterError: it is missing, or holds no JSON object.
    """
    return read_object(path, "an adapter", AdapterError)


def peft_library() -> Any:
    """Imports PEFT.

    Raises:
        TokMemError: it is not installed.
    """
    try:
        import peft
    except ImportError as error:
        raise TokMemError(
            "peft is not installed",
            "the library that adapters and PEFT's prompts are made with",
            'pip install "tokmem[peft]"',
        ) from error
    return peft
