"""Families over space-separated words, adjective-noun phrases and choices of the form `a or b`."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from pretraining.families.family import HELD_OUT, trained
from pretraining.lexicon import CATEGORIES, OPPOSITES
from tokmem.mini.family import Family, Sampler
from tokmem.mini.lexicon import ANIMALS, COLORS, NOUNS, PLURALS, THINGS
from tokmem.mini.samplers.words import swap_ends, words

_PHRASE_ADJECTIVES = (*COLORS, "big", "small", "old", "new", "clean", "dirty", "wet", "heavy")
_PHRASE_NOUNS = ANIMALS + THINGS

_OPPOSITE = {a: b for pair in OPPOSITES for a, b in (pair, pair[::-1])}
_PLURAL = {one: many for one, many in PLURALS if one != many}
_CATEGORY = {word: kind for kind, words in CATEGORIES.items() for word in words}


def _look_up(table: Mapping[str, str]) -> Sampler:
    """Map each of two to four words through a table."""
    keys = tuple(table)

    def sample(rng: Random) -> tuple[str, str]:
        words = rng.sample(keys, rng.randint(2, 4))
        return " ".join(words), " ".join(table[word] for word in words)

    return sample


def _phrase(template: str) -> Sampler:
    """Put the adjective `{a}` and the noun `{n}` of a phrase into a template."""

    def sample(rng: Random) -> tuple[str, str]:
        adjective, noun = rng.choice(_PHRASE_ADJECTIVES), rng.choice(_PHRASE_NOUNS)
        return f"{adjective} {noun}", template.format(a=adjective, n=noun)

    return sample


def _choice(template: str) -> Sampler:
    """Put the first option `{a}` and the second option `{b}` of a choice into a template."""

    def sample(rng: Random) -> tuple[str, str]:
        first, second = rng.sample(NOUNS, 2)
        return f"{first} or {second}", template.format(a=first, b=second)

    return sample


_PICKS_AND_ORDER = (
    trained(
        "words_first", words(lambda w: w[0]),
        "Write the first word.", "Which word comes first?", "Copy only the word at the start.",
        "Give the opening word and no other.", "What is word number one?",
    ),
    trained(
        "words_second", words(lambda w: w[1]),
        "Write the second word.", "Which word comes second?", "Copy only the word after the first.",
        "Give the word in second place and no other.", "What is word number two?",
    ),
    trained(
        "words_last", words(lambda w: w[-1]),
        "Write the last word.", "Which word comes last?", "Copy only the word at the end.",
        "Give the closing word and no other.", "What is the final word?",
    ),
    trained(
        "words_reverse", words(lambda w: " ".join(w[::-1])),
        "Write the words in reverse order.", "Say the words backwards, last word first.",
        "Reverse the order of these words.", "Copy the words from the last to the first.",
        "Turn the whole row of words around.",
    ),
    trained(
        "words_drop_first", words(lambda w: " ".join(w[1:])),
        "Drop the first word.", "Copy all words except the first.", "Leave the opening word out.",
        "Write what remains once the first word is gone.", "Begin at the second word and copy the rest.",
    ),
    trained(
        "words_drop_last", words(lambda w: " ".join(w[:-1])),
        "Drop the last word.", "Copy all words except the last.", "Leave the closing word out.",
        "Write what remains once the last word is gone.", "Stop copying just before the final word.",
    ),
    trained(
        "words_swap_ends", words(lambda w: " ".join(swap_ends(w)), low=4),
        "Swap the first and the last word.", "Let the opening and closing words trade places.",
        "Exchange the two outer words and keep the middle.",
        "Switch the word at the start with the one at the end.",
        "Put the last word first and the first word last, leaving the others.",
    ),
    trained(
        "words_repeat_each", words(lambda w: " ".join(f"{word} {word}" for word in w), low=2, high=4),
        "Repeat each word.", "Write every word twice in a row.", "Double all the words one by one.",
        "Say each word two times before the next.", "Copy the words, each of them doubled.",
    ),
)  # fmt: skip

_JOINS = (
    trained(
        "words_hyphens", words("-".join),
        "Join the words with hyphens.", "Put a hyphen between the words.", "Replace the spaces by hyphens.",
        "Write the words as one hyphenated chain.", "Link these words with -.",
    ),
    trained(
        "words_commas", words(", ".join),
        "Separate the words with commas.", "Put a comma between the words.",
        "Add commas to this row of words.", "Write the words as a list with commas.",
        "Turn the words into comma-separated text.",
    ),
    trained(
        "words_slashes", words("/".join),
        "Join the words with slashes.", "Put a slash between the words.", "Replace the spaces by slashes.",
        "Write the words like a path.", "Link these words with /.",
    ),
    trained(
        "words_plus", words(" + ".join),
        "Join the words with plus signs.", "Put a plus sign between the words.",
        "Write the words like a sum.", "Add the words up as an expression.", "Link these words with +.",
    ),
)  # fmt: skip

_TABLES = (
    trained(
        "words_opposites", _look_up(_OPPOSITE),
        "Write the opposite of each word.", "Replace every word by its opposite.",
        "Give the antonyms in order.", "Turn each word into its contrary.",
        "For each word, say the one that means the reverse.",
    ),
    trained(
        "words_plurals", _look_up(_PLURAL),
        "Write each noun in the plural.", "Make every noun plural.", "Give the plural forms in order.",
        "Change one to many for each word.", "How does each noun look when there are several?",
    ),
    trained(
        "words_categories", _look_up(_CATEGORY),
        "Name the category of each word.", "Say what kind of thing each word is.",
        "Classify each word as animal, food, color, place or job.", "Replace every word by its category.",
        "Label the words by type, in order.",
    ),
)  # fmt: skip

_PHRASES = (
    trained(
        "phrase_is", _phrase("The {n} is {a}."),
        "Make a sentence that says what the thing is like.", "State the property of the noun in a sentence.",
        "Turn the phrase into: The noun is adjective.", "Say in a sentence how the thing looks.",
        "Describe the noun by its adjective in a full sentence.",
    ),
    trained(
        "phrase_here", _phrase("The {a} {n} is here."),
        "Say that the thing is here.", "Put the phrase into: The ... is here.",
        "Announce in a sentence that it is here.", "Make a sentence around the phrase that ends in is here.",
        "State that the named thing is present here.",
    ),
    trained(
        "phrase_where", _phrase("Where is the {a} {n}?"),
        "Ask where the thing is.", "Write a question about the place of the thing.",
        "Make a question that starts with where.", "Inquire about the location of the thing.",
        "Put the phrase into: Where is the ...?",
    ),
)  # fmt: skip

_CHOICES = (
    trained(
        "choice_first", _choice("{a}"),
        "Choose the first option.", "Pick what is named before or.", "Of the two options, take the former.",
        "Decide for the option on the left.", "Select option one.",
    ),
    trained(
        "choice_second", _choice("{b}"),
        "Choose the second option.", "Pick what is named after or.", "Of the two options, take the latter.",
        "Decide for the option on the right.", "Select option two.",
    ),
    trained(
        "choice_both", _choice("both {a} and {b}"),
        "Choose both options.", "Accept the two options together.", "Say that you take the pair.",
        "Do not decide; ask for both.", "Select option one as well as option two.",
    ),
    trained(
        "choice_neither", _choice("neither {a} nor {b}"),
        "Reject both options.", "Refuse the two options, using neither and nor.",
        "Say that you take none of the two.", "Turn down each of the options.",
        "Decline option one as well as option two.",
    ),
)  # fmt: skip


FAMILIES: tuple[Family, ...] = (
    *_PICKS_AND_ORDER,
    *_JOINS,
    *_TABLES,
    *_PHRASES,
    *_CHOICES,
    HELD_OUT["words_drop_first_slashes"],
    HELD_OUT["words_swap_ends_hyphens"],
)
