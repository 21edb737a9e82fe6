"""Families over written lists: `a, b, c`, `a; b; c`, `a | b | c`, `[a, b, c]` and `1. a 2. b 3. c`.

An edited list keeps the form of the given list, unless the instruction names another form.
"""

from __future__ import annotations

from random import Random

from pretraining.families.family import HELD_OUT, trained
from pretraining.lexicon import CATEGORIES
from tokmem.mini.family import Family, Sampler
from tokmem.mini.samplers.lists import (
    PLAIN,
    bar,
    bracket,
    comma,
    draw,
    edit,
    numbered,
    semicolon,
    tell,
)


def _select(kind: str) -> Sampler:
    """Keep the one to three members of a category in a mixed list."""
    others = tuple(word for other, words in CATEGORIES.items() if other != kind for word in words)

    def sample(rng: Random) -> tuple[str, str]:
        kept = rng.sample(CATEGORIES[kind], rng.randint(1, 3))
        items = kept + rng.sample(others, rng.randint(2, 3))
        rng.shuffle(items)
        form = rng.choice((comma, semicolon))
        return form(items), form([item for item in items if item in kept])

    return sample


def _neighbour(step: int) -> Sampler:
    """Name the item `step` places from the item repeated after a colon."""

    def sample(rng: Random) -> tuple[str, str]:
        items = draw(rng, 4)
        answer = rng.randrange(max(step, 0), len(items) + min(step, 0))
        return f"{comma(items)}: {items[answer - step]}", items[answer]

    return sample


_PICKS = (
    trained(
        "list_first", tell(lambda x: x[0]),
        "Give the first item of the list.", "What does the list start with?",
        "Name only the item at the front.", "Which item comes first?",
        "Take the first item and nothing else.",
    ),
    trained(
        "list_last", tell(lambda x: x[-1]),
        "Give the last item of the list.", "What does the list end with?", "Name only the final item.",
        "Which item comes last?", "Take the item at the very end and nothing else.",
    ),
    trained(
        "list_third", tell(lambda x: x[2]),
        "Give the third item of the list.", "Which item is number three?", "Name the item in third place.",
        "What stands at position 3 in the list?", "Take only the third item.",
    ),
    trained(
        "list_count", tell(lambda x: str(len(x)), PLAIN, low=2),
        "Count the items.", "How many items are in the list?", "Give the number of items as a digit.",
        "Say how long the list is.", "Write the length of the list.",
    ),
    trained(
        "list_after", _neighbour(1),
        "Give the item that comes right after the one named behind the colon.",
        "What follows the item after the colon in the list?", "Find the named item and write the next one.",
        "Name the successor of the given item.", "Which item stands directly behind the given one?",
    ),
    trained(
        "list_before", _neighbour(-1),
        "Give the item that comes right before the one named behind the colon.",
        "What precedes the item after the colon in the list?",
        "Find the named item and write the previous one.", "Name the predecessor of the given item.",
        "Which item stands directly in front of the given one?",
    ),
)  # fmt: skip

