"""The settings of memory tokens, and what is checked before they are trained or measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from tokmem.bank.bank import Bank
from tokmem.bank.facts import Origin
from tokmem.bank.init import Start
from tokmem.bank.policy import ClosedForm, Shared
from tokmem.bank.store import load_bank
from tokmem.config import Config, check_least, setting
from tokmem.data.calls.text import HERMES_END, CallStyle
from tokmem.data.chat import Chat
from tokmem.data.encode import PromptMode
from tokmem.data.fields import did_you_mean
from tokmem.errors import BankError, ConfigError, DataError
from tokmem.log import logger
from tokmem.methods.protocol import Setup
from tokmem.model.backbone import Backbone
from tokmem.model.catalog import CATALOG
from tokmem.recall.constrained import Guides
from tokmem.records import Procedure

Addresses = Literal["trained", "closed"]
Renorm = Literal["off", "stage", "step"]


def default_addresses(coupled: bool, renorm: Renorm, negatives: int) -> Addresses:
    """How addresses come about where the user does not say: closed, unless a setting needs trained ones."""
    return "trained" if coupled or renorm != "off" or negatives else "closed"


def check_objects(**given: tuple[object, type]) -> None:
    """Refuses arguments of a wrong type. None is allowed.

    Args:
        given: each argument by its name: its value and its type.

    Raises:
        ConfigError: an argument is no object of its type.
    """
    for name, (value, kind) in given.items():
        if value is not None and not isinstance(value, kind):
            raise ConfigError(f"{name}={value!r:.60}", f"{name}={kind.__name__}(...), or leave it out")


@dataclass(frozen=True)
class PromptSettings(Config):
    """What a prompt holds, and how long a sequence may be."""

    prompt: PromptMode = setting("instruction+query", "what a prompt holds")
    max_length: int = setting(1024, "most tokens in a sequence")

    def __post_init__(self) -> None:
        check_least(vars(self), {"max_length": 1})


@dataclass(frozen=True)
class TokMemSettings(Config):
    """Memory tokens: how their rows start, and what keeps newcomers apart from earlier ones."""

    start: Start = setting("mean", "starting rows of memory tokens")
    width: int = setting(1, "memory tokens of each procedure")
    call_style: CallStyle = setting("plain", "how calls of tools end: plain, or hermes for that spelling")
    renorm: Renorm = setting("off", "rescale new rows to the norm of the old: off, stage or step")
    negatives: int = setting(0, "query states to keep of each procedure, to train newcomers against")
    addresses: Addresses = setting("trained", "addresses of decoupled tokens: trained, or computed (closed)")
    shared: Shared = setting("updated", "closed addresses: what they share stays frozen, or is updated")
    ridge: float = setting(0.1, "closed addresses: share of the mean variance added to the covariance")
    false_accept: float = setting(0.05, "closed addresses: share of strangers that may be accepted")
    stand_ins: int = setting(0, "closed addresses: number of stand-in queries for each instruction")
    load_task_tokens: str = setting("", "folder of a saved bank: to evaluate, or to add procedures to")

    def __post_init__(self) -> None:
        check_least(vars(self), {"width": 1, "negatives": 0})
        ClosedForm(self.shared, self.ridge, self.false_accept, self.stand_ins)
        if self.addresses == "closed" and self.renorm != "off":
            raise ConfigError(f"addresses closed and renorm {self.renorm}", "renorm off", "leave one out")

    def options(self, setup: Setup) -> dict[str, Any]:
        """The arguments of `TokMem`."""
        names = ["start", "width", "renorm", "negatives", "call_style"]
        if self.addresses == "closed" or not self.load_task_tokens:
            names.append("addresses")
        if self.addresses == "closed":  # a saved bank has its own, unless an experiment asks for others
            usual = asdict(ClosedForm()) if self.load_task_tokens else {}
            names += [name for name in asdict(ClosedForm()) if getattr(self, name) != usual.get(name)]
        given = {name: getattr(self, name) for name in names}
        return given | {
            "chat": setup.chat,
            "prompt": setup.prompt,
            "max_length": setup.max_length,
            "settings": setup.training(),
            "recall": setup.recall,
            "seed": setup.seed,
        }


@dataclass(frozen=True)
class CoupledSettings(TokMemSettings):
    """Coupled memory tokens, whose addresses are trained as published: the same rows also steer."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.addresses == "closed":
            raise ConfigError(
                "addresses closed for method tokmem, whose rows are coupled",
                "decoupled ones",
                "name the method tokmem_dc, such as tokmem_dc+addresses=closed beside tokmem",
            )


def call_ends(style: CallStyle, procedures: Iterable[Procedure]) -> dict[str, str]:
    """The text behind each tool's arguments, by the tool's name."""
    return {p.name: HERMES_END for p in procedures if style == "hermes" and p.parameters is not None}


