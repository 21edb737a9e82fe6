"""Families over records: `name: Anna | age: 31`, `name=Anna, age=31` and `{"name": "Anna", "age": 31}`.

An edited record keeps the form of the record that came in, unless the instruction names another form.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from random import Random

from tokmem.mini.families.family import Family
from tokmem.mini.lexicon import ANIMALS, CITIES, COLORS, JOBS, NAMES

Value = str | int
Record = dict[str, Value]
Form = Callable[[Record], str]
Sampler = Callable[[Random], tuple[str, str]]

_COUNTRY = dict(CITIES)
VALUES: Mapping[str, Sequence[Value]] = {
    "name": NAMES,
    "age": range(18, 90),
    "city": tuple(_COUNTRY),
    "job": JOBS,
    "color": COLORS,
    "pet": ANIMALS,
}
_SIZE = 3


def bars(record: Record) -> str:
    """Write the record as `name: Anna | age: 31`."""
    return " | ".join(f"{key}: {value}" for key, value in record.items())


def equals(record: Record) -> str:
    """Write the record as `name=Anna, age=31`."""
    return ", ".join(f"{key}={value}" for key, value in record.items())


_json: Form = json.dumps
_ANY: tuple[Form, ...] = (bars, equals, _json)


def _draw(rng: Random, needs: Sequence[str]) -> Record:
    """Draw a record with the needed fields and others, half the time in the usual order of fields."""
    others = [key for key in VALUES if key not in needs]
    keys = [*needs, *rng.sample(others, _SIZE - len(needs))]
    if rng.random() < 0.5:
        keys.sort(key=list(VALUES).index)
    else:
        rng.shuffle(keys)
    return {key: rng.choice(VALUES[key]) for key in keys}


def _tell(answer: Callable[[Record], str], *needs: str, forms: Sequence[Form] = _ANY) -> Sampler:
    """Ask about a record in one of the forms; the answer does not depend on the form."""

    def sample(rng: Random) -> tuple[str, str]:
        record = _draw(rng, needs)
        return rng.choice(forms)(record), answer(record)

    return sample


def _fill(template: str, *needs: str, forms: Sequence[Form] = _ANY) -> Sampler:
    """Put fields of the record into a template."""
    return _tell(lambda record: template.format(**record), *needs, forms=forms)


def _edit(change: Callable[[Record], Record], *needs: str) -> Sampler:
    """Change a record and write the result in the form of the query."""

    def sample(rng: Random) -> tuple[str, str]:
        record, form = _draw(rng, needs), rng.choice(_ANY)
        return form(record), form(change(record))

    return sample


def _without(record: Record, key: str) -> Record:
    """Remove one field."""
    return {k: value for k, value in record.items() if k != key}


def _drop_first(record: Record) -> Record:
    """Remove the first field."""
    return _without(record, next(iter(record)))


def _swap_first_two(record: Record) -> Record:
    """Exchange the first two fields."""
    first, second, *rest = record.items()
    return dict((second, first, *rest))


def _rename(record: Record, old: str, new: str) -> Record:
    """Give a field another key, in place."""
    return {new if key == old else key: value for key, value in record.items()}


def _older(record: Record) -> Record:
    """Raise the age by one."""
    return {**record, "age": int(record["age"]) + 1}


def _trained(name: str, sample: Sampler, *wordings: str) -> Family:
    """Make a family that the backbone is trained on."""
    return Family(name, wordings, sample)


_VALUES_AND_KEYS = (
    _trained(
        "record_name", _fill("{name}", "name"),
        "Give the name in the record.", "What is the person called?", "Read out the field name.",
        "Who is this record about?", "Write only the value of name.",
    ),
    _trained(
        "record_age", _fill("{age}", "age"),
        "Give the age in the record.", "How old is the person?", "Read out the field age.",
        "How many years has this person lived?", "Write only the value of age.",
    ),
    _trained(
        "record_city", _fill("{city}", "city"),
        "Give the city in the record.", "In which city does the person live?", "Read out the field city.",
        "Name the home town of this person.", "Write only the value of city.",
    ),
    _trained(
        "record_country", _tell(lambda r: _COUNTRY[str(r["city"])], "city"),
        "Name the country of the city in the record.", "In which country does the person live?",
        "Look up the country that the city belongs to.", "Which country is the home of this person?",
        "Write the country in which the recorded city lies.",
    ),
    _trained(
        "record_keys", _tell(", ".join),
        "List the keys of the record.", "Which fields does the record have?",
        "Name the fields without their values.", "Write the field names, separated by commas.",
        "Leave out all values and keep the keys.",
    ),
    _trained(
        "record_values", _tell(lambda r: ", ".join(map(str, r.values()))),
        "List the values of the record.", "What do the fields contain?",
        "Write the values without their keys.",
        "Give all field contents, separated by commas.", "Leave out the keys and keep the values.",
    ),
)  # fmt: skip

_PHRASES = (
    _trained(
        "record_age_sentence", _fill("{name} is {age} years old.", "name", "age"),
        "Say in a sentence how old the person is.", "Turn name and age into a sentence.",
        "Write a full sentence about the age of the person.",
        "Tell us the age in the form: ... is ... years old.",
        "State who is how many years old.",
    ),
    _trained(
        "record_city_sentence", _fill("{name} lives in {city}.", "name", "city"),
        "Say in a sentence where the person lives.", "Turn name and city into a sentence.",
        "Write a full sentence about the home of the person.",
        "Tell us the city in the form: ... lives in ...",
        "State who lives in which city.",
    ),
    _trained(
        "record_job_sentence", _fill("{name} is the {job} of {city}.", "name", "job", "city"),
        "Say in a sentence which job the person does for the city.",
        "Turn name, job and city into a sentence.",
        "Write a full sentence with the name, the job and the city.", "Fill in: ... is the ... of ...",
        "State who does which job for which city.",
    ),
    _trained(
        "record_name_and_age", _fill("{name} ({age})", "name", "age"),
        "Write the name and then the age in parentheses.", "Put the age in round brackets behind the name.",
        "Shorten the record to name (age).", "Give the name, followed by the bracketed age.",
        "Who is it? Add the age between ( and ).",
    ),
    _trained(
        "record_name_and_job", _fill("{name} ({job})", "name", "job"),
        "Write the name and then the job in parentheses.", "Put the job in round brackets behind the name.",
        "Shorten the record to name (job).", "Give the name, followed by the bracketed job.",
        "Who is it? Add the job between ( and ).",
    ),
    _trained(
        "record_name_slash_city", _fill("{name} / {city}", "name", "city"),
        "Write the name and the city with a slash between them.", "Link name and city by a slash.",
        "Shorten the record to name / city.", "Give the name, then /, then the city.",
        "Who lives where? Use only a slash.",
    ),
)  # fmt: skip

_FORMATS = (
    _trained(
        "record_to_json", _tell(_json, forms=(bars, equals)),
        "Write the record as JSON.", "Convert the fields to a JSON object.",
        "Turn this into JSON with quoted keys.",
        "Give the record in braces, as JSON does.", "Which JSON object holds these fields?",
    ),
    _trained(
        "record_to_bars", _tell(bars, forms=(equals, _json)),
        "Write the record with colons and vertical bars.",
        "Convert the fields to the form key: value | key: value.",
        "Separate the fields with bars and use colons.", "Put | between the fields and : after each key.",
        "Turn this into a line of fields split by bars.",
    ),
    _trained(
        "record_to_equals", _tell(equals, forms=(bars, _json)),
        "Write the record with equals signs and commas.",
        "Convert the fields to the form key=value, key=value.",
        "Separate the fields with commas and use equals signs.", "Put = between each key and its value.",
        "Turn this into a row of assignments.",
    ),
)  # fmt: skip

_EDITS = (
    _trained(
        "record_drop_age", _edit(lambda r: _without(r, "age"), "age"),
        "Remove the age from the record.", "Write the record without the field age.", "Delete the age only.",
        "Keep every field except age.", "Hide how old the person is and copy the rest.",
    ),
    _trained(
        "record_drop_first", _edit(_drop_first),
        "Remove the first field of the record.", "Write the record without the field at the front.",
        "Delete whichever field comes first.", "Keep every field except the first.",
        "Begin the record at its second field.",
    ),
    _trained(
        "record_swap_first_two", _edit(_swap_first_two),
        "Swap the first two fields of the record.", "Exchange the opening two fields.",
        "Put the second field before the first.", "Let fields one and two trade places.",
        "Reorder the record so that field two leads and field one follows.",
    ),
    _trained(
        "record_rename_city", _edit(lambda r: _rename(r, "city", "town"), "city"),
        "Rename the field city to town.", "Change the key city into town.",
        "Write town where the key says city.",
        "Let the city field be called town.", "Keep the values, but replace the key city by town.",
    ),
    _trained(
        "record_add_status", _edit(lambda r: {**r, "status": "ok"}),
        "Add a field status with the value ok.", "Append the status ok to the record.",
        "Extend the record: its status is ok.", "Put a last field, status, set to ok.",
        "Copy the record and mark its status as ok.",
    ),
    _trained(
        "record_birthday", _edit(_older, "age"),
        "Increase the age in the record by one.", "Add one year to the age.",
        "Make the person one year older.",
        "It is the birthday of this person; update the record.",
        "Raise the value of age by 1 and keep the rest.",
    ),
)  # fmt: skip

_HELD_OUT = (
    Family(
        "record_json_city_and_age",
        (
            "Write the city and then the age in parentheses.",
            "Put the age in round brackets behind the city.",
            "Shorten the record to city (age).",
            "Give the city, followed by the bracketed age.",
            "Which city is it? Add the age between ( and ).",
        ),
        _fill("{city} ({age})", "city", "age", forms=(_json,)),
        split="settings",
    ),
    Family(
        "record_name_and_city",
        (
            "Write the name and then the city in parentheses.",
            "Put the city in round brackets behind the name.",
            "Shorten the record to name (city).",
            "Give the name, followed by the bracketed city.",
            "Who is it? Add the city between ( and ).",
        ),
        _fill("{name} ({city})", "name", "city", forms=(bars,)),
        split="demo",
    ),
)

FAMILIES: tuple[Family, ...] = (*_VALUES_AND_KEYS, *_PHRASES, *_FORMATS, *_EDITS, *_HELD_OUT)
