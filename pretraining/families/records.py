"""Families over records: `name: Anna | age: 31`, `name=Anna, age=31` and `{"name": "Anna", "age": 31}`.

An edited record keeps the form of the given record, unless the instruction names another form.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from pretraining.families.family import HELD_OUT, trained
from tokmem.mini.family import Family, Sampler
from tokmem.mini.samplers.records import (
    ANY,
    COUNTRY,
    Record,
    as_json,
    bars,
    draw,
    equals,
    fill,
    tell,
)


def _edit(change: Callable[[Record], Record], *needs: str) -> Sampler:
    """Change a record and write the result in the form of the query."""

    def sample(rng: Random) -> tuple[str, str]:
        record, form = draw(rng, needs), rng.choice(ANY)
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


_VALUES_AND_KEYS = (
    trained(
        "record_name", fill("{name}", "name"),
        "Give the name in the record.", "What is the person called?", "Read out the field name.",
        "Who is this record about?", "Write only the value of name.",
    ),
    trained(
        "record_age", fill("{age}", "age"),
        "Give the age in the record.", "How old is the person?", "Read out the field age.",
        "How many years has this person lived?", "Write only the value of age.",
    ),
    trained(
        "record_city", fill("{city}", "city"),
        "Give the city in the record.", "In which city does the person live?", "Read out the field city.",
        "Name the home town of this person.", "Write only the value of city.",
    ),
    trained(
        "record_country", tell(lambda r: COUNTRY[str(r["city"])], "city"),
        "Name the country of the city in the record.", "In which country does the person live?",
        "Look up the country that the city belongs to.", "Which country is the home of this person?",
        "Write the country in which the recorded city lies.",
    ),
    trained(
        "record_keys", tell(", ".join),
        "List the keys of the record.", "Which fields does the record have?",
        "Name the fields without their values.", "Write the field names, separated by commas.",
        "Leave out all values and keep the keys.",
    ),
    trained(
        "record_values", tell(lambda r: ", ".join(map(str, r.values()))),
        "List the values of the record.", "What do the fields contain?",
        "Write the values without their keys.",
        "Give all field contents, separated by commas.", "Leave out the keys and keep the values.",
    ),
)  # fmt: skip

_PHRASES = (
    trained(
        "record_age_sentence", fill("{name} is {age} years old.", "name", "age"),
        "Say in a sentence how old the person is.", "Turn name and age into a sentence.",
        "Write a full sentence about the age of the person.",
        "Tell us the age in the form: ... is ... years old.",
        "State who is how many years old.",
    ),
    trained(
        "record_city_sentence", fill("{name} lives in {city}.", "name", "city"),
        "Say in a sentence where the person lives.", "Turn name and city into a sentence.",
        "Write a full sentence about the home of the person.",
        "Tell us the city in the form: ... lives in ...",
        "State who lives in which city.",
    ),
    trained(
        "record_job_sentence", fill("{name} is the {job} of {city}.", "name", "job", "city"),
        "Say in a sentence which job the person does for the city.",
        "Turn name, job and city into a sentence.",
        "Write a full sentence with the name, the job and the city.", "Fill in: ... is the ... of ...",
        "State who does which job for which city.",
    ),
    trained(
        "record_name_and_age", fill("{name} ({age})", "name", "age"),
        "Write the name and then the age in parentheses.", "Put the age in round brackets behind the name.",
        "Shorten the record to name (age).", "Give the name, followed by the bracketed age.",
        "Who is it? Add the age between ( and ).",
    ),
    trained(
        "record_name_and_job", fill("{name} ({job})", "name", "job"),
        "Write the name and then the job in parentheses.", "Put the job in round brackets behind the name.",
        "Shorten the record to name (job).", "Give the name, followed by the bracketed job.",
        "Who is it? Add the job between ( and ).",
    ),
    trained(
        "record_name_slash_city", fill("{name} / {city}", "name", "city"),
        "Write the name and the city with a slash between them.", "Link name and city by a slash.",
        "Shorten the record to name / city.", "Give the name, then /, then the city.",
        "Who lives where? Use only a slash.",
    ),
)  # fmt: skip

_FORMATS = (
    trained(
        "record_to_json", tell(as_json, forms=(bars, equals)),
        "Write the record as JSON.", "Convert the fields to a JSON object.",
        "Turn this into JSON with quoted keys.",
        "Give the record in braces, as JSON does.", "Which JSON object holds these fields?",
    ),
    trained(
        "record_to_bars", tell(bars, forms=(equals, as_json)),
        "Write the record with colons and vertical bars.",
        "Convert the fields to the form key: value | key: value.",
        "Separate the fields with bars and use colons.", "Put | between the fields and : after each key.",
        "Turn this into a line of fields split by bars.",
    ),
    trained(
        "record_to_equals", tell(equals, forms=(bars, as_json)),
        "Write the record with equals signs and commas.",
        "Convert the fields to the form key=value, key=value.",
        "Separate the fields with commas and use equals signs.", "Put = between each key and its value.",
        "Turn this into a row of assignments.",
    ),
)  # fmt: skip

_EDITS = (
    trained(
        "record_drop_age", _edit(lambda r: _without(r, "age"), "age"),
        "Remove the age from the record.", "Write the record without the field age.", "Delete the age only.",
        "Keep every field except age.", "Hide how old the person is and copy the rest.",
    ),
    trained(
        "record_drop_first", _edit(_drop_first),
        "Remove the first field of the record.", "Write the record without the field at the front.",
        "Delete whichever field comes first.", "Keep every field except the first.",
        "Begin the record at its second field.",
    ),
    trained(
        "record_swap_first_two", _edit(_swap_first_two),
        "Swap the first two fields of the record.", "Exchange the opening two fields.",
        "Put the second field before the first.", "Let fields one and two trade places.",
        "Reorder the record so that field two leads and field one follows.",
    ),
    trained(
        "record_rename_city", _edit(lambda r: _rename(r, "city", "town"), "city"),
        "Rename the field city to town.", "Change the key city into town.",
        "Write town where the key says city.",
        "Let the city field be called town.", "Keep the values, but replace the key city by town.",
    ),
    trained(
        "record_add_status", _edit(lambda r: {**r, "status": "ok"}),
        "Add a field status with the value ok.", "Append the status ok to the record.",
        "Extend the record: its status is ok.", "Put a last field, status, set to ok.",
        "Copy the record and mark its status as ok.",
    ),
    trained(
        "record_birthday", _edit(_older, "age"),
        "Increase the age in the record by one.", "Add one year to the age.",
        "Make the person one year older.",
        "It is the birthday of this person; update the record.",
        "Raise the value of age by 1 and keep the rest.",
    ),
)  # fmt: skip


FAMILIES: tuple[Family, ...] = (
    *_VALUES_AND_KEYS,
    *_PHRASES,
    *_FORMATS,
    *_EDITS,
    HELD_OUT["record_json_city_and_age"],
    HELD_OUT["record_name_and_city"],
)
