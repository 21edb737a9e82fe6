"""Families over numbers: a bare number, a short list of numbers, a price, a measurement.

Several families share each form of input, so the instruction, not the query, says what to do.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from pretraining.families.family import HELD_OUT, trained
from pretraining.lexicon import ONES, TENS
from tokmem.mini.family import Family, Sampler
from tokmem.mini.samplers.numbers import joined, listed, number

UNITS = {
    "km": "kilometers",
    "m": "meters",
    "cm": "centimeters",
    "mm": "millimeters",
    "kg": "kilograms",
    "g": "grams",
    "l": "liters",
    "ml": "milliliters",
}


# --- bare numbers ---------------------------------------------------------------------------------


def _flip(sampler: Sampler) -> Sampler:
    """Exchange the roles of query and response."""

    def sample(rng: Random) -> tuple[str, str]:
        query, response = sampler(rng)
        return response, query

    return sample


def _in_words(n: int) -> str:
    """Spell out a number below 100."""
    if n < len(ONES):
        return ONES[n]
    tens, ones = divmod(n, 10)
    return f"{TENS[tens]}-{ONES[ones]}" if ones else TENS[tens]


def _ordinal(n: int) -> str:
    """Add the English ordinal suffix: 21 -> 21st, 12 -> 12th."""
    teen = 11 <= n % 100 <= 13
    return f"{n}{'th' if teen else {1: 'st', 2: 'nd', 3: 'rd'}.get(n % 10, 'th')}"


def _digit_count(rng: Random) -> tuple[str, str]:
    """Sample a number of one to six digits, each length as likely, and how many digits it has."""
    length = rng.randint(1, 6)
    return str(rng.randrange(10 ** (length - 1), 10**length)), str(length)


def _add(amount: int) -> Family:
    """Makes the family that adds ``amount`` to a number."""
    return trained(
        f"number_add_{amount}",
        number(lambda n: str(n + amount), high=999 - amount),
        f"Add {amount} to the number.",
        f"What is the given number plus {amount}?",
        f"Increase this number by {amount}.",
        f"Write the number that is {amount} higher.",
        f"Give the sum of the number and {amount}.",
    )


def _subtract(amount: int) -> Family:
    """Makes the family that subtracts ``amount`` from a number."""
    return trained(
        f"number_subtract_{amount}",
        number(lambda n: str(n - amount), low=amount),
        f"Subtract {amount} from the number.",
        f"What is the given number minus {amount}?",
        f"Decrease this number by {amount}.",
        f"Write the number that is {amount} lower.",
        f"Take {amount} away from the number.",
    )


# fmt: off
BARE = (
    *(_add(amount) for amount in (1, 2, 3, 5, 10, 100)),
    *(_subtract(amount) for amount in (1, 10)),
    HELD_OUT["number_add_4"],
    trained("number_parity", number(lambda n: "odd" if n % 2 else "even"),
            "Say whether the number is even or odd.", "Is this number odd or even?",
            "Label the number as even or odd.", "Tell me the parity of the number.",
            "Decide if the given number is odd or even."),
    trained("number_digit_count", _digit_count,
            "Count the digits of the number.", "How many digits does this number have?",
            "Give the number of digits.", "Say how many digits long the number is.",
            "Tell me the length of the number in digits."),
    trained("number_to_words", number(_in_words, low=0, high=99),
            "Write the number in words.", "Spell out this number in English.",
            "Turn the digits into a number word.", "How is this number written as words?",
            "Express the given number with words, not digits."),
    trained("number_from_words", _flip(number(_in_words, low=0, high=99)),
            "Write the number word in digits.", "Turn these words into a number.",
            "Give the numeral for the spelled-out number.", "Which digits stand for this number word?",
            "Express the written number with digits."),
    trained("number_reverse_digits",
            number(lambda n: str(n)[::-1], low=10, keep=lambda n: str(n) != str(n)[::-1]),
            "Write the digits of the number in reverse order.", "Reverse the digits.",
            "Write the number backwards, from its last digit to its first.",
            "Turn the order of the digits around.", "What does this number read from right to left?"),
    trained("number_last_digit", number(lambda n: str(n)[-1], low=10),
            "Give the last digit of the number.", "What is the final digit?",
            "Write only the digit at the end.", "Which digit does this number end with?",
            "Keep just the rightmost digit."),
    trained("number_first_digit", number(lambda n: str(n)[0], low=10),
            "Give the first digit of the number.", "What is the leading digit?",
            "Write only the digit at the start.", "Which digit does this number begin with?",
            "Keep just the leftmost digit."),
    trained("number_ordinal", number(_ordinal),
            "Write the number as an ordinal, such as 7th.", "Add the right ordinal ending: st, nd, rd or th.",
            "Turn the number into a ranking form like 1st.", "Give the ordinal form in digits.",
            "Put st, nd, rd or th after the number."),
    trained("number_round_ten",
            number(lambda n: str((n + 5) // 10 * 10), low=11, high=994, keep=lambda n: n % 5 > 0),
            "Round the number to the nearest ten.", "Which multiple of ten is closest?",
            "Give this number rounded to tens.", "Replace the number by the nearest multiple of 10.",
            "To the nearest 10, what is this number?"),
    trained("number_digits_dashed", number(lambda n: "-".join(str(n)), low=10),
            "Write the digits of the number with dashes between them.", "Separate the digits by dashes.",
            "Put a dash between neighboring digits.", "Break the number into digits joined by dashes.",
            "Insert a hyphen after each digit but the last."),
    trained("number_digits_spaced", number(lambda n: " ".join(str(n)), low=10),
            "Write the digits of the number with spaces between them.", "Separate the digits by spaces.",
            "Put a space between neighboring digits.", "Spread the number out, one digit at a time.",
            "Insert a blank after each digit but the last."),
    trained("number_percent", number(lambda n: f"{n}%"),
            "Write the number as a percentage.", "Add a percent sign.", "Put % after the number.",
            "Turn this number into a percent value.", "Show the number with a percent sign at its end."),
)
# fmt: on


# --- lists of numbers -----------------------------------------------------------------------------


TWO, THREE = range(2, 3), range(3, 4)

# fmt: off
LISTS = (
    trained("numbers_largest_of_three", listed(lambda ns: str(max(ns)), THREE, top=99),
            "Give the largest of the three numbers.", "Which of these three numbers is the biggest?",
            "Pick the highest of the three.", "Find the maximum of the three numbers.",
            "Write only the greatest of these three."),
    trained("numbers_smallest_of_three", listed(lambda ns: str(min(ns)), THREE, top=99),
            "Give the smallest of the three numbers.", "Which of these three numbers is the least?",
            "Pick the lowest of the three.", "Find the minimum of the three numbers.",
            "Write only the littlest of these three."),
    trained("numbers_sum_of_two", listed(lambda ns: str(sum(ns)), TWO, top=50),
            "Give the sum of the two numbers.", "Add these two numbers together.",
            "What do the two numbers make in total?", "Compute the first number plus the second.",
            "Find the total of the two."),
    trained("numbers_compare_two",
            listed(lambda ns: f"{ns[0]} {'<' if ns[0] < ns[1] else '>'} {ns[1]}", TWO, top=99),
            "Put < or > between the two numbers.",
            "Compare the two numbers with a less-than or greater-than sign.",
            "Insert the sign that makes a true comparison.",
            "Write the two numbers with the right sign, < or >.",
            "Show which of the two is larger by a comparison sign."),
    trained("numbers_first_plus_last", listed(lambda ns: str(ns[0] + ns[-1]), top=9),
            "Add the first and the last number.", "What is the first number plus the last one?",
            "Sum up only the two numbers at the ends.",
            "Give the total of the opening and the closing number.",
            "Ignore the middle and add the outer two numbers."),
    trained("numbers_reverse", listed(lambda ns: joined(ns[::-1])),
            "Write the list of numbers in reverse order.", "Reverse the order of these numbers.",
            "List the numbers from last to first.", "Turn the sequence of numbers around.",
            "Give the same numbers, back to front."),
    trained("numbers_drop_first", listed(lambda ns: joined(ns[1:])),
            "Drop the first number of the list.", "Write all numbers except the first.",
            "Remove the number at the start.", "Leave out the opening number.",
            "Copy the list from its second number on."),
    trained("numbers_drop_last", listed(lambda ns: joined(ns[:-1])),
            "Drop the last number of the list.", "Write all numbers except the last.",
            "Remove the number at the end.", "Leave out the closing number.",
            "Copy the list without its final number."),
    trained("numbers_join_plus", listed(lambda ns: joined(ns, "+")),
            "Join all the numbers with plus signs.", "Put a + between the numbers, keeping every one.",
            "Connect the whole list by plus signs.", "Replace the spaces with plus signs.",
            "Write all these numbers as an addition, without solving it."),
    trained("numbers_join_dash", listed(lambda ns: joined(ns, "-")),
            "Join all the numbers with dashes.", "Put a dash between the numbers.",
            "Connect the whole list by hyphens.", "Replace the spaces with dashes.",
            "Write the numbers as one chain held together by dashes."),
    trained("numbers_drop_first_dash", listed(lambda ns: joined(ns[1:], "-")),
            "Drop the first number and join the others with dashes.",
            "Leave out the opening number, then put dashes between the remaining ones.",
            "Connect all numbers but the first by hyphens.",
            "Remove the starting number; chain the rest with dashes.",
            "From the second number on, write the list with dashes."),
    HELD_OUT["numbers_drop_first_plus"],
    trained("numbers_add_one_each", listed(lambda ns: joined([n + 1 for n in ns]), top=20),
            "Add 1 to each number of the list.", "Increase every number by one.",
            "Count one up from every number.", "Write all the numbers one higher.",
            "Raise every number in the list by 1."),
    trained("numbers_swap_ends", listed(lambda ns: joined([ns[-1], *ns[1:-1], ns[0]])),
            "Swap the first and the last number.", "Exchange the two numbers at the ends of the list.",
            "Let the first and last number trade places.", "Switch the outer numbers and keep the middle.",
            "Write the list with its first and final numbers interchanged."),
)
# fmt: on


# --- prices and measurements ----------------------------------------------------------------------


def _measured(ask: Callable[[int, str], str], answer: Callable[[int, str], str]) -> Sampler:
    """Sample an amount and the short name of a unit; ``ask`` and ``answer`` write query and response."""

    def sample(rng: Random) -> tuple[str, str]:
        amount, unit = rng.randint(2, 999), rng.choice(tuple(UNITS))
        return ask(amount, unit), answer(amount, unit)

    return sample


def _short(amount: int, unit: str) -> str:
    """Write a measurement with its short unit: 3 km."""
    return f"{amount} {unit}"


def _long(amount: int, unit: str) -> str:
    """Write a measurement with its unit in full: 3 kilometers."""
    return f"{amount} {UNITS[unit]}"


def _priced(answer: Callable[[int], str]) -> Sampler:
    """Sample a price written like $12."""
    sampler = number(answer, low=2)

    def sample(rng: Random) -> tuple[str, str]:
        amount, response = sampler(rng)
        return f"${amount}", response

    return sample


# fmt: off
AMOUNTS = (
    trained("price_to_words", _priced(lambda n: f"{n} dollars"),
            "Write the price with the word dollars instead of the sign.",
            "Replace the dollar sign with a word.", "Say the price as an amount followed by dollars.",
            "Write the $ out as dollars, after the number.",
            "Express this price without the symbol, naming the currency."),
    trained("price_to_sign", _flip(_priced(lambda n: f"{n} dollars")),
            "Write the price with a dollar sign.", "Replace the word dollars with a $ in front.",
            "Shorten the price by using the dollar symbol.", "Put $ before the amount and drop the word.",
            "Give this amount of dollars in symbol form."),
    trained("price_add_one", _priced(lambda n: f"${n + 1}"),
            "Raise the price by one dollar.", "Make this price $1 higher.",
            "What is the price after adding one dollar?", "Write a price that is one dollar more.",
            "Increase the price by a single dollar."),
    trained("unit_to_long", _measured(_short, _long),
            "Write the unit of the measurement in full.", "Spell out the abbreviated unit.",
            "Replace the short unit with its full name.", "Give the amount with the complete unit name.",
            "Expand the unit after the number."),
    trained("unit_to_short", _measured(_long, _short),
            "Abbreviate the unit of the measurement.", "Use the short symbol for the unit.",
            "Replace the full unit name with its abbreviation.", "Write the amount with the unit shortened.",
            "Shorten the unit after the number."),
    trained("unit_amount", _measured(_short, lambda n, unit: str(n)),
            "Give only the amount of the measurement, without its unit.",
            "Drop the unit and keep the number.", "What number comes before the unit?", "Remove the unit.",
            "Write the plain number of this measurement."),
    trained("unit_name", _measured(_short, lambda n, unit: UNITS[unit]),
            "Give only the full name of the unit, without the amount.",
            "Which unit is used here? Answer in full.", "Name the unit of this measurement.",
            "Drop the number and spell out the unit.",
            "Write out just what the abbreviation of the unit means."),
)
# fmt: on

FAMILIES: tuple[Family, ...] = BARE + LISTS + AMOUNTS
