"""Prompt tuning and prefix tuning of the PEFT library, for comparison.

Prompt tuning (Lester et al., 2021, arXiv 2104.08691) trains input embeddings before the whole prompt; prefix
tuning (Li and Liang, 2021, arXiv 2101.00190) trains keys and values of every layer there.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors.torch import save
from torch import Tensor, nn

from tokmem.config import Config, setting
from tokmem.data.chat import Chat
from tokmem.data.collate import IGNORE, collate
from tokmem.data.encode import Encoder, PromptMode
from tokmem.errors import AdapterError, ConfigError
from tokmem.files import recover_folder, replace_folder
from tokmem.log import Callbacks, progress
from tokmem.methods.protocol import Learned, Method, MethodSpec, Setup, Trained
from tokmem.model.backbone import Backbone
from tokmem.model.lora import peft_library, read_facts, twin_of
from tokmem.recall.answer import stop_ids
from tokmem.recall.settings import RecallSettings
from tokmem.records import Answer, Encoded, Example, Procedure
from tokmem.seeds import generator
from tokmem.tensors import check_shapes, read_tensors
from tokmem.train.fit import fit
from tokmem.train.loss import LossSum
from tokmem.train.objective import ResponseObjective
from tokmem.train.settings import FitSettings

Kind = Literal["prompt_tuning", "prefix_tuning"]
TENSORS, FACTS = "prompt.safetensors", "tokmem.json"


@dataclass(frozen=True)
class PeftPromptSettings(Config):
    """How long the prompt is."""

    width: int = setting(1, "virtual tokens")


class PeftPrompt(Trained):
    """One soft prompt of PEFT for all procedures; every stage trains it further.

    Args:
        backbone: a loaded backbone; it is never changed.
        kind: `prompt_tuning` or `prefix_tuning`.
        width: virtual tokens.
        prompt: whether prompts hold instruction and query, or the query alone.
        max_length: most tokens in a sequence, virtual ones included.
        chat: how prompts are written; None takes the backbone's own chat format.
        settings: how `learn` trains; queries are always read with a graph.
        recall: how `answer` generates, always greedily.
        seed: of the starting weights.

    Raises:
        ConfigError: an unknown kind, or a width below 1.
        TokMemError: PEFT is not installed.
    """

    def __init__(
        self,
        backbone: Backbone,
        kind: Kind,
        *,
        width: int = 1,
        prompt: PromptMode = "instruction+query",
        max_length: int = 1024,
        chat: Chat | None = None,
        settings: FitSettings | None = None,
        recall: RecallSettings | None = None,
        seed: int = 0,
    ) -> None:
        if kind not in get_args(Kind) or width < 1:
            raise ConfigError(f"{kind!r} of width {width}", f"one of {', '.join(get_args(Kind))}, at least 1")
        self.backbone, self.kind, self.width = backbone, kind, width
        self.chat = chat or Chat(backbone.tokenizer)
        self.encoder = Encoder(self.chat, {}, prompt=prompt, max_length=max_length - width)
        self.settings, self.recall = settings or FitSettings(), recall or RecallSettings()
        self.model = _tuned(backbone, kind, width, seed)

    @property
    def parameters(self) -> Sequence[nn.Parameter]:
        """The trained parameters."""
        return [p for p in self.model.parameters() if p.requires_grad]

    @property
    def trainable_parameters(self) -> int:
        """How many numbers learning may change."""
        return sum(p.numel() for p in self.parameters)

    @property
    def notes(self) -> dict[str, Any]:
        """The settings that a result must name."""
        return {"kind": self.kind, "width": self.width}

    def learn(
        self,
        procedures: Sequence[Procedure],
        train: Sequence[Example],
        validation: Sequence[Example],
        *,
        checkpoint: Path | None = None,
        callbacks: Callbacks = (),
    ) -> Learned:
        """Trains the prompt on the stage's examples.

        Raises:
            TrainingError: there are no examples, or training failed.
        """
        examples, held = ([self.encoder.encode_plain(e) for e in part] for part in (train, validation))
        self.encoder.report_cuts()
        report = fit(
            PeftObjective(self),
            examples,
            self.settings,
            validation=held,
            checkpoint=checkpoint,
            callbacks=callbacks,
        )
        return Learned(report.seconds, report.steps, report.best_loss, new_examples=report.examples)

    def answer(self, examples: Sequence[Example], *, forced: bool = False) -> list[Answer]:
        """Answers each query greedily. The method routes nothing, so `forced` has no effect."""
        prompts = [self.encoder.prompt(example) for example in examples]
        self.encoder.report_cuts()
        written = self.write(prompts)
        return [
            Answer(e.query, text=self.chat.decode(ids), finished=done, prompt_tokens=len(p) + self.width)
            for e, p, (ids, done) in zip(examples, prompts, written, strict=True)
        ]

    def write(self, prompts: Sequence[Sequence[int]]) -> list[tuple[list[int], bool]]:
        """For each prompt, the ids written greedily after it, and whether the response ended."""
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        written: dict[int, tuple[list[int], bool]] = {}
        with torch.inference_mode(), progress(len(prompts), "recall", unit="query") as bar:
            for _, alike in groupby(order, key=lambda i: len(prompts[i])):
                rows = list(alike)
                for start in range(0, len(rows), self.recall.batch_size):
                    chosen = rows[start : start + self.recall.batch_size]
                    written |= zip(chosen, self._write([prompts[i] for i in chosen]), strict=True)
                    bar.update(len(chosen))
        return [written[i] for i in range(len(prompts))]

    def logits(self, sequences: Sequence[Encoded]) -> tuple[Tensor, Tensor]:
        """(N, V) float32 logits at the N supervised positions, sequence by sequence, and (N,) their tokens.

        PEFT computes logits at every position of the batch.
        """
        batch = collate(sequences, whole=True).to(self.backbone.device)
        output = self.model(input_ids=batch.ids, attention_mask=batch.mask)
        logits, targets = output.logits[:, -batch.ids.shape[1] :], batch.targets[:, 1:]
        chosen = targets != IGNORE
        return logits[chosen].float(), targets[chosen]

    def _write(self, prompts: Sequence[Sequence[int]]) -> list[tuple[list[int], bool]]:
        """The ids written for prompts of one length, and whether each response ended.

        No row is padded, so positions are those of training for every kind of prompt.
        """
        output = self.model(input_ids=torch.tensor(prompts, device=self.backbone.device), use_cache=True)
        rows: list[list[int]] = [[] for _ in prompts]
        done = [False] * len(prompts)
        stops = stop_ids(self.backbone.model, self.chat)
        for left in reversed(range(self.recall.max_new_tokens)):
            picks = output.logits[:, -1].argmax(-1)
            for row, token in enumerate(picks.tolist()):
                done[row] = done[row] or token in stops
                if not done[row]:
                    rows[row].append(token)
            if all(done) or not left:
                break
            output = self.model.get_base_model()(
                input_ids=picks[:, None], past_key_values=output.past_key_values, use_cache=True
            )
        return list(zip(rows, done, strict=True))

    def save(self, folder: Path, training: Mapping[str, Any] | None = None) -> None:
        """Writes the prompt as a folder, replacing an older one as a whole."""
        data = save({name: p.detach().cpu().contiguous() for name, p in self._named().items()})
        facts = self._identity() | {
            "tensors": hashlib.sha256(data).hexdigest(),
            "training": dict(training or {}),
        }
        with replace_folder(folder, (FACTS, TENSORS)) as draft:
            (draft / TENSORS).write_bytes(data)
            (draft / FACTS).write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", "utf-8")

    def restore(self, folder: Path) -> None:
        """Loads what `save` wrote.

        Raises:
            AdapterError: it is missing or damaged, or of another kind, width, backbone or chat format.
        """
        recover_folder(folder)
        facts, path = read_facts(folder / FACTS), folder / TENSORS
        for name, wanted in self._identity().items():
            if facts.get(name) != wanted:
                raise AdapterError(f"{folder} has {name} {facts.get(name)!r:.80}", f"{name} {wanted!r}")
        tensors, own = read_tensors(path, AdapterError, facts.get("tensors", "")), self._named()
        check_shapes(tensors, own, path, AdapterError)
        with torch.no_grad():
            for name, parameter in own.items():
                parameter.copy_(tensors[name])

    def _named(self) -> dict[str, nn.Parameter]:
        """The parameters by the names that a file gives them."""
        return {str(i): parameter for i, parameter in enumerate(self.parameters)}

    def _identity(self) -> dict[str, Any]:
        facts = {"backbone": self.backbone.fingerprint, "chat": self.chat.fingerprint}
        return {"kind": self.kind, "width": self.width, **facts}


class PeftObjective(ResponseObjective):
    """The loss of a model with PEFT's prompt."""

    lm = None  # PEFT's own model runs the sequences

    def __init__(self, method: PeftPrompt) -> None:
        self.method = method

    @property
    def parameters(self) -> Sequence[nn.Parameter]:
        """The prompt's."""
        return self.method.parameters

    def identity(self) -> tuple[Mapping[str, Any], Sequence[Tensor]]:
        """Kind, width, backbone and chat format; and the prompt to start from."""
        return self.method._identity(), [p.detach() for p in self.parameters]

    def response_loss(self, examples: Sequence[Encoded]) -> LossSum:
        """The sum over responses."""
        logits, targets = self.method.logits(examples)
        total = nn.functional.cross_entropy(logits, targets, reduction="sum")
        none = torch.zeros((), device=total.device)
        return LossSum(total, none, len(targets), none.long())


