"""Families over e-mail addresses, paths, CSV rows, tags, assignments, bullets and templates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from tokmem.mini.families.family import Family
from tokmem.mini.lexicon import CITIES, COLORS, NAMES, NOUNS, PLACES, SURNAMES, THINGS

Sampler = Callable[[Random], tuple[str, str]]

DOMAINS = tuple(f"{host}.{end}" for host in ("mail", "post", *PLACES) for end in ("com", "org", "net"))
_EXTENSIONS = ("txt", "csv", "doc", "png", "zip")
_TAGS = ("b", "i", "p", "h1", "li", "td", "em")
_VARIABLES = "abcdxyz"
_TEMPLATES = (
    "Hello {name}, welcome to {city}!",
    "Dear {name}, greetings from {city}.",
    "{name} is on the way to {city}.",
    "Is {name} in {city}?",
)


def _email(template: str, query: str = "{first}.{last}@{domain}") -> Sampler:
    """Rewrite an e-mail address; names are `First`, `Last` with a capital and `first`, `last` without."""

    def sample(rng: Random) -> tuple[str, str]:
        first, last, domain = rng.choice(NAMES), rng.choice(SURNAMES), rng.choice(DOMAINS)
        host, _, end = domain.partition(".")
        parts = {"First": first, "Last": last, "domain": domain, "host": host, "end": end}
        parts |= {"first": first.lower(), "last": last.lower()}
        return query.format(**parts), template.format(**parts)

    return sample


def _path(answer: Callable[[list[str], str, str], str], low: int = 1) -> Sampler:
    """Answer about a path from its `low` to three folders, the stem of its file and the extension."""

    def sample(rng: Random) -> tuple[str, str]:
        *folders, stem = rng.sample(NOUNS, rng.randint(low, 3) + 1)
        extension = rng.choice(_EXTENSIONS)
        return "/".join([*folders, f"{stem}.{extension}"]), answer(folders, stem, extension)

    return sample


def _row(template: str) -> Sampler:
    """Put the thing `{a}`, the number `{b}` and the color `{c}` of a CSV row into a template."""

    def sample(rng: Random) -> tuple[str, str]:
        cells = {"a": rng.choice(THINGS), "b": rng.randint(2, 99), "c": rng.choice(COLORS)}
        return "{a},{b},{c}".format(**cells), template.format(**cells)

    return sample


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


def _trained(name: str, sample: Sampler, *wordings: str) -> Family:
    """Make a family that the backbone is trained on."""
    return Family(name, wordings, sample)


_EMAILS = (
    _trained(
        "email_user", _email("{first}.{last}"),
        "Give the user part of the e-mail address.", "Write what stands before the @.",
        "Cut the address off at the @ and keep the front.", "Which mailbox is it, without the domain?",
        "Drop the @ and everything after it.",
    ),
    _trained(
        "email_domain", _email("{domain}"),
        "Give the domain of the e-mail address.", "Write what stands after the @.",
        "Which mail host does the address use?", "Drop the @ and everything before it.",
        "Keep only the server part of the address.",
    ),
    _trained(
        "email_full_name", _email("{First} {Last}"),
        "Write the full name of the person behind the address.",
        "Whose e-mail is this? Give first and last name.",
        "Turn the address into a name with capitals.", "Name the owner of the mailbox, first name first.",
        "Read the person's name from the e-mail.",
    ),
    _trained(
        "email_surname", _email("{Last}"),
        "Write the family name of the person behind the address.", "Give only the surname, with a capital.",
        "What is the last name of the mailbox owner?", "Read the family name from the e-mail.",
        "Name the owner by surname alone.",
    ),
    _trained(
        "email_swap_names", _email("{last}.{first}@{domain}"),
        "Swap the two names in the e-mail address.", "Put the family name first within the address.",
        "Exchange what stands around the first dot.", "Write the address as surname.firstname@domain.",
        "Let first and last name trade places, keeping it an e-mail address.",
    ),
    _trained(
        "email_spoken", _email("{first} dot {last} at {host} dot {end}"),
        "Write the e-mail address as one says it, with at and dot.", "Replace @ by at and each . by dot.",
        "Spell the signs of the address out as words.", "Read the address aloud.",
        "Use the words dot and at in place of the signs.",
    ),
    _trained(
        "email_from_name", _email("{first}.{last}@mail.com", query="{First} {Last}"),
        "Make an e-mail address at mail.com for this person.", "Write firstname.lastname@mail.com.",
        "Which mail.com address belongs to this name?", "Turn the name into a mailbox at mail.com.",
        "Give this person an address that ends in @mail.com.",
    ),
)  # fmt: skip

_PATHS = (
    _trained(
        "path_file", _path(lambda folders, stem, ext: f"{stem}.{ext}"),
        "Give the file name of the path.", "Write what stands after the last slash.",
        "Remove all folders from the path.", "Which file does the path lead to?", "Keep only the file.",
    ),
    _trained(
        "path_stem", _path(lambda folders, stem, ext: stem),
        "Give the file name without its extension.", "Write what stands between the last slash and the dot.",
        "Name the file, leaving out folders and ending.", "What is the file called, without its type?",
        "Strip both the folders and the extension.",
    ),
    _trained(
        "path_extension", _path(lambda folders, stem, ext: ext),
        "Give the extension of the file.", "Write what stands after the dot.",
        "What type does the file have?",
        "Keep only the ending of the file name.", "Which file extension is used?",
    ),
    _trained(
        "path_folder", _path(lambda folders, stem, ext: "/".join(folders)),
        "Give the folder of the file.", "Write what stands before the last slash.",
        "Remove the file from the path.", "In which directory does the file lie?", "Keep only the folders.",
    ),
    _trained(
        "path_arrows", _path(lambda folders, stem, ext: " > ".join([*folders, f"{stem}.{ext}"])),
        "Write the path with > instead of slashes.", "Replace each slash by an arrow >.",
        "Show the path as a trail with > between its steps.", "Put > between folders and file.",
        "Turn the path into breadcrumbs that end in the file.",
    ),
    _trained(
        "path_to_pdf", _path(lambda folders, stem, ext: "/".join([*folders, f"{stem}.pdf"])),
        "Change the extension of the file to pdf.", "Make the path end in .pdf.",
        "Write the path of the PDF version.", "Replace what stands after the dot by pdf.",
        "Rename the file so that its type is pdf.",
    ),
)  # fmt: skip

_ROWS = (
    _trained(
        "csv_first", _row("{a}"),
        "Give the first cell of the row.", "Write what stands before the first comma.",
        "What is in column one?", "Keep only the leftmost cell.", "Read out the opening cell of the row.",
    ),
    _trained(
        "csv_second", _row("{b}"),
        "Give the second cell of the row.", "Write what stands between the commas.",
        "What is in column two?", "Keep only the middle cell.", "Read out the number in the row.",
    ),
    _trained(
        "csv_phrase", _row("{c} {a}"),
        "Name the thing with its color in front.", "Write the color and the thing as a phrase.",
        "Leave the number out and write color, then thing.", "Which thing of which color is it?",
        "Describe the item by its color only.",
    ),
    _trained(
        "csv_price_tag", _row("{a}: {b}"),
        "Write the thing, a colon and the number.", "Make a price tag with thing and number.",
        "Leave the color out and write thing: number.", "Label the thing with its number after a colon.",
        "Give the number behind the thing and a colon.",
    ),
    _trained(
        "csv_sentence", _row("The {c} {a} costs {b}."),
        "Say in a sentence what the thing costs.", "Turn the row into a sentence with costs.",
        "Write a full sentence with color, thing and price.", "Tell the price in the form: The ... costs ...",
        "State how much the colored thing is.",
    ),
    _trained(
        "csv_reverse", _row("{c},{b},{a}"),
        "Reverse the cells of the row.", "Write the row from its last column to its first.",
        "Swap the two outer cells of the row.", "Put the color first and the thing last, with commas.",
        "Turn the order of the columns around.",
    ),
    _trained(
        "csv_bars", _row("{a} | {b} | {c}"),
        "Separate the cells with vertical bars.", "Write the row with bars instead of commas.",
        "Turn the CSV row into a table row with |.", "Replace each comma by a bar.",
        "Put | between the columns.",
    ),
)  # fmt: skip

_MARKUP = (
    _trained(
        "tag_text", _tagged("{text}"),
        "Remove the tags.", "Give the text inside the tags.",
        "What stands between the opening and closing tag?",
        "Strip the markup and keep the text.", "Write only the content of the element.",
    ),
    _trained(
        "tag_to_div", _tagged("<div>{text}</div>"),
        "Change the tag to div.", "Replace both tags by div tags.", "Make it a div element.",
        "Keep the text, but wrap it in div instead.", "Rename the element to div.",
    ),
    _trained(
        "tag_wrap_bold", _tagged("<b>{text}</b>", query="{text}"),
        "Wrap the text in b tags.", "Make the text bold in HTML.", "Put <b> before and </b> after the text.",
        "Enclose the words in a b element.", "Mark the text up as bold.",
    ),
    _trained(
        "bullets_to_commas", _relist(_bullets, ", ".join),
        "Write the bullets as one line with commas.", "Turn the bullet list into a comma list.",
        "Drop the dashes and use commas.", "Put all bullet points on one line, split by commas.",
        "Flatten the Markdown list to comma-separated text.",
    ),
    _trained(
        "commas_to_bullets", _relist(", ".join, _bullets),
        "Write the items as bullets.", "Turn the comma list into a bullet list.",
        "Put a dash before each item and each on its own line.", "Make Markdown bullet points of the items.",
        "Break the list into lines that start with a dash.",
    ),
)  # fmt: skip

_VALUES = (
    _trained(
        "assign_swap_values", _assignments(lambda names, values: _assign(names, values[::-1]), 2, 2),
        "Swap the values of the two variables.", "Give each variable the value of the other.",
        "Exchange the numbers and keep the letters in place.", "Let the two numbers trade places.",
        "Switch what the variables are set to.",
    ),
    _trained(
        "assign_last_value", _assignments(lambda names, values: str(values[-1]), 2, 4),
        "Give the value of the last variable.", "Which number is assigned last?",
        "What is the final variable set to?", "Write only the number at the very end.",
        "Read out the value in the last assignment.",
    ),
    _trained(
        "assign_names", _assignments(lambda names, values: ", ".join(names), 2, 4),
        "List the variables.", "Which letters are assigned a value?",
        "Write the variables without their values.",
        "Name all variables, separated by commas.", "Keep the letters and drop the numbers.",
    ),
    _trained(
        "phone_dashes", _phone("-".join),
        "Write the phone number with dashes.", "Put dashes between the groups of digits.",
        "Replace the spaces in the number by dashes.", "Format the number as in 555-123-45.",
        "Join the groups of digits with -.",
    ),
    _trained(
        "template_fill", _fill_template,
        "Fill in the template.", "Replace the braces by the given values.",
        "Write the text with name and city filled in.",
        "Put the values into the placeholders.", "Complete the message with the values behind it.",
    ),
)  # fmt: skip

_HELD_OUT = (
    Family(
        "path_folder_arrows",
        (
            "Give the folder of the file with > instead of slashes.",
            "Remove the file and put > between the folders.",
            "Turn only the folders into breadcrumbs.",
            "Write what stands before the last slash, with arrows > for slashes.",
            "Show the directory as a trail with >, leaving the file out.",
        ),
        _path(lambda folders, stem, ext: " > ".join(folders), low=2),
        split="settings",
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
        _email("{Last}, {First}"),
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
        _row("{c} {a}: {b}"),
        split="demo",
    ),
)

FAMILIES: tuple[Family, ...] = (*_EMAILS, *_PATHS, *_ROWS, *_MARKUP, *_VALUES, *_HELD_OUT)
