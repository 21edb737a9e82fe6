"""Families over dates, clock times, weekdays and months.

A date comes in one of four forms, a time in one of two. Most families accept several forms, and many families
share every form. Numbers on their own (a day, an hour) have no leading zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from random import Random

from pretraining.families.family import HELD_OUT, trained
from tokmem.mini.family import Family, Sampler
from tokmem.mini.lexicon import MONTHS, WEEKDAYS
from tokmem.mini.samplers.dates import (
    DATE_FORMS,
    Time,
    clock24,
    day_first,
    draw_date,
    draw_time,
    iso,
    month_first,
    month_name,
    rewrite,
    slashed,
    time_of_day,
)

# --- dates ----------------------------------------------------------------------------------------


def _shift(move: Callable[[date], date]) -> Sampler:
    """Sample a date in any form; answer with another date in the same form."""

    def sample(rng: Random) -> tuple[str, str]:
        day, form = draw_date(rng), rng.choice(DATE_FORMS)
        return form(day), form(move(day))

    return sample


# fmt: off
DATES = (
    trained("date_year", rewrite(lambda d: str(d.year)),
            "Give the year of the date.", "Which year is this date in?", "Write only the year.",
            "Extract the year from the date.", "Keep the year and drop the day and month."),
    trained("date_day", rewrite(lambda d: str(d.day)),
            "Give the day of the month.", "Which day of the month is this date?",
            "Write only the day number.", "Extract the day from the date.",
            "Keep the day and drop the month and year."),
    trained("date_month_name", rewrite(month_name),
            "Give the name of the month of the date.", "Which month is this date in? Answer with its name.",
            "Write only the month, as a word.", "Extract the month's name from the date.",
            "Name the month and drop the day and year."),
    trained("date_month_number", rewrite(lambda d: str(d.month)),
            "Give the month of the date as a number.", "Which number does the month of this date have?",
            "Write only the month, in digits.", "Extract the month number from the date.",
            "Say as a number from 1 to 12 which month the date is in."),
    trained("date_to_iso", rewrite(iso),
            "Write the date in the form year-month-day, such as 2021-03-14.",
            "Convert the date to ISO format.", "Rewrite this date as numbers with dashes, year first.",
            "Give the ISO form of the date.", "Change the date to YYYY-MM-DD."),
    trained("date_to_slashes", rewrite(slashed),
            "Write the date in the form day/month/year, such as 14/03/2021.",
            "Convert the date to DD/MM/YYYY.", "Rewrite this date as numbers with slashes, day first.",
            "Give the date in slash format.",
            "Put the date in digits with slashes between day, month and year."),
    trained("date_to_month_first", rewrite(month_first),
            "Write the date in the form March 14, 2021.",
            "Convert the date to American style with the month name first.",
            "Rewrite this date as month name, day, comma, year.",
            "Give the full date beginning with the month's name.",
            "Put the month name first, then the day, then a comma and the year."),
    trained("date_to_day_first", rewrite(day_first),
            "Write the date in the form 14 March 2021.", "Convert the date to day, month name and year.",
            "Rewrite this date in British style with the month as a word.",
            "Give the full date beginning with the day, the month named.",
            "Put the day first, then the month name and the year, without commas."),
    trained("date_to_short_month", rewrite(lambda d: f"{d.day} {month_name(d)[:3]} {d.year}"),
            "Write the date with a three-letter month, such as 14 Mar 2021.",
            "Give day, abbreviated month and year.", "Convert the date to a form like 5 Jun 1998.",
            "Rewrite the full date with its month cut to three letters.",
            "Put the day first, then the shortened month name and the year."),
    trained("date_to_dots", rewrite(lambda d: f"{d.day:02}.{d.month:02}.{d.year}"),
            "Write the date with dots, such as 14.03.2021.", "Convert the date to DD.MM.YYYY.",
            "Rewrite this date as numbers with dots, day first.", "Give the date in German dot format.",
            "Put the date in digits with a dot between day, month and year."),
    trained("date_month_and_day", rewrite(lambda d: f"{month_name(d)} {d.day}"),
            "Write the month name and then the day, such as March 14.",
            "Give the date as month and day, no year.", "Drop the year; write month name, then day.",
            "Say which day it is in the form June 5.",
            "Rewrite the date without its year, month name first."),
    trained("date_next_day", _shift(lambda d: d + timedelta(days=1)),
            "Write the date of the next day, in the same form.", "Which date comes one day later?",
            "Move the date forward by one day.", "Give tomorrow's date if today is this one.",
            "Add one day to the date."),
    trained("date_next_year", _shift(lambda d: d.replace(year=d.year + 1)),
            "Write the same date one year later, in the same form.",
            "Which date is exactly one year after this?", "Move the date forward by one year.",
            "Keep day and month, but use the next year.", "Add one year to the date."),
    HELD_OUT["date_slashes_to_month_and_year"],
    HELD_OUT["date_iso_to_day_and_month"],
)
# fmt: on


# --- clock times ----------------------------------------------------------------------------------


def _clock12(time: Time) -> str:
    """Write 3:40 PM."""
    return f"{(time[0] - 1) % 12 + 1}:{time[1]:02} {'AM' if time[0] < 12 else 'PM'}"


def _time_same_form(move: Callable[[Time], Time]) -> Sampler:
    """Sample a time in either form; answer with another time in the same form."""

    def sample(rng: Random) -> tuple[str, str]:
        time, form = draw_time(rng), rng.choice((clock24, _clock12))
        return form(time), form(move(time))

    return sample


def _spoken_quarter(rng: Random) -> tuple[str, str]:
    """Sample a quarter or half hour, as in 3:45 PM, and how it is said: quarter to 4."""
    hour = rng.randint(0, 23)
    minute, phrase = rng.choice(((15, "quarter past"), (30, "half past"), (45, "quarter to")))
    named = hour + (phrase == "quarter to")
    return _clock12((hour, minute)), f"{phrase} {(named - 1) % 12 + 1}"


# fmt: off
TIMES = (
    trained("time_hour", time_of_day(lambda t: str(t[0])),
            "Give the hour of the time.", "Which hour does the clock show?", "Write only the hour.",
            "Extract the hour from this time.", "Keep the hour and drop the minutes."),
    trained("time_minutes", time_of_day(lambda t: str(t[1])),
            "Give the minutes of the time.", "Which minute does the clock show?", "Write only the minutes.",
            "Extract the minutes from this time.", "Keep the minutes and drop the hour."),
    trained("time_to_12", time_of_day(_clock12),
            "Write the time in 12-hour form with AM or PM.", "Convert this time to the 12-hour clock.",
            "Rewrite the time using AM or PM.", "What is this time in AM/PM notation?",
            "Change the 24-hour time to a 12-hour time."),
    trained("time_to_24", time_of_day(clock24, _clock12),
            "Write the time in 24-hour form.", "Convert this time to the 24-hour clock.",
            "Rewrite the time without AM or PM.", "What is this time in 24-hour notation?",
            "Change the 12-hour time to a 24-hour time."),
    trained("time_add_hour", _time_same_form(lambda t: ((t[0] + 1) % 24, t[1])),
            "Add one hour to the time.", "What time is it an hour later?",
            "Move the clock forward by one hour.", "Write the time 60 minutes after this one.",
            "Make this time one hour later."),
    trained("time_subtract_hour", _time_same_form(lambda t: ((t[0] - 1) % 24, t[1])),
            "Subtract one hour from the time.", "What time was it an hour earlier?",
            "Move the clock back by one hour.", "Write the time 60 minutes before this one.",
            "Make this time one hour earlier."),
    trained("time_full_hour", _time_same_form(lambda t: (t[0], 0)),
            "Set the minutes of the time to 00.", "Round the time down to the full hour.",
            "Write the start of the hour that this time is in.", "Keep the hour, but make the minutes zero.",
            "When did the current hour begin?"),
    trained("time_half_of_day", time_of_day(lambda t: "morning" if t[0] < 12 else "afternoon"),
            "Say whether the time is before or after noon: morning or afternoon.",
            "Is this time morning or afternoon?", "Label the time as morning or afternoon.",
            "Write morning for times before 12:00, otherwise afternoon.",
            "Which half of the day is this, morning or afternoon?"),
    trained("time_as_duration", time_of_day(lambda t: f"{t[0]} hours {t[1]} minutes"),
            "Write the time as hours and minutes, such as 15 hours 40 minutes.",
            "Give the hours and the minutes, each followed by its unit.",
            "Read the time as a number of hours and a number of minutes.",
            "Turn this time into a duration in words and digits.",
            "Replace the colon with the words hours and minutes."),
    trained("time_minutes_after", time_of_day(lambda t: f"{t[1]} minutes after {t[0]}"),
            "Write the time in the form 40 minutes after 15.", "Say how many minutes after which hour it is.",
            "Express the time with the words minutes after.",
            "Give the minutes, then minutes after, then the hour.",
            "Link the minutes and the hour by the words minutes after."),
    trained("time_minute_of_hour", time_of_day(lambda t: f"minute {t[1]} of hour {t[0]}"),
            "Write the time in the form minute 40 of hour 15.", "Say which minute of which hour it is.",
            "Express the time with the words minute and of hour.",
            "Name the minute, then the hour it belongs to.", "Tell the time as a minute of an hour."),
    trained("time_dotted", time_of_day(lambda t: clock24(t).replace(":", ".")),
            "Write the time with a dot instead of the colon.", "Replace the colon of the time with a dot.",
            "Put a dot between hour and minutes.", "Use a period as the separator in this time.",
            "Rewrite the time in the form 15.40."),
    trained("time_spoken_quarter", _spoken_quarter,
            "Say the time with half or quarter.", "How is this time spoken, using quarter or half?",
            "Write the time in quarters of an hour, as people say it.",
            "Name this half or quarter hour in words.", "Use half past, quarter past or quarter to."),
    HELD_OUT["time_minutes_past"],
)
# fmt: on


# --- weekdays and months --------------------------------------------------------------------------


def _each(names: Sequence[str], answer: Callable[[int], str]) -> Sampler:
    """Sample one to three names of a cycle; answer each from its position."""

    def sample(rng: Random) -> tuple[str, str]:
        picks = rng.sample(range(len(names)), rng.randint(1, 3))
        return ", ".join(names[i] for i in picks), ", ".join(map(answer, picks))

    return sample


def _span(answer: Callable[[str, str], str]) -> Sampler:
    """Sample a range such as ``Monday to Friday`` or ``March to July``."""

    def sample(rng: Random) -> tuple[str, str]:
        start, end = rng.sample(rng.choice((WEEKDAYS, MONTHS)), 2)
        return f"{start} to {end}", answer(start, end)

    return sample


# fmt: off
CYCLES = (
    trained("weekday_next", _each(WEEKDAYS, lambda i: WEEKDAYS[(i + 1) % 7]),
            "Write the weekday after each one given.", "Which day of the week comes next?",
            "Replace every weekday with the following one.", "Move each weekday forward by a day.",
            "If today is the weekday given, name tomorrow."),
    trained("weekday_previous", _each(WEEKDAYS, lambda i: WEEKDAYS[i - 1]),
            "Write the weekday before each one given.", "Which day of the week came just before?",
            "Replace every weekday with the preceding one.", "Move each weekday back by a day.",
            "If today is the weekday given, name yesterday."),
    trained("weekday_short", _each(WEEKDAYS, lambda i: WEEKDAYS[i][:3]),
            "Abbreviate each weekday to three letters.", "Shorten the weekday names, as in Mon.",
            "Write the short form of every weekday.", "Give the three-letter weekday as on a calendar.",
            "Cut each weekday's name down to its abbreviation."),
    trained("month_next", _each(MONTHS, lambda i: MONTHS[(i + 1) % 12]),
            "Write the month after each one given.", "Which month comes next?",
            "Replace every month with the following one.", "Move each month forward by one.",
            "Give the month that starts when this one ends."),
    trained("month_previous", _each(MONTHS, lambda i: MONTHS[i - 1]),
            "Write the month before each one given.", "Which month came just before?",
            "Replace every month with the preceding one.", "Move each month back by one.",
            "Give the month that ends when this one starts."),
    trained("month_number", _each(MONTHS, lambda i: str(i + 1)),
            "Write the number of each month, from 1 to 12.", "Which number does the month have in the year?",
            "Replace every month's name with its number.", "Turn the month names into numbers.",
            "Give the position of each month in the year."),
    trained("month_short", _each(MONTHS, lambda i: MONTHS[i][:3]),
            "Abbreviate each month to three letters.", "Shorten the month names, as in Jan.",
            "Write the short form of every month.", "Give the three-letter month as on a calendar.",
            "Cut each month's name down to its abbreviation."),
    trained("span_start", _span(lambda a, b: a),
            "Give the start of the range.", "With which day or month does the range begin?",
            "Write only what comes before the word to.", "Keep just the beginning of this span.",
            "When does this period start?"),
    trained("span_end", _span(lambda a, b: b),
            "Give the end of the range.", "With which day or month does the range finish?",
            "Write only what comes after the word to.", "Keep just the end of this span.",
            "When does this period stop?"),
    trained("span_swap", _span(lambda a, b: f"{b} to {a}"),
            "Swap the start and the end of the range.", "Write the range the other way around.",
            "Exchange what stands on the two sides of the word to.",
            "Let the beginning and end of this span trade places.", "Reverse the direction of the period."),
    trained("span_short", _span(lambda a, b: f"{a[:3]}-{b[:3]}"),
            "Write the range with three-letter names and a dash, as in Mon-Fri.",
            "Abbreviate both ends and join them by a dash.",
            "Shorten the range to two abbreviations with a hyphen.",
            "Give this span in compact calendar style.",
            "Use short names, and a dash in place of the word to."),
)
# fmt: on

FAMILIES: tuple[Family, ...] = DATES + TIMES + CYCLES
