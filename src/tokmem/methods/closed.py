"""Learning with closed-form addresses: steering alone, then sums of states.

A steering row is trained with its own memory token given: the loss counts response positions alone and knows
no address, and procedures train side by side without a share in each other's steps. So a row depends on
nothing but its own examples and where it starts, up to the last bits of products of other shapes. Its address
depends on sums. Procedures may be learned in any order, or in different banks that are merged.

Chains are another matter: the state before a later call has read the steering of the calls before it. There
the steering of a stage trains together, and then one pass reads the states before every call and elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from statistics import fmean
from typing import Protocol

import torch
from torch import Tensor

from tokmem.bank.bank import Bank
from tokmem.bank.calibration import ambiguities
from tokmem.bank.closed import close, reference_of
from tokmem.bank.policy import ClosedForm
from tokmem.bank.statistics import Statistics
from tokmem.data.chat import Chat
from tokmem.data.encode import Encoder, PromptMode
from tokmem.data.stream import SideBySide
from tokmem.errors import BankError, ConfigError, DataError, TrainingError
from tokmem.log import Callbacks, logger
from tokmem.methods.call_states import best_ordinary, elsewhere, prompt_states, states_of_targets
from tokmem.methods.memory_settings import Renorm
from tokmem.model.backbone import Backbone
from tokmem.model.memory_lm import MemoryLM
from tokmem.recall.settings import RecallSettings
from tokmem.records import Encoded, Example, Procedure
from tokmem.seeds import stream
from tokmem.train.bank_objective import BankObjective
from tokmem.train.fit import fit
from tokmem.train.settings import FitReport, FitSettings
from tokmem.train.steering import SteeringObjective
from tokmem.train.trackers import trackers

KEPT = 8  # states of each procedure that calibrate, where `negatives` asks for no other number
MOST_TOKENS = 32_768  # of the prompts of procedures that train side by side


class ClosedMemory(Protocol):
    """The parts of `TokMem` that learning uses. `TokMem` imports this module, so it is not named here."""

    backbone: Backbone
    bank: Bank
    lm: MemoryLM
    chat: Chat
    prompt: PromptMode
    renorm: Renorm
    recall_settings: RecallSettings
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
    """Trains steering, counts states, and computes addresses.

    Where recall takes one memory token, procedures train independently: each step takes one example of every
    procedure, whatever the batch size, and the rows of the last step stay. Where recall takes chains, all
    procedures of the stage train together.

    Args:
        memory: holds the procedures, trainable, and the bank's statistics.
        procedures: of this stage.
        train: their examples, of one turn each unless recall takes chains.
        validation: held-out examples. They measure the loss; in chains they also choose the best rows.
        settings: how to train.
        checkpoint: folder for checkpoints.
        callbacks: told of each group of procedures as of a step; in chains, of each step.

    Raises:
        BankError: the bank's statistics are of states that were read in another way.
        DataError: an example has several turns outside chains, or is of no procedure of this stage; or the
            bank has a procedure that has no states and gets no examples.
        TrainingError: there is nothing to train, or training failed.
    """
    if not procedures:
        raise TrainingError("no procedures to learn", "at least one, and its examples")
    known = {*_statistics(memory).counts, *(p.name for p in procedures)}
    if idle := [name for name in memory.bank.names if name not in known]:
        raise DataError(f"no examples of {', '.join(idle)}", "some of every new procedure", "or remove them")
    learn = _chained if memory.recall_settings.mode == "chain" else _side_by_side
    report = learn(memory, procedures, train, validation, settings, checkpoint, callbacks)
    memory.bank.thaw([p.name for p in procedures])
    close(memory.bank, [p.name for p in procedures])
    _tell_ambiguities(memory)
    return report


def _side_by_side(
    memory: ClosedMemory,
    procedures: Sequence[Procedure],
    train: Sequence[Example],
    validation: Sequence[Example],
    settings: FitSettings,
    checkpoint: Path | None,
    callbacks: Callbacks,
) -> FitReport:
    """Trains the steering of procedures independently, and counts the states at the ends of their prompts."""
    statistics, steps, reports = _statistics(memory), 0, list[FitReport]()
    own, held = (_by_procedure(memory, procedures, part) for part in (train, validation))
    told, groups = (*callbacks, *trackers(settings)), _groups(own)
    settings = replace(settings, report_to=())
    for callback in told:
        callback.on_begin(0, len(groups))
    for number, names in enumerate(groups):
        memory.bank.freeze()
        memory.bank.thaw(names)
        folder = checkpoint / f"{number:04d}" if checkpoint else None
        report = _train_group(memory, statistics, {n: (own[n], held[n]) for n in names}, settings, folder)
        steps += report.steps
        reports.append(report)
        values = {"procedures": len(names), "loss": report.loss, "validation_loss": report.best_loss}
        for callback in told:
            callback.on_step(steps, values)
    for callback in told:
        callback.on_end(steps)
    return _together(reports)


def learn_taught(
    memory: ClosedMemory,
    procedure: Procedure,
    train: Sequence[Example],
    settings: FitSettings,
    objective: Callable[..., BankObjective],
    checkpoint: Path | None = None,
) -> FitReport:
    """Trains the steering of one procedure by an objective of its own, and computes its address.

    Args:
        memory: holds the procedure, and the bank's statistics.
        procedure: the one to learn.
        train: its examples, of one turn each.
        settings: how to train.
        objective: makes the loss of responses; it takes the arguments of `BankObjective`.
        checkpoint: folder of the run's checkpoint.

    Raises:
        TokMemError: as `learn_closed`.
    """
    statistics, name = _statistics(memory), procedure.name
    memory.bank.freeze()
    memory.bank.thaw([name])
    examples = _by_procedure(memory, [procedure], train)[name]
    own = objective(reader(memory), **settings.prefixes, seed=settings.seed)
    report = fit(own, examples, settings, checkpoint=checkpoint)
    _count(memory, statistics, name, prompt_states(own, examples, settings.stream(len(examples))))
    close(memory.bank, [name])
    _tell_ambiguities(memory)
    return report


def _groups(examples: Mapping[str, Sequence[Encoded]]) -> list[list[str]]:
    """Divides procedures into groups that train side by side.

    Those of a group have equally many examples, and their prompts have at most `MOST_TOKENS` tokens together,
    for their prefixes stay in memory. A single procedure may have more.
    """
    groups: dict[int, list[list[str]]] = {}
    room: dict[int, int] = {}
    for name, own in examples.items():
        need = sum(example.prefix for example in own)
        if room.get(len(own), 0) < need:
            groups.setdefault(len(own), []).append([])
            room[len(own)] = MOST_TOKENS
        groups[len(own)][-1].append(name)
        room[len(own)] -= need
    return [group for several in groups.values() for group in several]


def _train_group(
    memory: ClosedMemory,
    statistics: Statistics,
    examples: Mapping[str, tuple[Sequence[Encoded], Sequence[Encoded]]],
    settings: FitSettings,
    checkpoint: Path | None,
) -> FitReport:
    """Trains the steering of the trainable procedures, and counts the states of their examples.

    Args:
        memory: holds the procedures.
        statistics: receive the states.
        examples: for each procedure those to train on, equally many, and held-out ones.
        settings: how to train.
        checkpoint: folder of the run's checkpoint.
    """
    train = [e for own, _ in examples.values() for e in own]
    held = [e for _, kept in examples.values() for e in kept]
    count = len(train) // len(examples)
    order = SideBySide(len(examples), count, settings.window, settings.shuffle, settings.seed)
    objective = SteeringObjective(reader(memory), **settings.prefixes, seed=settings.seed)
    alone = replace(settings, accumulation=1, patience=0)
    report = fit(objective, train, alone, order=order, checkpoint=checkpoint)
    states = prompt_states(objective, train, order)
    for number, name in enumerate(examples):
        _count(memory, statistics, name, states[number * count : (number + 1) * count])
    return replace(report, best_loss=_held_loss(objective, held, settings))


@torch.no_grad()
def _held_loss(objective: SteeringObjective, held: Sequence[Encoded], settings: FitSettings) -> float | None:
    """The mean loss of held-out examples; None if there are none."""
    if not held:
        return None
    sums = objective.validation(held, settings.batch_size, settings.window)
    return float(sum(one.total.item() for one in sums)) * len(objective.lm.read.fresh_names) / len(held)


def _chained(
    memory: ClosedMemory,
    procedures: Sequence[Procedure],
    train: Sequence[Example],
    validation: Sequence[Example],
    settings: FitSettings,
    checkpoint: Path | None,
    callbacks: Callbacks,
) -> FitReport:
    """Trains the steering of all procedures together, and counts the states before their calls.

    States inside responses and after the last call are counted as those of no call.
    """
    statistics, encoder = _statistics(memory), memory.encoder
    calls = {ids[0]: name for name, ids in memory.bank.memory.items()}
    encoded, held = ([encoder.encode(e) for e in part] for part in (train, validation))
    encoder.report_cuts()
    objective = BankObjective(reader(memory), **settings.prefixes, seed=settings.seed)
    taught, kept = ([given(e, calls) for e in part] for part in (encoded, held))
    report = fit(objective, taught, settings, validation=kept, checkpoint=checkpoint, callbacks=callbacks)
    states, targets = states_of_targets(objective, encoded, settings)
    for procedure in procedures:
        head = memory.bank.memory[procedure.name][0]
        _count(memory, statistics, procedure.name, states[targets == head])
    statistics.add_rest(states[elsewhere(targets, calls, memory.seed)])
    return report


def _count(memory: ClosedMemory, statistics: Statistics, name: str, states: Tensor) -> None:
    """Adds the states of a procedure to the sums, and keeps some of them."""
    statistics.add(name, states, best_ordinary(memory.lm, states))
    draws = stream(memory.seed, "kept", name)
    kept = draws.sample(range(len(states)), min(memory.negatives or KEPT, len(states)))
    memory.bank.keep_states(name, states[sorted(kept)])


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
    memory: ClosedMemory, procedures: Sequence[Procedure], examples: Sequence[Example]
) -> dict[str, list[Encoded]]:
    """The encoded examples of each procedure, in their order, with the memory token given.

    Raises:
        DataError: an example has several turns, or is of no procedure of this stage.
    """
    encoder, found = memory.encoder, {procedure.name: list[Encoded]() for procedure in procedures}
    heads = {ids[0] for ids in memory.bank.memory.values()}
    for example in examples:
        names = [turn.procedure for turn in example.turns]
        if len(names) != 1 or names[0] not in found:
            raise DataError(
                f"example {example.id!r} of procedures {names}",
                "one turn, of a procedure of this stage: recall takes one memory token",
                "set recall.mode to chain, or addresses to trained",
            )
        found[names[0]].append(given(encoder.encode(example), heads))
    encoder.report_cuts()
    return found


def reader(memory: ClosedMemory) -> MemoryLM:
    """The backbone and its bank; memory tokens are read, and never predicted."""
    return MemoryLM(memory.backbone.model, memory.bank, writes=False)


def given(encoded: Encoded, heads: Collection[int]) -> Encoded:
    """The example with its memory token given: it is no target of the loss."""
    flags = (on and token not in heads for token, on in zip(encoded.ids, encoded.supervised, strict=True))
    return replace(encoded, supervised=tuple(flags))


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
