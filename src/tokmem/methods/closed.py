"""Learning with closed-form addresses: steering alone, then sums of states.

A steering row is trained with its own memory token given: the loss counts response positions alone and knows
no address, and procedures train side by side without a share in each other's steps. So a row depends on
nothing but its own examples and where it starts, up to the last bits of products of other shapes. Its address
depends on sums. Procedures may be learned in any order, or in different banks that are merged. Each
instruction is also read with stand-in queries, and these states enter the sums.

Chains are another matter: the state before a later call has read the steering of the calls before it. There
the steering of a stage trains together, and then one pass reads the states before every call and elsewhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from tokmem.bank.calibration import ambiguities
from tokmem.bank.closed import close, reference_of
from tokmem.bank.policy import ClosedForm
from tokmem.bank.statistics import Statistics
from tokmem.data.stand_ins import stand_ins
from tokmem.errors import BankError, ConfigError, DataError, TrainingError
from tokmem.log import Callbacks, logger
from tokmem.methods.call_states import prompt_states, response_moments, states_of_targets
from tokmem.methods.counting import (
    ClosedMemory,
    count_chains,
    count_prompts,
    count_stand_ins,
    read_with,
    statistics_of,
    uncounted_chains,
    uncounted_prompts,
)
from tokmem.methods.side_by_side import Group, Onward, groups, together
from tokmem.model.memory_lm import MemoryLM
from tokmem.records import Encoded, Example, Procedure
from tokmem.train.bank_objective import BankObjective
from tokmem.train.defaults import warn_unlearned
from tokmem.train.dry_run import DryRun, dry_run
from tokmem.train.fit import fit, reading
from tokmem.train.parallel import join_processes
from tokmem.train.settings import FitReport, FitSettings
from tokmem.train.steering import SteeringObjective
from tokmem.train.trackers import trackers


@dataclass(frozen=True)
class Stage:
    """What a memory learns together, and how.

    Attributes:
        memory: holds the procedures, trainable, and the bank's statistics.
        train: their examples, of one turn each unless recall takes chains.
        validation: held-out examples. They measure the loss; in chains they also choose the best rows.
        settings: how to train.
        checkpoint: folder for checkpoints.
        callbacks: told of each step.
    """

    memory: ClosedMemory
    train: Sequence[Example]
    validation: Sequence[Example]
    settings: FitSettings
    checkpoint: Path | None = None
    callbacks: Callbacks = ()

    @cached_property
    def names(self) -> list[str]:
        """The trainable procedures that have examples."""
        named = names_in(self.train)
        return [name for name in self.memory.bank.fresh_names if name in named]

    def groups(self) -> list[Group]:
        """Divides single calls into groups of procedures that train side by side.

        Raises:
            DataError: an example has several turns, or is of no procedure of this stage.
        """
        parts = (self.train, self.validation)
        return groups(*(_by_procedure(self.memory, self.names, part) for part in parts))

    def stand_ins(self, names: Sequence[str]) -> dict[str, list[Encoded]]:
        """The prompts of the stand-in queries of those procedures that have some, and no states yet.

        Raises:
            DataError: an instruction leaves no room in a prompt.
        """
        statistics, encoder = statistics_of(self.memory), self.memory.encoder
        if not statistics.policy.stand_ins:
            return {}
        examples = {name: list[Example]() for name in names if name not in statistics.counts}
        for example in self.train:
            if (name := example.turns[0].procedure) in examples:
                examples[name].append(example)
        made = {name: stand_ins(own, statistics.policy.stand_ins) for name, own in examples.items()}
        return {name: [*map(encoder.encode_prompt, some)] for name, some in made.items() if some}

    def steering(self) -> SteeringObjective:
        """The objective of the trainable procedures, each trained by its own examples alone."""
        own = self.settings
        return SteeringObjective(reader(self.memory), **own.prefixes, seed=own.seed)


def names_in(examples: Sequence[Example]) -> set[str]:
    """The procedures of examples."""
    return {turn.procedure for example in examples for turn in example.turns}


def side_by_side(memory: ClosedMemory, examples: Sequence[Example]) -> list[int]:
    """The number of examples of each procedure that would train side by side; none if all train together."""
    if memory.bank.statistics is None or _chains(memory):
        return []
    return [*Counter(turn.procedure for example in examples for turn in example.turns).values()]


def _chains(memory: ClosedMemory) -> bool:
    return memory.recall_settings.mode == "chain"


def learn_closed(stage: Stage) -> FitReport:
    """Trains steering, counts states, and computes addresses.

    Where recall takes one memory token, procedures train independently: each step takes one example of every
    procedure, whatever the batch size, and the rows of the last step stay. Where recall takes chains, all
    procedures of the stage train together.

    Args:
        stage: what to learn, and how.

    Raises:
        BankError: the bank's statistics are of states that were read in another way.
        DataError: an example has several turns outside chains, or is of no procedure of this stage.
        TrainingError: there is nothing to train, or training failed.
    """
    memory, names, fresh = stage.memory, stage.names, stage.memory.bank.fresh_names
    statistics_of(memory)  # refuses other states before it trains
    if not names and names_in(stage.train) <= {*memory.bank.names}:
        raise TrainingError("no procedures to learn", "at least one, and its examples")
    try:
        report = _chained(stage) if _chains(memory) else _side_by_side(stage)
    finally:
        memory.bank.thaw(fresh)  # also those that are not learned yet
    close(memory.bank, names)
    _tell_ambiguities(memory)
    return report


def dry_run_closed(stage: Stage, text_of: Callable[[int], str]) -> DryRun:
    """Finds out what `learn_closed` would do, and its cost; see `tokmem.train.dry_run`."""
    memory, settings = stage.memory, stage.settings
    if _chains(memory):
        objective = BankObjective(reader(memory), **settings.prefixes, seed=settings.seed)
        return dry_run(objective, encode_given(memory, stage.train), settings, text_of)
    alone, found = replace(settings, accumulation=1), list[DryRun]()
    for group in stage.groups():
        memory.bank.freeze()
        memory.bank.thaw(group.names)
        found.append(dry_run(stage.steering(), group.train, alone, text_of, group.order(settings)))
    return DryRun.together(found)


def _side_by_side(stage: Stage) -> FitReport:
    """Trains the steering of procedures independently, and counts the states at the ends of their prompts."""
    given = stage.settings
    if given.patience or given.accumulation > 1:
        logger.warning(
            "patience %d and accumulation %d have no effect: procedures train side by side, each step takes "
            "one example of every procedure, and the rows of the last step stay",
            given.patience,
            given.accumulation,
        )
    settings = replace(given, accumulation=1, patience=0, report_to=())
    parts, reports = stage.groups(), list[FitReport]()
    steps = sum(part.count * settings.lasting(part.count).epochs for part in parts)
    with Onward((*stage.callbacks, *trackers(stage.settings)), steps) as told:
        for number, part in enumerate(parts):
            folder = stage.checkpoint / f"{number:04d}" if stage.checkpoint else None
            reports.append(_train_group(stage, part, settings, folder, told))
    return together(reports)


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
    name = procedure.name
    statistics_of(memory)  # refuses other states before it trains
    memory.bank.freeze()
    memory.bank.thaw([name])
    examples = _by_procedure(memory, [name], train)[name]
    own = objective(reader(memory), **settings.prefixes, seed=settings.seed)
    report = fit(own, examples, settings, checkpoint=checkpoint)
    order, new = settings.stream(len(examples)), uncounted_prompts(memory, name, examples)
    statistics_of(memory).add_inside(response_moments(own, examples, new, order))
    count_prompts(memory, name, prompt_states(own, examples, order), examples)
    close(memory.bank, [name])
    _tell_ambiguities(memory)
    return report


def _train_group(
    stage: Stage, group: Group, settings: FitSettings, checkpoint: Path | None, told: Onward
) -> FitReport:
    """Trains the steering of a group alone, and counts the states of its examples."""
    memory, order, prompts = stage.memory, group.order(settings), stage.stand_ins(group.names)
    memory.bank.freeze()
    memory.bank.thaw(group.names)
    objective = stage.steering()
    report = fit(objective, group.train, settings, order=order, checkpoint=checkpoint, callbacks=[told])
    parts = {n: slice(i * group.count, (i + 1) * group.count) for i, n in enumerate(group.names)}
    new = {p.start + i for n, p in parts.items() for i in uncounted_prompts(memory, n, group.train[p])}
    with reading(objective, settings):
        states = prompt_states(objective, group.train, order)
        inside = response_moments(objective, group.train, new, order)
        lost = _held_loss(objective, group.held, settings)
        made = _stand_in_states(objective, prompts, settings)
    statistics_of(memory).add_inside(inside)
    for name, part in parts.items():
        count_prompts(memory, name, states[part], group.train[part])
        if name in made:
            count_stand_ins(memory, name, made[name])
    report = warn_unlearned(replace(report, best_loss=lost), group.names)
    told.group_ends(report)
    return report


def _stand_in_states(
    objective: SteeringObjective, prompts: Mapping[str, Sequence[Encoded]], settings: FitSettings
) -> dict[str, Tensor]:
    """(n, d) states after the stand-in queries of each procedure. The objective drops what it has read."""
    encoded = [prompt for some in prompts.values() for prompt in some]
    if not encoded:
        return {}
    objective.cache.begin(encoded)
    states = prompt_states(objective, encoded, settings.stream(len(encoded)))
    return dict(zip(prompts, states.split([*map(len, prompts.values())]), strict=True))


@torch.no_grad()
def _held_loss(objective: SteeringObjective, held: Sequence[Encoded], settings: FitSettings) -> float | None:
    """The mean loss of held-out examples; None if there are none."""
    if not held:
        return None
    processes = join_processes()
    own = [example for number, example in enumerate(held) if processes.own(number)]
    sums = objective.validation(own, settings.batch_size, settings.window)
    (total,) = processes.totals([float(sum(one.total.item() for one in sums))])
    return total * len(objective.lm.read.fresh_names) / len(held)


def _chained(stage: Stage) -> FitReport:
    """Trains the steering of all procedures together, and counts the states before their calls.

    States inside responses and after the last call are counted as those of no call.
    """
    memory, settings = stage.memory, stage.settings
    objective = BankObjective(reader(memory), **settings.prefixes, seed=settings.seed)
    encoded, held = (memory.encoder.encode_all(part) for part in (stage.train, stage.validation))
    report = warn_unlearned(
        fit(
            objective,
            _given(memory, encoded),
            settings,
            validation=_given(memory, held),
            checkpoint=stage.checkpoint,
            callbacks=stage.callbacks,
        )
    )
    new = uncounted_chains(memory, stage.names, encoded)
    if not new:
        return report
    if len(new) < len(encoded):  # other windows than those of the training
        objective.begin(new, ())
    with reading(objective, settings):
        states, targets = states_of_targets(objective, new, settings)
    count_chains(memory, stage.names, new, states, targets)
    return report


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
    if memory.prompt == "query" or _chains(memory):  # there is no instruction before a single call
        policy = replace(policy, stand_ins=0)
    if bank.statistics is None:
        bank.statistics = Statistics(bank.dim, policy, read_with(memory))


def _by_procedure(
    memory: ClosedMemory, procedures: Sequence[str], examples: Sequence[Example]
) -> dict[str, list[Encoded]]:
    """The encoded examples of each procedure, in their order, with the memory token given.

    Raises:
        DataError: an example has several turns, or is of no procedure of this stage.
    """
    found = {name: list[Encoded]() for name in procedures}
    for example, its in zip(examples, encode_given(memory, examples), strict=True):
        names = [turn.procedure for turn in example.turns]
        if len(names) != 1:
            raise DataError(
                f"example {example.id or example.query!r:.60} of procedures {names}",
                "one turn: recall takes one memory token",
                "set recall.mode to chain, or addresses to trained",
            )
        if names[0] not in procedures:
            fresh = names[0] in memory.bank.fresh_names
            why = "has no training examples" if fresh else "is learned already"
            raise DataError(
                f"an example of {names[0]!r}, which {why}",
                f"examples of what is trained: {', '.join(procedures) or 'nothing'}",
                "leave it out; tokmem train --load-task-tokens trains the procedures of a bank on",
            )
        found[names[0]].append(its)
    return found


def encode_given(memory: ClosedMemory, examples: Sequence[Example]) -> list[Encoded]:
    """Encodes examples with their memory tokens given."""
    return _given(memory, memory.encoder.encode_all(examples))


def _given(memory: ClosedMemory, encoded: Sequence[Encoded]) -> list[Encoded]:
    """The examples with their memory tokens given."""
    heads = {ids[0] for ids in memory.bank.memory.values()}
    return [given(example, heads) for example in encoded]


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
