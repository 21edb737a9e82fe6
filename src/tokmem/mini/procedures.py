"""Generated procedures and inputs that the training of the bundled backbone never saw."""

from __future__ import annotations

import hashlib
from random import Random

from tokmem.mini.family import Family
from tokmem.mini.samplers import dates, formats, lists, numbers, records, sentences, words

SETTINGS: tuple[Family, ...] = (
    Family(
        "words_drop_first_slashes",
        (
            "Drop the first word and join the rest with slashes.",
            "Put slashes between all words but the first, which is left out.",
            "Begin at the second word and link the words with /.",
            "Leave the opening word out and write the others like a path.",
            "Without its first word, write the row with slashes for spaces.",
        ),
        words.words(lambda w: "/".join(w[1:]), low=4),
        split="settings",
    ),
    Family(
        "list_inner",
        (
            "Remove both the first and the last item.",
            "Write the list without its two ends.",
            "Keep only what lies between the first and the last item.",
            "Leave out the outer items of the list.",
            "Trim one item from each end.",
        ),
        lists.edit(lambda x: x[1:-1], (lists.comma,), low=4),
        split="settings",
    ),
    Family(
        "number_add_4",
        (
            "Add 4 to the number.",
            "What is the given number plus 4?",
            "Increase this number by 4.",
            "Write the number that is 4 higher.",
            "Give the sum of the number and 4.",
        ),
        numbers.number(lambda n: str(n + 4), high=995),
        split="settings",
    ),
    Family(
        "date_iso_to_day_and_month",
        (
            "Write the day and then the month name, such as 14 March.",
            "Give the date as day and month name, day first.",
            "Drop the year; write the day, then name the month.",
            "Say which day it is in the form 5 June.",
            "Rewrite the date without its year, day first, the month as a word.",
        ),
        dates.rewrite(lambda d: f"{d.day} {dates.month_name(d)}", (dates.iso,)),
        split="settings",
    ),
    Family(
        "record_json_city_and_age",
        (
            "Write the city and then the age in parentheses.",
            "Put the age in round brackets behind the city.",
            "Shorten the record to city (age).",
            "Give the city, followed by the bracketed age.",
            "Which city is it? Add the age between ( and ).",
        ),
        records.fill("{city} ({age})", "city", "age", forms=(records.as_json,)),
        split="settings",
    ),
    Family(
        "path_folder_arrows",
        (
            "Give the folder of the file with > instead of slashes.",
            "Remove the file and put > between the folders.",
            "Turn only the folders into breadcrumbs.",
            "Write what stands before the last slash, with arrows > for slashes.",
            "Show the directory as a trail with >, leaving the file out.",
        ),
        formats.path(lambda folders, stem, ext: " > ".join(folders), low=2),
        split="settings",
    ),
)
"""Families to choose settings on."""

DEMO: tuple[Family, ...] = (
    Family(
        "words_swap_ends_hyphens",
        (
            "Swap the first and the last word and join all words with hyphens.",
            "Exchange the two outer words, then put a hyphen between the words.",
            "Write a hyphenated chain in which the end words have traded places.",
            "Switch the opening and closing words and link everything with -.",
            "Replace the spaces by hyphens after the first and last word change places.",
        ),
        words.words(lambda w: "-".join(words.swap_ends(w)), low=4),
        split="demo",
    ),
    Family(
        "list_reverse_join_and",
        (
            "Reverse the list and join all items with and.",
            "Write the items backwards with and between them.",
            "Go from last to first, linking the items by and.",
            "Turn the order around and replace each separator by and.",
            "Starting at the end, connect the items with the word and.",
        ),
        lists.tell(lambda x: " and ".join(x[::-1]), (lists.semicolon,)),
        split="demo",
    ),
    Family(
        "list_ends_ampersand",
        (
            "Write the first and the last item, joined with &.",
            "Take the two ends of the list and put & between them.",
            "Connect the opening item and the closing item by an ampersand.",
            "Drop the brackets and the middle; write first & last.",
            "Link the two outer items with the sign &.",
        ),
        lists.tell(lambda x: f"{x[0]} & {x[-1]}", (lists.bracket,)),
        split="demo",
    ),
    Family(
        "numbers_drop_first_plus",
        (
            "Drop the first number and join the others with plus signs.",
            "Leave out the opening number, then put + between the remaining ones.",
            "Connect all numbers but the first by plus signs.",
            "Remove the starting number; link the rest with plus.",
            "From the second number on, write the list as an addition, unsolved.",
        ),
        numbers.listed(lambda ns: numbers.joined(ns[1:], "+")),
        split="demo",
    ),
    Family(
        "date_slashes_to_month_and_year",
        (
            "Write the month name and the year, such as March 2021.",
            "Give the date as month name and year, no day.",
            "Drop the day; name the month, then write the year.",
            "Say which month of which year it is, like June 1998.",
            "Rewrite the date without its day, the month as a word.",
        ),
        dates.rewrite(lambda d: f"{dates.month_name(d)} {d.year}", (dates.slashed,)),
        split="demo",
    ),
    Family(
        "time_minutes_past",
        (
            "Write the time in the form 40 past 15.",
            "Give the minutes, then the word past, then the hour.",
            "Put the minutes first and link them to the hour with past.",
            "Swap minutes and hour, with past between them.",
            "Tell the time with the word past between minutes and hour.",
        ),
        dates.time_of_day(lambda t: f"{t[1]} past {t[0]}"),
        split="demo",
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
        records.fill("{name} ({city})", "name", "city", forms=(records.bars,)),
        split="demo",
    ),
    Family(
        "sentence_passive_negation",
        (
            "Put the sentence into the passive and make it negative.",
            "Say that the object was not treated so by the subject.",
            "Start with the object and use was not and by.",
            "Deny the statement in the passive voice.",
            "Write a negated passive sentence that names the doer.",
        ),
        sentences.rewrite("{c.what} was not {c.participle} by {c.who}.", sentences.full_clause),
        split="demo",
    ),
    Family(
        "email_surname_first",
        (
            "Write the family name, a comma and the first name of the person behind the address.",
            "Whose e-mail is this? Answer as in a register: surname, first name.",
            "Turn the address into Lastname, Firstname.",
            "Name the owner of the mailbox with the surname first and a comma.",
            "Read the name from the e-mail and put the last name in front, with a comma.",
        ),
        formats.email("{Last}, {First}"),
        split="demo",
    ),
    Family(
        "csv_color_thing_number",
        (
            "Write color and thing as a phrase, then a colon and the number.",
            "Make a price tag that also names the color.",
            "Label the colored thing with its number after a colon.",
            "Turn the row into color thing: number.",
            "Describe the item with its color in front and give the number behind a colon.",
        ),
        formats.csv_row("{c} {a}: {b}"),
        split="demo",
    ),
)
"""Families to report results on."""


def is_held_out_input(query: str) -> bool:
    """Returns whether a query is among the eighth of all inputs that no training of a backbone uses."""
    return hashlib.sha256(query.encode()).digest()[0] < 32


def sample_input(family: Family, rng: Random, *, held_out: bool) -> tuple[str, str]:
    """Draws (query, response) of a family from the held-out inputs, or from all the others."""
    while True:
        query, response = family.sample(rng)
        if is_held_out_input(query) == held_out:
            return query, response
