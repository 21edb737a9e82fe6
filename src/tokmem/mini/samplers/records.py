"""Samples records: `name: Anna | age: 31`, `name=Anna, age=31` and `{"name": "Anna", "age": 31}`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from random import Random

from tokmem.mini.family import Sampler
from tokmem.mini.lexicon import (
    ANIMALS,
    CITIES,
    COLORS,
    JOBS,
    NAMES,
)

Value = str | int
Record = dict[str, Value]
Form = Callable[[Record], str]
COUNTRY = dict(CITIES)
VALUES: Mapping[str, Sequence[Value]] = {
    "name": NAMES,
    "age": range(18, 90),
    "city": tuple(COUNTRY),
    "job": JOBS,
    "color": COLORS,
    "pet": ANIMALS,
}
_SIZE = 3


def bars(record: Record) -> str:
    """Writes the record as `name: Anna | age: 31`."""
    return " | ".join(f"{key}: {value}" for key, value in record.items())


def equals(record: Record) -> str:
    """Writes the record as `name=Anna, age=31`."""
    return ", ".join(f"{key}={value}" for key, value in record.items())


as_json: Form = json.dumps
ANY: tuple[Form, ...] = (bars, equals, as_json)


def draw(rng: Random, needs: Sequence[str]) -> Record:
    """Draws a record with the needed fields and others; half the time the fields have their usual order."""
    others = [key for key in VALUES if key not in needs]
    keys = [*needs, *rng.sample(others, _SIZE - len(needs))]
    if rng.random() < 0.5:
        keys.sort(key=list(VALUES).index)
    else:
        rng.shuffle(keys)
    return {key: rng.choice(VALUES[key]) for key in keys}


def tell(answer: Callable[[Record], str], *needs: str, forms: Sequence[Form] = ANY) -> Sampler:
    """Asks about a record in one of the forms; the answer does not depend on the form."""

    def sample(rng: Random) -> tuple[str, str]:
        record = draw(rng, needs)
        return rng.choice(forms)(record), answer(record)

    return sample


def fill(template: str, *needs: str, forms: Sequence[Form] = ANY) -> Sampler:
    """Puts fields of the record into a template."""
    return tell(lambda record: template.format(**record), *needs, forms=forms)
