"""What every method can do, so that tracks treat all methods alike, and how a method registers itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Protocol

from tokmem.config.settings import settings
from tokmem.data.chat import Chat
from tokmem.data.encode import PromptMode
from tokmem.log import Callbacks
from tokmem.model.backbone import Backbone
from tokmem.recall.settings import RecallSettings
from tokmem.records import Answer, Example, Procedure
from tokmem.train.settings import FitSettings


@dataclass(frozen=True)
class Learned:
    """What learning cost.

    Attributes:
        seconds: wall time.
        steps: optimizer steps.
        validation_loss: lowest mean loss on the validation examples; None if there were none.
        new_examples: training examples of this call that were seen, counted once an epoch.
        replayed_examples: training examples of earlier calls that were seen, counted likewise.
    """

    seconds: float = 0.0
    steps: int = 0
    validation_loss: float | None = None
    new_examples: int = 0
    replayed_examples: int = 0


class Method(Protocol):
    """Learns procedures from examples and answers queries. Subclasses override the defaults that differ.

    Attributes:
        continual: whether an answer may depend on other procedures learned before the query came.
        forces: whether giving the right procedures may change an answer.
        chains: whether it learns and answers queries with several turns. Other methods see one turn a query,
            which holds all calls as text, one a line.
        retrieves: whether a route names what was retrieved for the prompt.
        accumulates: whether each stage trains new parameters, so that the stages' numbers add up.
        keeps: the folder of a run that its saved knowledge goes into.
    """

    continual: bool = True
    forces: bool = False
    chains: bool = False
    retrieves: bool = False
    accumulates: bool = False
    keeps: str = "learned"

    @property
    def trainable_parameters(self) -> int:
        """How many numbers learning may change."""
        return 0

    @property
    def notes(self) -> Mapping[str, Any]:
        """The settings that a result must name."""
        return {}

    @property
    def training(self) -> Mapping[str, Any]:
        """The training settings that saved knowledge names; empty for a method that trains nothing."""
        return {}

    def train_for(self, epochs: int) -> None:
        """Sets the passes over the next stage's examples; no effect on a method that trains nothing."""
        return

    def address_norms(self) -> Mapping[str, float]:
        """The norm of each procedure's address; empty for a method without addresses."""
        return {}

    def learn(
        self,
        procedures: Sequence[Procedure],
        train: Sequence[Example],
        validation: Sequence[Example],
        *,
        checkpoint: Path | None = None,
        callbacks: Callbacks = (),
    ) -> Learned:
        """Learns a stage of new procedures."""
        ...

    def answer(self, examples: Sequence[Example], *, forced: bool = False) -> list[Answer]:
        """Answers each example's query; `forced` gives the method the right procedures."""
        ...

    def settled(self, example: Example, answer: Answer) -> bool:
        """Whether a free answer stays the same with the right procedures given."""
        return False

    def save(self, folder: Path, training: Mapping[str, Any] | None = None) -> None:
        """Writes what was learned so far, replacing the folder; `training` says where it comes from."""
        ...

    def restore(self, folder: Path) -> None:
        """Loads what `save` wrote; the next `learn` continues from there."""
        ...


class Trained(Method, Protocol):
    """A method that trains with the settings in `settings`."""

    settings: FitSettings

    @property
    def training(self) -> Mapping[str, Any]:
        """The training settings that saved knowledge names."""
        return self.settings.facts

    def train_for(self, epochs: int) -> None:
        """Sets the passes over the next stage's examples."""
        self.settings = replace(self.settings, epochs=epochs)


