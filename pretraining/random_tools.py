"""Makes random and renamed tools by the thousand, to train backbones on.

A model that sees fifty tools learns their arguments by heart. A model that sees a new tool each time learns
to read a schema, and to find in a request what an argument asks for.
"""

from __future__ import annotations

import re
from dataclasses import replace
from random import Random

from tokmem.mini.lexicon import NOUNS, PLACES, THINGS, VERBS
from tokmem.mini.tools import KINDS, TOOLS, Tool, parse_tool
from tokmem.mini.twins import ARGUMENT_NAMES, rename_arguments

TAKEN = frozenset(tool.name for tool in TOOLS)
_OBJECTS = (
    *NOUNS,
    *"order list report account room line file record group plan call list item game trip song".split(),
)
_PREPOSITIONS = ("with", "for", "in", "at", "on", "to", "from", "about", "by", "as", "near", "under")
_QUOTED = ("text", "title", "word")


def sample_tool(rng: Random) -> Tool:
    """Draws a tool that is not among ``TOOLS``: a name, up to four arguments, and some phrasings."""
    while True:
        (verb, verbs, *_), thing = rng.choice(VERBS), rng.choice(_OBJECTS)
        name = f"{verb}_{thing}"
        if name not in TAKEN:
            break
    arguments: dict[str, tuple[str, str]] = {}
    for _ in range(rng.choices((0, 1, 2, 3, 4), (0.05, 0.3, 0.35, 0.22, 0.08))[0]):
        label, kind, said = _argument(rng)
        if label not in arguments:
            arguments[label] = (kind, said)
    optional = {label for label in arguments if rng.random() < 0.2}
    listed = ", ".join(
        f"{label}{'?' if label in optional else ''}={kind}" for label, (kind, _) in arguments.items()
    )
    phrasings = [_phrasing(verb, thing, arguments, optional, rng) for _ in range(3)]
    return parse_tool(f"{name}({listed}) {verbs.capitalize()} the {thing}.", phrasings)


def rename_tool(tool: Tool, rng: Random) -> Tool:
    """Returns the tool under another name, with other names for its arguments and another description."""
    _, _, thing = tool.name.partition("_")
    name = f"{rng.choice(VERBS)[0]}_{thing if rng.random() < 0.7 else rng.choice(_OBJECTS)}"
    words = " ".join(re.sub(r"\[.*?\]|'?\{\w+\}'?", "", rng.choice(tool.phrasings)).split())
    return replace(
        rename_arguments(tool, rng),
        name=tool.name if name in TAKEN else name,
        description=tool.description if rng.random() < 0.5 else f"{words.capitalize()}.",
    )


def _phrasing(
    verb: str, thing: str, arguments: dict[str, tuple[str, str]], optional: set[str], rng: Random
) -> str:
    """Writes `verb the thing`, then every argument, in any order."""
    parts = [f"[ {said}]" if label in optional else f" {said}" for label, (_, said) in arguments.items()]
    rng.shuffle(parts)
    return f"{verb} {rng.choice(('the', 'my', 'a', 'that'))} {thing}{''.join(parts)}"


def _argument(rng: Random) -> tuple[str, str, str]:
    """Draws the name and kind of an argument, and how a request says its value."""
    style = rng.choices(("text", "number", "flag", "choice"), (0.6, 0.24, 0.06, 0.1))[0]
    key = (
        rng.choice(ARGUMENT_NAMES)
        if rng.random() < 0.8
        else f"{rng.choice(ARGUMENT_NAMES)}_{rng.choice(ARGUMENT_NAMES)}"
    )
    if style == "number":
        low = rng.randint(2, 20)
        kind = f"{rng.choice(('int', 'int', 'num'))}:{low}-{low + rng.randint(10, 90)}"
        return key, kind, _with_words("{" + key + "}", key, rng, after=True)
    if style == "flag":
        noun = rng.choice(THINGS)
        return key, f"bool:with a {noun}/without a {noun}", f"{{{key}}}"
    if style == "choice":
        return key, "enum:" + "/".join(rng.sample(THINGS + PLACES, 3)), _with_words(f"{{{key}}}", key, rng)
    kind = rng.choice(tuple(KINDS))
    label = kind if rng.random() < 0.5 else key
    value = f"'{{{label}}}'" if kind in _QUOTED else f"{{{label}}}"
    return label, kind, _with_words(value, label, rng)


def _with_words(value: str, label: str, rng: Random, *, after: bool = False) -> str:
    """Puts the value after a preposition, or beside the words of its argument's name."""
    words, preposition = label.replace("_", " "), rng.choice(_PREPOSITIONS)
    beside = (f"with {words} {value}", f"and {words} {value}", f"using {value} as {words}")
    return rng.choice((f"{preposition} {value}", f"with {value} {words}" if after else beside[0], *beside))