_EDITS = (
    trained(
        "list_first_two", edit(lambda x: x[:2]),
        "Keep only the first two items.", "Cut the list off after two items.", "Write the opening two items.",
        "Which two items come first?", "Take two items from the front of the list.",
    ),
    trained(
        "list_last_two", edit(lambda x: x[-2:]),
        "Keep only the last two items.", "Write the closing two items.", "Which two items come last?",
        "Take two items from the end of the list.", "Give the final two items.",
    ),
    trained(
        "list_drop_first", edit(lambda x: x[1:]),
        "Remove the first item.", "Write the list without its first item.",
        "Leave out the item at the front.", "Delete whatever comes first in the list.",
        "Keep everything but the first item.",
    ),
    trained(
        "list_drop_last", edit(lambda x: x[:-1]),
        "Remove the last item.", "Write the list without its last item.", "Leave out the item at the end.",
        "Delete whatever comes last in the list.", "Keep everything but the last item.",
    ),
    trained(
        "list_ends", edit(lambda x: [x[0], x[-1]]),
        "Keep only the first and the last item.", "Write the two ends of the list.",
        "Remove everything between the first and the last item.",
        "Give the opening item and the closing item.", "Shorten the list to its two outer items.",
    ),
    trained(
        "list_odd_places", edit(lambda x: x[::2], low=4),
        "Keep every second item, starting with the first.", "Write the items at odd positions.",
        "Starting at the front, skip every other item.", "Keep items one, three and five.",
        "From the first item on, take one and leave one.",
    ),
    trained(
        "list_reverse", edit(lambda x: x[::-1]),
        "Reverse the list.", "Write the list backwards.", "Give the items from last to first.",
        "Turn the order of the items around.", "Start with the last item and end with the first.",
    ),
    trained(
        "list_rotate_left", edit(lambda x: x[1:] + x[:1]),
        "Move the first item to the end.", "Rotate the list left by one.", "Put the front item at the back.",
        "Shift all items one place forward, the first going last.",
        "Send the first item to the end of the list.",
    ),
    trained(
        "list_rotate_right", edit(lambda x: x[-1:] + x[:-1]),
        "Move the last item to the front.", "Rotate the list right by one.",
        "Put the final item at the start.", "Shift all items one place back, the last going first.",
        "Bring the last item to the top of the list.",
    ),
    trained(
        "list_swap_first_two", edit(lambda x: [x[1], x[0], *x[2:]]),
        "Swap the first two items.", "Exchange items one and two.",
        "Let the first and second item trade places.", "Switch the opening two items and keep the rest.",
        "Put the second item before the first.",
    ),
    trained(
        "list_double_first", edit(lambda x: [x[0], *x]),
        "Write the first item twice.", "Repeat the first item at the start.",
        "Duplicate the item at the front.", "Double the opening item of the list.",
        "Copy the list with the first item said two times.",
    ),
    trained(
        "list_first_none", edit(lambda x: ["none", *x[1:]]),
        "Replace the first item by none.", "Write none in place of the first item.",
        "Change the item at the front to none.", "Overwrite the opening item with none.",
        "Blank out the first item with the word none.",
    ),
    trained(
        "list_append_end", edit(lambda x: [*x, "end"]),
        "Add the item end to the list.", "Append the word end.", "Close the list with the extra item end.",
        "Extend the list by one item, end.", "Put end after the last item.",
    ),
    trained(
        "list_quote_items", edit(lambda x: [f'"{item}"' for item in x]),
        "Put each item in quotes.", "Quote every item of the list.", "Surround all items with double quotes.",
        "Write the list with quotation marks around each item.", "Add quotes to each item.",
    ),
)  # fmt: skip

_FORMATS = (
    trained(
        "list_number", tell(numbered, PLAIN),
        "Number the items.", "Turn the list into a numbered list.", "Put 1., 2., 3. in front of the items.",
        "Write each item with its number.", "Enumerate the items, counting from one.",
    ),
    trained(
        "list_unnumber", tell(comma, (numbered,)),
        "Remove the numbers and separate the items with commas.", "Turn the numbered list into a comma list.",
        "Drop the numbering and use commas.", "Write the numbered items as a plain list with commas.",
        "Strip 1., 2., 3. and put commas between the items.",
    ),
    trained(
        "list_join_and", tell(" and ".join, PLAIN),
        "Join all items with and.", "Write and between every two items.",
        "Connect the items by the word and.", "Replace each separator by and.",
        "Link the whole list with and.",
    ),
    trained(
        "list_join_ampersand", tell(" & ".join, PLAIN),
        "Join all items with &.", "Write & between every two items.", "Connect the items by the sign &.",
        "Replace each separator by an ampersand.", "Link the whole list with ampersands.",
    ),
    trained(
        "list_and_before_last", tell(lambda x: f"{comma(x[:-1])} and {x[-1]}", PLAIN),
        "Use commas, but put and before the last item.",
        "Write the list as in a sentence, with and before the last item.",
        "Separate with commas and join only the last item with and.",
        "Phrase the list the way one would say it.", "Make it a spoken list with one and near the end.",
    ),
    trained(
        "list_to_semicolons", tell(semicolon, (comma, bar, bracket)),
        "Separate the items with semicolons.", "Rewrite the list with semicolons.",
        "Turn it into a semicolon list.", "Use ; between the items.", "Change the separators to semicolons.",
    ),
    trained(
        "list_to_commas", tell(comma, (semicolon, bar, bracket)),
        "Write it as a plain list with commas.", "Turn it into a comma list.",
        "Use only commas between the items.", "Rewrite the items, separated by commas.",
        "Give the items as bare text with commas.",
    ),
    trained(
        "list_to_brackets", tell(bracket, (comma, semicolon, bar)),
        "Wrap the list in square brackets, with commas.", "Write it as a bracketed list.",
        "Put the items between [ and ].", "Enclose the list in brackets.",
        "Format the items as an array in brackets.",
    ),
)  # fmt: skip

_SELECTIONS = tuple(
    trained(
        f"list_only_{kind}s", _select(kind),
        f"Keep only the {kind}s.", f"Which of these are {kind}s?", f"Write down every {kind} in the list.",
        f"Remove all items that are not {kind}s.", f"Select the {kind}s from the list.",
    )
    for kind in ("animal", "food", "color", "place")
)  # fmt: skip


FAMILIES: tuple[Family, ...] = (
    *_PICKS,
    *_EDITS,
    *_FORMATS,
    *_SELECTIONS,
    HELD_OUT["list_inner"],
    HELD_OUT["list_reverse_join_and"],
    HELD_OUT["list_ends_ampersand"],
)
