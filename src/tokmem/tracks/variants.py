"""What an experiment compares: a method, perhaps with some of its settings changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar, get_args, get_origin

from tokmem.data.fields import did_you_mean
from tokmem.errors import ConfigError
from tokmem.methods.protocol import MethodSpec
from tokmem.methods.registry import methods_of
from tokmem.train.memorise import MemoriseSettings
from tokmem.train.settings import FitSettings

Training = TypeVar("Training", FitSettings, MemoriseSettings)
Types = Mapping[str, Any]  # the type of each setting that a variant may change


@dataclass(frozen=True)
class Variant:
    """A method as an experiment names it: `tokmem`, or `tokmem+renorm=stage`.

    Attributes:
        name: as written; labels its rows and files.
        method: the method.
        changes: its settings that differ from the experiment's.
    """

    name: str
    method: str
    changes: Mapping[str, Any]

    @classmethod
    def parse(cls, text: str, settings: Mapping[str, Types]) -> Variant:
        """Reads `method+key=value+key=value`.

        Args:
            text: as written in `methods`.
            settings: for each method, the settings that may be changed, and their types
                (a `Literal` names all values).

        Raises:
            ConfigError: an unknown method or setting, or a value of another type.
        """
        method, *parts = text.split("+")
        if method not in settings:
            raise ConfigError(f"method {method!r}{did_you_mean(method, settings)}", ", ".join(settings))
        changes: dict[str, Any] = {}
        for part in parts:
            key, equals, value = part.partition("=")
            kind = settings[method].get(key)
            if kind is None or not equals:
                known = ", ".join(f"{name}=..." for name in settings[method]) or "no settings"
                raise ConfigError(f"{part!r} in method {text!r}", f"one of: {known}")
            changes[key] = _value(value, kind, text)
        return cls(text, method, changes)

    def with_rate(self, training: Training) -> Training:
        """The settings of a training at the variant's own rate, if it has one.

        Raises:
            ConfigError: the rate is out of range.
        """
        return replace(training, lr=self.changes.get("lr", training.lr))


@dataclass(frozen=True)
class MethodVariant(Variant):
    """A variant of a method in the registry.

    Attributes:
        spec: how the method is built.
    """

    spec: MethodSpec

    def own(self, config: Any, **more: Any) -> Any:
        """The settings of its method: those of the experiment, then `more`, then its own changes.

        Raises:
            ConfigError: a value is out of range.
        """
        return self.spec.own_settings(config, {**more, **self.changes})


def parse_variants(
    texts: Iterable[str], track: str, more: Mapping[str, Types] | None = None
) -> tuple[MethodVariant, ...]:
    """Reads the `methods` of an experiment.

    Args:
        texts: as written.
        track: whose methods they may name.
        more: by method, settings that the track itself lets a variant change, and their types.

    Raises:
        ConfigError: an unknown method or setting.
    """
    specs = methods_of(track)
    settings = {name: {**spec.types(track), **(more or {}).get(name, {})} for name, spec in specs.items()}
    parsed = (Variant.parse(text, settings) for text in texts)
    return tuple(MethodVariant(**vars(one), spec=specs[one.method]) for one in parsed)


def _value(value: str, kind: Any, text: str) -> Any:
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise ConfigError(f"{value!r} in method {text!r}", f"one of {', '.join(get_args(kind))}")
        return value
    if kind is bool:
        if value not in ("true", "false"):
            raise ConfigError(f"{value!r} in method {text!r}", "true or false")
        return value == "true"
    try:
        return kind(value)
    except ValueError as error:
        raise ConfigError(f"{value!r} in method {text!r}", f"a value of type {kind.__name__}") from error