def _tuned(backbone: Backbone, kind: Kind, width: int, seed: int) -> Any:
    """PEFT's model on a twin that shares every weight with the backbone, in evaluation mode."""
    peft = peft_library()
    if kind == "prompt_tuning":  # from rows of the vocabulary: random ones are far from any that it has seen
        config = peft.PromptTuningConfig(
            task_type="CAUSAL_LM", num_virtual_tokens=width, prompt_tuning_init="SAMPLE_VOCAB"
        )
    else:
        config = peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=width)
    with torch.random.fork_rng([]), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PEFT asks transformers by a name of old
        torch.manual_seed(generator(seed, "peft", kind).initial_seed())
        return peft.get_peft_model(twin_of(backbone.model), config).eval()


def _build(setup: Setup, own: PeftPromptSettings, kind: Kind) -> Method:
    return PeftPrompt(
        setup.backbone,
        kind,
        width=own.width,
        prompt=setup.prompt,
        max_length=setup.max_length,
        chat=setup.chat,
        settings=setup.training(),
        recall=setup.recall,
        seed=setup.seed,
    )


KINDS: Mapping[str, Kind] = {"peft_prompt": "prompt_tuning", "peft_prefix": "prefix_tuning"}
SPECS = tuple(
    MethodSpec(
        name,
        PeftPrompt,
        PeftPromptSettings,
        partial(_build, kind=kind),
        variable={"reason": ()},
        rates="rates",
    )
    for name, kind in KINDS.items()
)
