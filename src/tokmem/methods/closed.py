"""Learning with closed-form addresses: each procedure's steering alone, then sums of its states.

A steering row is trained with its own memory token given: the loss counts response positions alone and
knows no address, and a procedure's examples are trained apart from all others. So its row depends on nothing
but its own examples and where it starts. Its address depends on sums. Procedures may be learned in any order,
or in different banks that are merged.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from statistics import fmean
from typing import Protocol

import torch
from torch import Tensor

from tokmem.bank.bank import Bank
from tokmem.bank.calibration import ambiguities
from tokmem.bank.closed import close, reference_of
from tokmem.bank.statistics import ClosedForm, Statistics
from tokmem.data.chat import Chat
from tokmem.data.encode import Encoder, PromptMode
from tokmem.errors import BankError, ConfigError, DataError, TrainingError
from tokmem.log import Callbacks, logger
from tokmem.methods.memory_settings import Renorm
from tokmem.model.backbone import Backbone
from tokmem.model.memory_lm import MemoryLM
from tokmem.records import Encoded, Example, Procedure
from tokmem.seeds import stream
from tokmem.train.bank_objective import BankObjective
from tokmem.train.fit import fit
from tokmem.train.loss import MAX_LOGITS
from tokmem.train.settings import FitReport, FitSettings
from tokmem.train.trackers import trackers

KEPT = 8  # states of each procedure that calibrate, where `negatives` asks for no other number


class ClosedMemory(Protocol):
    """What learning reads of a `tokmem.methods.tokmem.TokMem`, which imports this module."""

    backbone: Backbone
    bank: Bank
    lm: MemoryLM
    chat: Chat
    prompt: PromptMode
    renorm: Renorm
    negatives: int
    seed: int

    @property
    def encoder(self) -> Encoder:
        """Examples to token ids, with the bank as it is now."""


def learn_closed(
    memory: ClosedMemory,
    procedures: Sequence[Procedure],
    train: Sequence[Example],
    validation: Sequence[Example],
    settings: FitSettings,
    *,
    checkpoint: Path | None = None,
    callbacks: Callbacks = (),
) -> FitReport:
    """Trains the steering of each procedure alone, counts its states, and computes addresses.

    Args:
        memory: holds the procedures, trainable, and the bank's statistics.
        procedures: of this stage.
        train: their examples, of one turn each.
        validation: examples to keep the best steering by.
        settings: how to train.
        checkpoint: folder for the procedures' checkpoints.
        callbacks: told of each procedure as of a step.

    Raises:
        BankError: the bank's statistics are of states that were read in another way.
        DataError: an example has several turns, or is of no procedure of this stage.
        TrainingError: there is nothing to train, or training failed.
    """
    if not procedures:
        raise TrainingError("no procedures to learn", "at least one, and its examples")
    statistics, steps, reports = _statistics(memory), 0, list[FitReport]()
    own, held = _by_procedure(procedures, train), _by_procedure(procedures, validation)
    told = (*callbacks, *trackers(settings))
    settings = replace(settings, report_to=())
    for callback in told:
        callback.on_begin(0, len(procedures))
    for number, procedure in enumerate(procedures):
        name = procedure.name
        memory.bank.freeze()
        memory.bank.thaw([name])
        folder = checkpoint / f"{number:04d}" if checkpoint else None
        report, states = _train_one(memory, own[name], held[name], settings, folder)
        statistics.add(name, states, best_ordinary(memory.lm, states))
        draws = stream(memory.seed, "kept", name)
        kept = draws.sample(range(len(states)), min(memory.negatives or KEPT, len(states)))
        memory.bank.keep_states(name, states[sorted(kept)])
        steps += report.steps
        reports.append(report)
        values = {"procedure": name, "loss": report.loss, "validation_loss": report.best_loss}
        for callback in told:
            callback.on_step(steps, values)
    memory.bank.thaw([p.name for p in procedures])
    close(memory.bank, [p.name for p in procedures])
    for callback in told:
        callback.on_end(steps)
    _tell_ambiguities(memory)
    return _together(reports)


def _together(reports: Sequence[FitReport]) -> FitReport:
    """What several runs did: sums, and means of their losses."""
    best = [report.best_loss for report in reports if report.best_loss is not None]
    first = [report.first_loss for report in reports if report.first_loss is not None]
    counts = {
        field.name: sum(getattr(report, field.name) for report in reports)
        for field in fields(FitReport)
        if field.name not in ("loss", "best_loss", "first_loss", "prefix_bytes")
    }
    return FitReport(
        loss=fmean(report.loss for report in reports),
        best_loss=fmean(best) if best else None,
        first_loss=fmean(first) if first else None,
        prefix_bytes=max(report.prefix_bytes for report in reports),
        **counts,
    )


def compute_addresses(memory: ClosedMemory, policy: ClosedForm) -> None:
    """Lets an empty bank compute its addresses; a bank that does so already keeps its own policy.

    Raises:
        ConfigError: the bank is coupled, or renorm is on.
        BankError: the bank has trained addresses.
    """
    bank = memory.bank
    if bank.coupled or memory.renorm != "off":
        raise ConfigError(
            f"addresses closed, renorm {memory.renorm}, {'' if bank.coupled else 'de'}coupled",
            "a decoupled bank, and renorm off: a coupled row is trained, for it also steers",
            "set coupled=False (method tokmem_dc), or addresses to trained",
        )
    if bank.statistics is None and len(bank):
        raise BankError(
            f"closed-form addresses for a bank with {len(bank)} trained ones",
            "an empty bank, or one that keeps statistics",
            "learn its procedures again, or set addresses to trained",
        )
    if bank.statistics is None:
        bank.statistics = Statistics(bank.dim, policy, read_with(memory))


def read_with(memory: ClosedMemory) -> dict[str, str]:
    """What the states of a bank were read with: those of other things are never added up with them."""
    return {
        "backbone": memory.backbone.fingerprint,
        "chat format": memory.chat.fingerprint,
        "prompt mode": memory.prompt,
    }


def _statistics(memory: ClosedMemory) -> Statistics:
    """The bank's own, once it is sure that new states may be added."""
    found = memory.bank.statistics
    if found is None:
        raise BankError("a bank without statistics", "one with closed-form addresses", "start an empty bank")
    found.check_alike(Statistics(found.dim, found.policy, read_with(memory)))
    return found


