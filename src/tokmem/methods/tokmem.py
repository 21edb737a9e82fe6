"""TokMem: one trained memory token per procedure beside a frozen backbone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import copy, deepcopy
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tokmem.bank.bank import Bank
from tokmem.bank.init import Start, wide_rows
from tokmem.bank.policy import STAND_INS, ClosedForm, Shared
from tokmem.bank.slots import IdPolicy
from tokmem.bank.store import load_bank
from tokmem.config.elsewhere import guides
from tokmem.data.calls.schema import start_text
from tokmem.data.calls.schema_check import check_schema
from tokmem.data.calls.text import CallStyle
from tokmem.data.chat import Chat
from tokmem.data.coerce import ExamplesLike, ProcedureLike, as_examples, as_procedures, names_given
from tokmem.data.encode import Encoder, PromptMode
from tokmem.errors import BankError, ConfigError, DataError
from tokmem.log import Callbacks, check_callbacks
from tokmem.methods import closed
from tokmem.methods.closed import Stage
from tokmem.methods.composition import Composing, refuse_joining
from tokmem.methods.hub import bank_folder
from tokmem.methods.lessons.card import Card
from tokmem.methods.lessons.teach import Queries, Sources, teach_all
from tokmem.methods.memory import Memory
from tokmem.methods.memory_settings import (
    Addresses,
    CoupledSettings,
    PromptSettings,
    Renorm,
    TokMemSettings,
    as_trained,
    call_ends,
    check_bank,
    check_grammars,
    check_objects,
    default_addresses,
    load_own,
)
from tokmem.methods.protocol import Learned, Method, MethodSpec, Setup, Trained
from tokmem.model.backbone import Backbone, DeviceMap, DTypeName, as_backbone, load_backbone
from tokmem.model.catalog import SMOLLM2
from tokmem.model.memory_lm import MemoryLM
from tokmem.model.placed import values_of
from tokmem.recall.settings import RecallSettings
from tokmem.records import Example, Procedure
from tokmem.seeds import generator
from tokmem.train.bank_objective import BankObjective
from tokmem.train.defaults import settled, warn_unlearned
from tokmem.train.dry_run import DryRun, dry_run
from tokmem.train.fit import fit
from tokmem.train.negatives import keep_states
from tokmem.train.objective import Objective
from tokmem.train.settings import FitReport, FitSettings


class TokMem(Memory, Composing, Trained):
    """A procedural memory: add procedures, fit, recall, save, load.

    Args:
        backbone: a loaded backbone, what `load_backbone` takes as a name, or a causal LM of transformers.
        tokenizer: that of the causal LM; only beside one.
        device, dtype, device_map: for a named backbone; see `load_backbone`.
        bank: an existing bank of this backbone; None starts an empty one.
        coupled: whether a new bank's address and steering are one parameter, as published, or two.
        policy: where a new bank takes its token ids from.
        prompt: whether prompts hold instruction and query, or the query alone.
        max_length: most tokens in a sequence.
        chat: how prompts are written; None takes the backbone's own chat format.
        settings: how it trains; None takes the paper's for `learn`, and for `fit` those of `settings_for`.
        recall: how `answer` and `recall` generate.
        start: starting rows of new memory tokens.
        width: memory tokens a procedure.
        call_style: how calls of tools end: `plain`, or `hermes`, which exports of that spelling need.
        renorm: when to rescale new rows to the mean norm of old ones (Eqs. 5-6): `off`, `stage` or `step`.
        negatives: states before memory tokens to keep of each procedure, to train newcomers against; 0: none.
        addresses: whether a new decoupled bank's addresses are `trained`, or computed in `closed` form from
            statistics of frozen states. Then every procedure's steering is trained alone, `negatives` is
            the number of states that calibrate (0: eight). None: closed, unless `coupled`, `renorm` or
            `negatives` is given.
        shared: see `ClosedForm`; likewise `ridge`, `false_accept` and `stand_ins`.
        seed: of the starting rows, and of the kept states.
    """

    forces = chains = accumulates = True
    keeps = "banks"

    @guides
    def __init__(
        self,
        backbone: Backbone | PreTrainedModel | str = SMOLLM2,
        tokenizer: PreTrainedTokenizerBase | None = None,
        *,
        device: str = "auto",
        dtype: DTypeName | torch.dtype = "auto",
        device_map: DeviceMap = "none",
        bank: Bank | None = None,
        coupled: bool = False,
        policy: IdPolicy = "auto",
        prompt: PromptMode = "instruction+query",
        max_length: int = 1024,
        chat: Chat | None = None,
        settings: FitSettings | None = None,
        recall: RecallSettings | None = None,
        start: Start = "mean",
        width: int = 1,
        call_style: CallStyle = "plain",
        renorm: Renorm = "off",
        negatives: int = 0,
        addresses: Addresses | None = None,
        shared: Shared = "updated",
        ridge: float = 0.1,
        false_accept: float = 0.05,
        stand_ins: int = STAND_INS,
        seed: int = 0,
    ) -> None:
        TokMemSettings(start, width, call_style, renorm, negatives, addresses or "trained")  # checks them
        ClosedForm(shared, ridge, false_accept, stand_ins)
        PromptSettings(prompt, max_length)
        check_objects(chat=(chat, Chat), settings=(settings, FitSettings))
        check_objects(recall=(recall, RecallSettings), seed=(seed, int))
        self.backbone = as_backbone(backbone, tokenizer, device, dtype, device_map)
        if bank is None:
            bank = Bank(self.backbone.dim, self.backbone.id_space(), coupled=coupled, policy=policy)
            addresses = addresses or default_addresses(coupled, renorm, negatives)
        self.bank = bank
        self.lm = MemoryLM(self.backbone.model, self.bank)
        self.chat = chat or Chat(self.backbone.tokenizer)
        self.prompt, self.max_length, self.given_settings = prompt, max_length, settings
        self.settings, self.recall_settings = settings or FitSettings(), recall or RecallSettings()
        self.start, self.width, self.call_style, self.seed = start, width, call_style, seed
        self.renorm, self.negatives, self.history = renorm, negatives, dict[str, Any]()
        if addresses == "closed":
            closed.compute_addresses(self, ClosedForm(shared, ridge, false_accept, stand_ins))

    @classmethod
    def load(
        cls,
        folder: Path | str,
        backbone: Backbone | str | None = None,
        *,
        device: str = "auto",
        **options: Any,
    ) -> TokMem:
        """Loads a saved bank.

        Args:
            folder: as `save` wrote it.
            backbone: the one that the bank belongs to, loaded or by name; None takes the name in the bank.
            device: where a named backbone goes.
            options: those of the constructor; `dtype` and `device_map` are of a named backbone.

        Raises:
            BankError: the bank is damaged, or of another backbone or chat format.
            ConfigError: it was trained with another call style, or computes addresses in another way.
            BackboneError: the backbone cannot be loaded.
        """
        if backbone is None:
            backbone = load_bank(folder)[1].backbone
        kept = {name: options.pop(name) for name in ("dtype", "device_map") if name in options}
        loaded = load_backbone(backbone, device=device, **kept) if isinstance(backbone, str) else backbone
        chat = options.get("chat") or Chat(loaded.tokenizer)
        bank, origin = load_own(folder, loaded, chat)
        memory = cls(loaded, bank=bank, **as_trained(bank, origin, options))
        memory.history = dict(origin.training)
        return memory

    @classmethod
    def from_pretrained(
        cls, id_or_folder: Path | str, backbone: Backbone | str | None = None, **options: Any
    ) -> TokMem:
        """Loads a saved bank from a folder or from the Hugging Face Hub; the rest is as in `load`."""
        return cls.load(bank_folder(id_or_folder), backbone, **options)

    @property
    def notes(self) -> dict[str, Any]:
        """The settings that a result must name."""
        names = ("start", "width", "renorm", "negatives", "call_style")
        held: dict[str, Any] = {"constrained": True} if self.recall_settings.guided else {}
        if self.bank.statistics is not None:
            held |= {"addresses": "closed", **asdict(self.bank.statistics.policy)}
        return {name: getattr(self, name) for name in names} | held

    @property
    def encoder(self) -> Encoder:
        """Examples to token ids, with the bank as it is now."""
        ends = call_ends(self.call_style, self.bank.procedures.values())
        return Encoder(self.chat, self.bank.memory, prompt=self.prompt, max_length=self.max_length, ends=ends)

    def add(
        self,
        procedures: ProcedureLike | Iterable[ProcedureLike],
        description: str = "",
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        """Adds procedures with starting rows, trainable until the next stage begins.

        Args:
            procedures: a name, a `Procedure`, a tool as OpenAI or MCP writes it, or several of these, or a
                mapping of names to descriptions.
            description: of the procedure, if `procedures` is one name.
            parameters: JSON schema of its arguments, if `procedures` is one name.

        Raises:
            BankError: a name is taken, or no token id is free.
            DataError: something in `procedures` is none of these, or a schema cannot be used.
        """
        new = as_procedures(procedures, description, parameters)
        for procedure in new:
            check_schema(procedure)
        self._add(new)

    def _add(self, procedures: Sequence[Procedure]) -> None:
        """Adds procedures whose schemas are checked."""
        model = self.backbone.model
        inputs, outputs = map(values_of, (model.get_input_embeddings(), model.get_output_embeddings()))
        described = [self.chat.text_ids(start_text(p)) for p in procedures]

        def rows(weight: Any, role: str, width: int) -> torch.Tensor:
            draws = generator(self.seed, "start", role, len(self.bank))
            return wide_rows(self.start, weight, described, width, generator=draws)

        steering = rows(inputs, "steering", self.width)
        address = None if self.bank.coupled else rows(outputs, "address", 1)[:, 0]
        self.bank.add(procedures, steering, address)

    def fit(
        self,
        examples: ExamplesLike,
        validation: ExamplesLike = (),
        *,
        procedure: str | None = None,
        checkpoint: Path | None = None,
        callbacks: Callbacks = (),
        **changes: Any,
    ) -> FitReport:
        """Trains those procedures added since the last stage that have examples; the others stay as they are.

        Args:
            examples: examples, pairs of query and response, mappings with `query` and `response` (and
                perhaps `instruction` and `procedure`), a mapping of procedures to their pairs, or the path of
                a JSON lines file, of which the rows of the split `train` count if it has splits. New names in
                a mapping of procedures, a file or `procedure` are added.
            validation: likewise. Where addresses are trained, and in chains, the rows with the lowest loss on
                it are kept. Where procedures train side by side, the last rows stay, and it measures them.
            procedure: what pairs are of; None takes the only one.
            checkpoint: folder to write to, and to resume from: the same call goes on where one has failed.
            callbacks: told of each step and validation (see `tokmem.Callback`).
            changes: changes to the training settings, such as `lr=0.02` or `report_to="wandb"`.

        Raises:
            DataError: examples cannot be read or made to fit, or do not say which procedure they are of.
            ConfigError: there is no such setting, or a callback is none.
            TrainingError: there is nothing to train, or training failed.
        """
        check_callbacks(callbacks)
        before = {*self.bank.names}
        listed, settings = self._take(examples, procedure, changes)
        try:
            held = as_examples(validation, self.bank.names, procedure, "validation")
            with self.bank.only(closed.names_in([*listed, *held])), self._starting_over(checkpoint):
                return self._trained(self._fit(listed, held, settings, checkpoint, callbacks), listed)
        except (BankError, ConfigError, DataError):
            self.bank.undo_add([name for name in self.bank.names if name not in before])
            raise

    def dry_run(self, examples: ExamplesLike, *, procedure: str | None = None, **changes: Any) -> DryRun:
        """Finds out what `fit` would do with the same arguments, and its cost. The memory stays as it is.

        Raises:
            TokMemError: as `fit`.
        """
        draft = copy(self)
        draft.bank = deepcopy(self.bank)
        draft.lm = MemoryLM(self.backbone.model, draft.bank)
        listed, settings = draft._take(examples, procedure, changes)
        names = {id: f"<|mem:{name}|>" for name, ids in draft.bank.memory.items() for id in ids}

        def text_of(token: int) -> str:
            return names.get(token) or str(self.backbone.tokenizer.decode([token]))

        if draft.bank.statistics is not None:
            return closed.dry_run_closed(Stage(draft, listed, (), settings), text_of)
        return dry_run(draft._objective(settings), draft.encoder.encode_all(listed), settings, text_of)

    def _take(
        self, examples: ExamplesLike, procedure: str | None, changes: Mapping[str, Any]
    ) -> tuple[list[Example], FitSettings]:
        """Reads what `fit` was given, and adds the procedures that it names."""
        known = (*self.bank.names, *([procedure] if procedure and procedure not in self else ()))
        listed = as_examples(examples, known, procedure)
        if not listed:
            raise DataError("no examples", "at least one", "give pairs (query, response), or examples")
        refuse_joining(self.bank, closed.names_in(listed))
        alone = closed.side_by_side(self, listed)
        settings = settled(self.given_settings, changes, len(listed), self.backbone, alone)
        if new := [name for name in names_given(examples, listed, procedure) if name not in self]:
            self.add(new)
        return listed, settings

    def _fit(
        self,
        examples: Sequence[Example],
        validation: Sequence[Example],
        settings: FitSettings,
        checkpoint: Path | None,
        callbacks: Callbacks,
    ) -> FitReport:
        if self.bank.statistics is not None:
            return closed.learn_closed(Stage(self, examples, validation, settings, checkpoint, callbacks))
        encoded, held = (self.encoder.encode_all(part) for part in (examples, validation))
        new = [name for name in self.bank.fresh_names if name in closed.names_in(examples)]
        run = partial(fit, validation=held, checkpoint=checkpoint, callbacks=callbacks)
        report = warn_unlearned(run(self._objective(settings), encoded, settings))
        if self.renorm == "stage":
            self.bank.renorm()
        if self.negatives:
            keep_states(self.lm, self.encoder, new, examples, self.negatives, self.seed)
        return report

    def _objective(self, settings: FitSettings) -> Objective:
        """The objective of a training with these settings."""
        own: Any = {"negatives": self.negatives > 0, "renorm": self.renorm == "step", "seed": settings.seed}
        return BankObjective(self.lm, **settings.prefixes, **own)

    def teach(self, sources: Sources, queries: Queries = (), **changes: Any) -> list[Card]:
        """Learns procedures from prompts, skills or tools, without labels; returns a card for each.

        Args:
            sources: one or several paths as `tokmem learn` takes them, or lessons.
            queries: to learn and to measure on, or a file of them; without any the backbone makes them.
            changes: to the settings of lessons and of training, such as `top_k=64` or `epochs=5`.
        """
        return teach_all(self, sources, queries, changes)

    def learn(
        self,
        procedures: Sequence[Procedure],
        train: Sequence[Example],
        validation: Sequence[Example],
        *,
        checkpoint: Path | None = None,
        callbacks: Callbacks = (),
    ) -> Learned:
        """Freezes what was learned before, adds the procedures, and trains them.

        A procedure that is in the bank already is trained on from its present rows. Where the bank keeps
        statistics, addresses are computed (see `tokmem.methods.closed`).
        """
        self.history = {note: value for note, value in self.history.items() if note != "scores"}
        self.bank.freeze()
        self.bank.thaw([p.name for p in procedures if p.name in self.bank])
        idle = {p.name for p in procedures} - closed.names_in(train)
        if idle and self.bank.statistics is not None:
            raise DataError(f"no examples of {', '.join(sorted(idle))}", "some of each", "add some")
        if new := [p for p in procedures if p.name not in self.bank]:
            self._add(new)
        with self._starting_over(checkpoint):
            report = self._fit(train, validation, self.settings, checkpoint, callbacks)
        return Learned(report.seconds, report.steps, report.best_loss, new_examples=report.examples)


def _build(setup: Setup, own: TokMemSettings, coupled: bool) -> Method:
    """An empty memory, or the saved bank of `load_task_tokens`."""
    if not own.load_task_tokens:
        return TokMem(setup.backbone, coupled=coupled, **own.options(setup))
    method = TokMem.load(own.load_task_tokens, setup.backbone, **own.options(setup))
    check_bank(setup, method.bank, own.load_task_tokens, coupled)
    return method


_OF_TOKENS = ("renorm", "negatives", "start", "width", "call_style")
_CLOSED = ("addresses", "shared", "ridge", "false_accept")
SPECS = tuple(
    MethodSpec(
        name,
        TokMem,
        own,
        partial(_build, coupled=coupled),
        variable={"atomic": single, "compositional": chained, "reason": ("start",)},
        sections=("",),
        rates="rates",
        starts_from="load_task_tokens",
        check=check_grammars,
    )
    for name, coupled, own, single, chained in (
        ("tokmem", True, CoupledSettings, _OF_TOKENS, _OF_TOKENS),
        ("tokmem_dc", False, TokMemSettings, (*_OF_TOKENS, *_CLOSED, "stand_ins"), (*_OF_TOKENS, *_CLOSED)),
    )
)