@dataclass(frozen=True)
class Setup:
    """What a track gives to every method beside the method's own settings.

    Attributes:
        backbone: the loaded backbone.
        fit: how to train; a method may take rate and decay from its own settings instead.
        recall: how to generate.
        prompt: whether prompts hold instruction and query, or the query alone.
        max_length: most tokens in a sequence.
        chat: how prompts are written; None takes the backbone's own chat format.
        seed: of starting rows and order.
        rate: the learning rate that a search tries or chose; None takes the configured one.
        asked: the procedures that queries will ask for.
        measures_only: whether the method loads saved knowledge and learns nothing.
    """

    backbone: Backbone
    fit: FitSettings = field(default_factory=FitSettings)
    recall: RecallSettings = field(default_factory=RecallSettings)
    prompt: PromptMode = "instruction+query"
    max_length: int = 1024
    chat: Chat | None = None
    seed: int = 0
    rate: float | None = None
    asked: tuple[str, ...] = ()
    measures_only: bool = False

    def training(self, **own: Any) -> FitSettings:
        """How to train: `fit` with this seed and the `own` values; a searched rate replaces theirs."""
        searched = {} if self.rate is None else {"lr": self.rate}
        return replace(self.fit, seed=self.seed, **own | searched)


def nothing_to_check(setup: Setup, own: Any, procedures: Sequence[Procedure]) -> None:
    """Accepts any setup."""


@dataclass(frozen=True)
class MethodSpec:
    """How tracks find a method, configure it and build it.

    Attributes:
        name: as experiments name it.
        kind: its class.
        own: its settings, a frozen dataclass.
        build: makes a fresh method from a setup and its own settings.
        variable: by track that offers it, the settings that a variant may change.
        sections: sections of a config that hold its settings, first match first; "" is the config itself. A
            setting that no section holds keeps the default of `own`.
        fixed: settings that the name itself decides; a variant may still change them.
        learns: whether `learn` does anything.
        rates: the dotted key of the learning rates to search; empty for a method that trains nothing.
        starts_from: the dotted key of the setting that names saved knowledge to start from; may be empty.
        check: raises an error before any training if the method cannot be built or could not answer.
    """

    name: str
    kind: type[Method]
    own: type[Any]
    build: Callable[[Setup, Any], Method]
    variable: Mapping[str, tuple[str, ...]]
    sections: tuple[str, ...] = ()
    fixed: Mapping[str, Any] = field(default_factory=dict)
    learns: bool = True
    rates: str = ""
    starts_from: str = ""
    check: Callable[[Setup, Any, Sequence[Procedure]], None] = nothing_to_check

    @property
    def trains(self) -> bool:
        """Whether it has a learning rate, and results that depend on the seed."""
        return bool(self.rates)

    @property
    def rank(self) -> int:
        """Its place among methods by the time that they take, the slowest first.

        Training takes longest. Of methods that train nothing, those that learn have the longer prompts.
        """
        return (not self.trains) + (not self.learns)

    def reads(self, key: str) -> bool:
        """Whether the method reads a setting, named by its dotted key, that not every method reads."""
        section, _, name = key.rpartition(".")
        own = any(name == one.name for one in fields(self.own))
        if section == "training":
            return self.trains and not own
        return key == self.rates or (own and section in self.sections)

    def types(self, track: str) -> dict[str, Any]:
        """The settings that a variant may change in a track, and their types."""
        hints = {one.name: hint for one, hint in settings(self.own)}
        return {name: hints[name] for name in self.variable[track]}

    def own_settings(self, config: Any, changes: Mapping[str, Any]) -> Any:
        """The method's settings in an experiment.

        Args:
            config: the experiment, whose `sections` hold them.
            changes: a variant's changes; the sections check those that they hold.

        Raises:
            ConfigError: a value is out of range.
        """
        held = [getattr(config, name) for name in self.sections if name and hasattr(config, name)]
        places = [*(_changed(section, changes) for section in held), *[config] * ("" in self.sections)]
        given: dict[str, Any] = {}
        for one in fields(self.own):
            holders = [place for place in places if hasattr(place, one.name)]
            if one.name in changes or one.name in self.fixed:
                given[one.name] = changes.get(one.name, self.fixed.get(one.name))
            elif holders:
                given[one.name] = getattr(holders[0], one.name)
        return self.own(**given)


def _changed(section: Any, changes: Mapping[str, Any]) -> Any:
    own = {one.name: changes[one.name] for one in fields(section) if one.name in changes}
    return replace(section, **own) if own else section
