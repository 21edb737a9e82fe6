"""Families over e-mail addresses, paths, CSV rows, tags, assignments, bullets and templates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from pretraining.families.family import HELD_OUT, trained
from tokmem.mini.family import Family, Sampler
from tokmem.mini.lexicon import CITIES, NAMES, NOUNS
from tokmem.mini.samplers.formats import csv_row, email, path

_TAGS = ("b", "i", "p", "h1", "li", "td", "em")
_VARIABLES = "abcdxyz"
_TEMPLATES = (
    "Hello {name}, welcome to {city}!",
    "Dear {name}, greetings from {city}.",
    "{name} is on the way to {city}.",
    "Is {name} in {city}?",
)


def _words(rng: Random, low: int, high: int) -> list[str]:
    """Draw `low` to `high` distinct nouns."""
    return rng.sample(NOUNS, rng.randint(low, high))


def _tagged(template: str, query: str = "<{tag}>{text}</{tag}>") -> Sampler:
    """Rewrite `{text}` of one to three words, shown inside `{tag}` unless the query says otherwise."""

    def sample(rng: Random) -> tuple[str, str]:
        parts = {"tag": rng.choice(_TAGS), "text": " ".join(_words(rng, 1, 3))}
        return query.format(**parts), template.format(**parts)

    return sample


def _assignments(answer: Callable[[list[str], list[int]], str], low: int, high: int) -> Sampler:
    """Answer about `low` to `high` assignments from their variables and their distinct values."""

    def sample(rng: Random) -> tuple[str, str]:
        names = rng.sample(_VARIABLES, rng.randint(low, high))
        values = rng.sample(range(100), len(names))
        return _assign(names, values), answer(names, values)

    return sample


def _assign(names: Sequence[str], values: Sequence[int]) -> str:
    """Write `a = 7; b = 3`."""
    return "; ".join(f"{name} = {value}" for name, value in zip(names, values, strict=True))


def _bullets(items: Sequence[str]) -> str:
    """Write the items as Markdown bullets, one per line."""
    return "\n".join(f"- {item}" for item in items)


def _relist(before: Callable[[Sequence[str]], str], after: Callable[[Sequence[str]], str]) -> Sampler:
    """Rewrite a list of three to five nouns from one form to another."""

    def sample(rng: Random) -> tuple[str, str]:
        items = _words(rng, 3, 5)
        return before(items), after(items)

    return sample


def _phone(answer: Callable[[list[str]], str]) -> Sampler:
    """Answer about a number in groups of three, three and two digits."""

    def sample(rng: Random) -> tuple[str, str]:
        groups = ["".join(rng.choices("0123456789", k=size)) for size in (3, 3, 2)]
        return " ".join(groups), answer(groups)

    return sample


def _fill_template(rng: Random) -> tuple[str, str]:
    """Fill a template with the values that follow it."""
    template = rng.choice(_TEMPLATES)
    name, (city, _) = rng.choice(NAMES), rng.choice(CITIES)
    return f"{template} name = {name}, city = {city}", template.format(name=name, city=city)


_EMAILS = (
    trained(
        "email_user", email("{first}.{last}"),
        "Give the user part of the e-mail address.", "Write what stands before the @.",
        "Cut the address off at the @ and keep the front.", "Which mailbox is it, without the domain?",
        "Drop the @ and everything after it.",
    ),
    trained(
        "email_domain", email("{domain}"),
        "Give the domain of the e-mail address.", "Write what stands after the @.",
        "Which mail host does the address use?", "Drop the @ and everything before it.",
        "Keep only the server part of the address.",
    ),
    trained(
        "email_full_name", email("{First} {Last}"),
        "Write the full name of the person behind the address.",
        "Whose e-mail is this? Give first and last name.",
        "Turn the address into a name with capitals.", "Name the owner of the mailbox, first name first.",
        "Read the person's name from the e-mail.",
    ),
    trained(
        "email_surname", email("{Last}"),
        "Write the family name of the person behind the address.", "Give only the surname, with a capital.",
        "What is the last name of the mailbox owner?", "Read the family name from the e-mail.",
        "Name the owner by surname alone.",
    ),
    trained(
        "email_swap_names", email("{last}.{first}@{domain}"),
        "Swap the two names in the e-mail address.", "Put the family name first within the address.",
        "Exchange what stands around the first dot.", "Write the address as surname.firstname@domain.",
        "Let first and last name trade places, keeping it an e-mail address.",
    ),
    trained(
        "email_spoken", email("{first} dot {last} at {host} dot {end}"),
        "Write the e-mail address as one says it, with at and dot.", "Replace @ by at and each . by dot.",
        "Spell the signs of the address out as words.", "Read the address aloud.",
        "Use the words dot and at in place of the signs.",
    ),
    trained(
        "email_from_name", email("{first}.{last}@mail.com", query="{First} {Last}"),
        "Make an e-mail address at mail.com for this person.", "Write firstname.lastname@mail.com.",
        "Which mail.com address belongs to this name?", "Turn the name into a mailbox at mail.com.",
        "Give this person an address that ends in @mail.com.",
    ),
)  # fmt: skip

_PATHS = (
    trained(
        "path_file", path(lambda folders, stem, ext: f"{stem}.{ext}"),
        "Give the file name of the path.", "Write what stands after the last slash.",
        "Remove all folders from the path.", "Which file does the path lead to?", "Keep only the file.",
    ),
    trained(
        "path_stem", path(lambda folders, stem, ext: stem),
        "Give the file name without its extension.", "Write what stands between the last slash and the dot.",
        "Name the file, leaving out folders and ending.", "What is the file called, without its type?",
        "Strip both the folders and the extension.",
    ),
    trained(
        "path_extension", path(lambda folders, stem, ext: ext),
        "Give the extension of the file.", "Write what stands after the dot.",
        "What type does the file have?",
        "Keep only the ending of the file name.", "Which file extension is used?",
    ),
    trained(
        "path_folder", path(lambda folders, stem, ext: "/".join(folders)),
        "Give the folder of the file.", "Write what stands before the last slash.",
        "Remove the file from the path.", "In which directory does the file lie?", "Keep only the folders.",
    ),
    trained(
        "path_arrows", path(lambda folders, stem, ext: " > ".join([*folders, f"{stem}.{ext}"])),
        "Write the path with > instead of slashes.", "Replace each slash by an arrow >.",
        "Show the path as a trail with > between its steps.", "Put > between folders and file.",
        "Turn the path into breadcrumbs that end in the file.",
    ),
    trained(
        "path_to_pdf", path(lambda folders, stem, ext: "/".join([*folders, f"{stem}.pdf"])),
        "Change the extension of the file to pdf.", "Make the path end in .pdf.",
        "Write the path of the PDF version.", "Replace what stands after the dot by pdf.",
        "Rename the file so that its type is pdf.",
    ),
)  # fmt: skip

_ROWS = (
    trained(
        "csv_first", csv_row("{a}"),
        "Give the first cell of the row.", "Write what stands before the first comma.",
        "What is in column one?", "Keep only the leftmost cell.", "Read out the opening cell of the row.",
    ),
    trained(
        "csv_second", csv_row("{b}"),
        "Give the second cell of the row.", "Write what stands between the commas.",
        "What is in column two?", "Keep only the middle cell.", "Read out the number in the row.",
    ),
    trained(
        "csv_phrase", csv_row("{c} {a}"),
        "Name the thing with its color in front.", "Write the color and the thing as a phrase.",
        "Leave the number out and write color, then thing.", "Which thing of which color is it?",
        "Describe the item by its color only.",
    ),
    trained(
        "csv_price_tag", csv_row("{a}: {b}"),
        "Write the thing, a colon and the number.", "Make a price tag with thing and number.",
        "Leave the color out and write thing: number.", "Label the thing with its number after a colon.",
        "Give the number behind the thing and a colon.",
    ),
    trained(
        "csv_sentence", csv_row("The {c} {a} costs {b}."),
        "Say in a sentence what the thing costs.", "Turn the row into a sentence with costs.",
        "Write a full sentence with color, thing and price.", "Tell the price in the form: The ... costs ...",
        "State how much the colored thing is.",
    ),
    trained(
        "csv_reverse", csv_row("{c},{b},{a}"),
        "Reverse the cells of the row.", "Write the row from its last column to its first.",
        "Swap the two outer cells of the row.", "Put the color first and the thing last, with commas.",
        "Turn the order of the columns around.",
    ),
    trained(
        "csv_bars", csv_row("{a} | {b} | {c}"),
        "Separate the cells with vertical bars.", "Write the row with bars instead of commas.",
        "Turn the CSV row into a table row with |.", "Replace each comma by a bar.",
        "Put | between the columns.",
    ),
)  # fmt: skip

_MARKUP = (
    trained(
        "tag_text", _tagged("{text}"),
        "Remove the tags.", "Give the text inside the tags.",
        "What stands between the opening and closing tag?",
        "Strip the markup and keep the text.", "Write only the content of the element.",
    ),
    trained(
        "tag_to_div", _tagged("<div>{text}</div>"),
        "Change the tag to div.", "Replace both tags by div tags.", "Make it a div element.",
        "Keep the text, but wrap it in div instead.", "Rename the element to div.",
    ),
    trained(
        "tag_wrap_bold", _tagged("<b>{text}</b>", query="{text}"),
        "Wrap the text in b tags.", "Make the text bold in HTML.", "Put <b> before and </b> after the text.",
        "Enclose the words in a b element.", "Mark the text up as bold.",
    ),
    trained(
        "bullets_to_commas", _relist(_bullets, ", ".join),
        "Write the bullets as one line with commas.", "Turn the bullet list into a comma list.",
        "Drop the dashes and use commas.", "Put all bullet points on one line, split by commas.",
        "Flatten the Markdown list to comma-separated text.",
    ),
    trained(
        "commas_to_bullets", _relist(", ".join, _bullets),
        "Write the items as bullets.", "Turn the comma list into a bullet list.",
        "Put a dash before each item and each on its own line.", "Make Markdown bullet points of the items.",
        "Break the list into lines that start with a dash.",
    ),
)  # fmt: skip

_VALUES = (
    trained(
        "assign_swap_values", _assignments(lambda names, values: _assign(names, values[::-1]), 2, 2),
        "Swap the values of the two variables.", "Give each variable the value of the other.",
        "Exchange the numbers and keep the letters in place.", "Let the two numbers trade places.",
        "Switch what the variables are set to.",
    ),
    trained(
        "assign_last_value", _assignments(lambda names, values: str(values[-1]), 2, 4),
        "Give the value of the last variable.", "Which number is assigned last?",
        "What is the final variable set to?", "Write only the number at the very end.",
        "Read out the value in the last assignment.",
    ),
    trained(
        "assign_names", _assignments(lambda names, values: ", ".join(names), 2, 4),
        "List the variables.", "Which letters are assigned a value?",
        "Write the variables without their values.",
        "Name all variables, separated by commas.", "Keep the letters and drop the numbers.",
    ),
    trained(
        "phone_dashes", _phone("-".join),
        "Write the phone number with dashes.", "Put dashes between the groups of digits.",
        "Replace the spaces in the number by dashes.", "Format the number as in 555-123-45.",
        "Join the groups of digits with -.",
    ),
    trained(
        "template_fill", _fill_template,
        "Fill in the template.", "Replace the braces by the given values.",
        "Write the text with name and city filled in.",
        "Put the values into the placeholders.", "Complete the message with the values behind it.",
    ),
)  # fmt: skip


FAMILIES: tuple[Family, ...] = (
    *_EMAILS,
    *_PATHS,
    *_ROWS,
    *_MARKUP,
    *_VALUES,
    HELD_OUT["path_folder_arrows"],
    HELD_OUT["email_surname_first"],
    HELD_OUT["csv_color_thing_number"],
)