def as_trained(bank: Bank, origin: Origin, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a memory; where none is given, those that its bank was trained with.

    Raises:
        ConfigError: the options name another call style or another kind of bank, or compute addresses in
            another way.
    """
    own = asdict(bank.statistics.policy) if bank.statistics else {}
    _check_kind_asked(bank, options)
    for name in own:
        if (asked := options.get(name, own[name])) != own[name]:
            raise ConfigError(
                f"{name} {asked} and a bank whose addresses are computed with {own[name]}",
                f"{name} {own[name]}",
                "leave it out, or learn a new bank with it",
            )
    known = {name: origin.training[name] for name in ("prompt", "call_style") if name in origin.training}
    style = known.setdefault("call_style", "plain")
    if (asked := options.get("call_style", style)) != style:
        raise ConfigError(f"call_style {asked} and a bank trained with {style}", style, "name that one")
    return known | dict(options)


def _check_kind_asked(bank: Bank, options: Mapping[str, Any]) -> None:
    """Refuses options that no saved bank can follow: it is coupled or not, and computes addresses or not."""
    coupled, addresses = options.get("coupled", bank.coupled), options.get("addresses")
    if coupled != bank.coupled:
        has = "coupled" if bank.coupled else "decoupled"
        raise ConfigError(f"coupled={coupled} and a bank that is {has}", "a bank as it is", "leave it out")
    if addresses == "trained" and bank.statistics is not None:
        raise ConfigError(
            "addresses='trained' and a bank that computes them", "addresses='closed'", "leave it out"
        )


def check_kind(bank: Bank, wanted: Bank) -> None:
    """Refuses a bank of another kind: coupled or not, with computed addresses or trained ones.

    Raises:
        BankError: it is of another kind.
    """
    if bank.coupled != wanted.coupled:
        kinds = ("decoupled", "coupled")
        raise BankError(f"a bank that is {kinds[bank.coupled]}", f"a {kinds[wanted.coupled]} one")
    if (bank.statistics is None) != (wanted.statistics is None):
        kinds = ("computed", "trained")
        computed, asked = kinds[bank.statistics is None], kinds[wanted.statistics is None]
        raise BankError(f"a bank with {computed} addresses", f"{asked} ones")


def check_bank(setup: Setup, bank: Bank, folder: str, coupled: bool) -> None:
    """Refuses a saved bank that does not fit the experiment.

    Args:
        setup: of the experiment.
        bank: as it was loaded.
        folder: where it was loaded from.
        coupled: whether the method's banks are coupled.

    Raises:
        ConfigError: it is of the other coupling, or was trained with another prompt mode.
        DataError: it is only to be measured, and lacks a procedure.
    """
    if bank.coupled != coupled:
        kind = "coupled" if bank.coupled else "decoupled"
        raise ConfigError(
            f"bank {folder} is {kind}", f"a bank of method {'tokmem' if coupled else 'tokmem_dc'}"
        )
    trained = load_bank(Path(folder))[1].training.get("prompt", setup.prompt)
    if trained != setup.prompt and not setup.measures_only:
        raise ConfigError(
            f"prompt {setup.prompt} and bank {folder}, which was trained with {trained}",
            "one prompt mode for all procedures of a bank",
            f"set prompts to [{trained}]",
        )
    if trained != setup.prompt:
        logger.warning(
            "bank %s was trained with prompt %s and is measured with %s", folder, trained, setup.prompt
        )
    unknown = [name for name in setup.asked if name not in bank]
    if setup.measures_only and unknown:
        raise DataError(
            f"procedure {unknown[0]!r} is not in bank {folder}{did_you_mean(unknown[0], bank.names)}",
            "procedures of the bank",
            "leave it out (choose others by --task or data.tasks), or train it",
        )


def check_grammars(setup: Setup, own: TokMemSettings, procedures: Sequence[Procedure]) -> None:
    """Refuses constrained recall of a schema that cannot become a grammar.

    Raises:
        ConfigError: the library that constrains arguments is missing.
        RecallError: a schema cannot be made a grammar.
    """
    if setup.recall.guided:
        vocabulary = setup.backbone.model.config.get_text_config().vocab_size
        Guides(procedures, setup.backbone.tokenizer, vocabulary, ())


def origin_of(backbone: Backbone, chat: Chat, training: Mapping[str, Any]) -> Origin:
    """The origin of a bank, with the licence of its backbone if the catalog knows it."""
    named = CATALOG.get(backbone.id)
    notes = {**training, **({"license": named.license} if named else {})}
    own = backbone.configuration
    return Origin(backbone.id, backbone.fingerprint, chat.fingerprint, notes, own, backbone.source_sha256)


def load_own(folder: Path | str, backbone: Backbone, chat: Chat) -> tuple[Bank, Origin]:
    """Loads a bank that must belong to a backbone and a chat format."""
    mark, facts = backbone.fingerprint, backbone.configuration
    return load_bank(folder, fingerprint=mark, chat=chat.fingerprint, configuration=facts)