def _by_procedure(
    procedures: Sequence[Procedure], examples: Sequence[Example]
) -> Mapping[str, Sequence[Example]]:
    """The examples of each procedure, in their order."""
    found: dict[str, list[Example]] = {procedure.name: [] for procedure in procedures}
    for example in examples:
        names = [turn.procedure for turn in example.turns]
        if len(names) != 1 or names[0] not in found:
            raise DataError(
                f"example {example.id!r} of procedures {names}",
                "one turn, of a procedure of this stage: closed-form addresses are for single calls so far",
                "set addresses to trained",
            )
        found[names[0]].append(example)
    return found


def _train_one(
    memory: ClosedMemory,
    train: Sequence[Example],
    held: Sequence[Example],
    settings: FitSettings,
    checkpoint: Path | None,
) -> tuple[FitReport, Tensor]:
    """Trains the steering of the one trainable procedure; also gives the states of its examples."""
    encoder = memory.encoder
    heads = {ids[0] for ids in memory.bank.memory.values()}
    encoded, kept = ([_given(encoder.encode(e), heads) for e in part] for part in (train, held))
    encoder.report_cuts()
    reader = MemoryLM(memory.backbone.model, memory.bank, writes=False)
    objective = BankObjective(reader, **settings.prefixes, seed=settings.seed)
    report = fit(objective, encoded, settings, validation=kept, checkpoint=checkpoint)
    return report, _states(objective, encoded, settings)


def _given(encoded: Encoded, heads: Collection[int]) -> Encoded:
    """The example with its memory token given: it is no target of the loss."""
    flags = (on and token not in heads for token, on in zip(encoded.ids, encoded.supervised, strict=True))
    return replace(encoded, supervised=tuple(flags))


@torch.no_grad()
def _states(objective: BankObjective, encoded: Sequence[Encoded], settings: FitSettings) -> Tensor:
    """(N, d) states at the ends of the prompts: those that training has read, where they are still kept."""
    found: dict[int, Tensor] = {}
    for number, window in enumerate(settings.stream(len(encoded)).windows()):
        prefixes = objective.cache.window(("train", number), [encoded[i] for i in window])
        found |= zip(window, (prefix.hidden for prefix in prefixes), strict=True)
    return torch.stack([found[i] for i in range(len(encoded))])


@torch.no_grad()
def best_ordinary(lm: MemoryLM, states: Tensor) -> Tensor:
    """(N,) the best logit of an ordinary token at each state (N, d); replaced rows do not count."""
    size = max(1, MAX_LOGITS // lm.head.model_rows)
    replaced = lm.head.replaced(lm.head.model_rows)
    return torch.cat(
        [lm.head.frozen(part).index_fill_(-1, replaced, -torch.inf).amax(-1) for part in states.split(size)]
    )


def _tell_ambiguities(memory: ClosedMemory) -> None:
    """Warns of procedures that the kept states cannot tell apart."""
    statistics = memory.bank.statistics
    if statistics is None:
        return
    for pair in ambiguities(statistics, memory.bank.states, reference_of(memory.bank)):
        logger.warning(
            "%s and %s take each other's queries: %.0f%% of their kept states go to the other one",
            pair.first,
            pair.second,
            100 * pair.error,
        )
