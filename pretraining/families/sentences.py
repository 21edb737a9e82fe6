"""Families over English sentences, such as `The small dog opened the red box`."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from pretraining.families.family import HELD_OUT, trained
from tokmem.mini.family import Family, Sampler
from tokmem.mini.lexicon import COLORS, FOODS, NAMES, VERBS
from tokmem.mini.samplers.sentences import OBJECTS, Clause, full_clause, rewrite, statement

_MEAL_BASES = {"like", "love", "need", "want", "buy", "sell", "bring", "find", "see", "take", "send", "keep"}

_MEALS = tuple(food for food in FOODS[FOODS.index("bread") :] if food not in {"cookie", "bean"})
_MEAL_VERBS = tuple(forms for forms in VERBS if forms[0] in _MEAL_BASES)


def _habit(template: str) -> Sampler:
    """Rewrite a sentence in the present, such as `Anna likes tea.`, from name, verb forms and food."""

    def sample(rng: Random) -> tuple[str, str]:
        name, food = rng.choice(NAMES), rng.choice(_MEALS)
        base, third, past, _ = rng.choice(_MEAL_VERBS)
        return f"{name} {third} {food}.", template.format(name=name, base=base, past=past, food=food)

    return sample


def _either(first: Sampler, second: Sampler) -> Sampler:
    """Draw from one of two samplers."""
    return lambda rng: rng.choice((first, second))(rng)


def _joined(rng: Random) -> tuple[str, str]:
    """Join two short sentences about named people with `and`."""
    parts = [f"{name} {rng.choice(VERBS)[2]} the {rng.choice(OBJECTS)}" for name in rng.sample(NAMES, 2)]
    return " ".join(f"{part}." for part in parts), f"{parts[0]} and {parts[1]}."


def _bare(clause: Clause) -> str:
    """Write the statement without adjectives."""
    return replace(clause, trait="", color="").active


def _exchanged(clause: Clause) -> str:
    """Write the statement with subject and object phrases exchanged."""
    return clause.fill("{c.what} {c.past} {c.who}.")


def _not_blue(rng: Random) -> Clause:
    """Draw a full clause whose color is not blue."""
    return replace(full_clause(rng), color=rng.choice([color for color in COLORS if color != "blue"]))


_REWRITES = (
    trained(
        "sentence_question",
        _either(rewrite("did {c.who} {c.base} {c.what}?"), _habit("Does {name} {base} {food}?")),
        "Turn the sentence into a yes-no question.", "Ask whether this is true.",
        "Write the statement as a question with did or does.", "Make a question out of the sentence.",
        "How would one ask if this is so?",
    ),
    trained(
        "sentence_negation",
        _either(rewrite("{c.who} did not {c.base} {c.what}."), _habit("{name} does not {base} {food}.")),
        "Make the sentence negative.", "Deny the statement.", "Negate the sentence with did not or does not.",
        "Say that this is not the case.", "Write the contrary by putting not before the verb.",
    ),
    trained(
        "sentence_passive", rewrite("{c.passive}"),
        "Put the sentence into the passive.", "Say by whom the thing was handled, with the object first.",
        "Rewrite the sentence in the passive voice.", "Start with the object and use was and by.",
        "Make the object the subject of a passive sentence.",
    ),
    trained(
        "sentence_passive_short", rewrite("{c.what} was {c.participle}."),
        "Put the sentence into the passive and leave out who did it.",
        "Say what was done to the object, without naming anyone.",
        "Write a passive sentence that has no by.", "Tell only what happened to the thing.",
        "Start with the object, use was, and drop the doer.",
    ),
    trained(
        "sentence_passive_question", rewrite("was {c.what} {c.participle} by {c.who}?"),
        "Turn the sentence into a passive question.", "Ask whether the object was treated so by the subject.",
        "Write a question that starts with was.", "Make a yes-no question in the passive voice.",
        "Ask about the object with was and by.",
    ),
    trained(
        "sentence_future", rewrite("{c.who} will {c.base} {c.what}."),
        "Put the sentence into the future.", "Say that this will happen.",
        "Use will instead of the past tense.",
        "Rewrite the sentence as a forecast.", "Change the time of the sentence to tomorrow's, with will.",
    ),
    trained(
        "sentence_yesterday", rewrite("{c.who} {c.past} {c.what} yesterday."),
        "Add yesterday at the end of the sentence.", "Say that it happened yesterday.",
        "Extend the sentence by the word yesterday.", "Put yesterday before the full stop.",
        "Date the event to the day before today.",
    ),
    trained(
        "sentence_quotes", _either(rewrite('"{c.active}"'), rewrite('"{c.passive}"', query="{c.passive}")),
        "Put the sentence into quotation marks.", "Quote the sentence.",
        "Surround the whole text with quotes.",
        "Write it as direct speech, with double quotes.", "Add a quotation mark at either end.",
    ),
    trained(
        "sentence_to_active", rewrite("{c.active}", query="{c.passive}"),
        "Put the sentence into the active voice.", "Start with the one who acted.",
        "Undo the passive.", "Make the doer the subject again.", "Rewrite it without was and by.",
    ),
    trained(
        "sentence_affirm", rewrite("{c.active}", query="did {c.who} {c.base} {c.what}?"),
        "Turn the question into a statement.", "State what the question asks about.",
        "Write as a fact what is being asked.", "Answer yes, in the form of a full sentence without did.",
        "Make a plain sentence out of the question.",
    ),
    trained(
        "sentence_join_and", _joined,
        "Join the two sentences with and.", "Make one sentence of the two, using and.",
        "Connect both statements by the word and.", "Write the pair as a single sentence.",
        "Replace the first full stop by and.",
    ),
)  # fmt: skip

_PARTS = (
    trained(
        "sentence_subject", statement(lambda c: c.subject),
        "Name the one who acted, in one word.", "Give the subject noun or name.",
        "Who did it? Answer with a single word.", "Which noun is the subject?",
        "Write only the doer, without article or adjective.",
    ),
    trained(
        "sentence_object", statement(lambda c: c.thing),
        "Name the thing in the sentence, in one word.", "Give the object noun.",
        "What was it done to? Answer with a single word.", "Which noun is the object?",
        "Write only the thing acted on, without article or adjective.",
    ),
    trained(
        "sentence_verb", statement(lambda c: c.past),
        "Give the verb of the sentence.", "Which word tells what was done?",
        "Name the action, as it is written.",
        "Find the verb and copy it.", "Write only the word for the deed.",
    ),
    trained(
        "sentence_color", statement(lambda c: c.color, full_clause),
        "Name the color in the sentence.", "Which color does the object have?", "Find the color word.",
        "What color is mentioned?", "Write only the color of the thing.",
    ),
    trained(
        "sentence_triple", statement(lambda c: f"{c.subject} | {c.past} | {c.thing}"),
        "Write subject, verb and object with bars between them.",
        "Turn the sentence into a triple with bars.",
        "Reduce it to subject | verb | object.", "Give doer, deed and thing, split by |.",
        "Extract who, did and what in one row with bars.",
    ),
    trained(
        "sentence_first_three", statement(lambda c: " ".join(c.active.split()[:3]), full_clause),
        "Write the first three words of the sentence.",
        "Copy only three words from the start of the sentence.",
        "Cut the sentence off after its third word.", "With which three words does the sentence begin?",
        "Give the opening three words.",
    ),
    trained(
        "sentence_last_word", _either(
            statement(lambda c: c.thing),
            statement(lambda c: c.who.split()[-1], query="{c.passive}"),
        ),
        "Write the last word of the sentence, without the full stop.", "Which word ends the sentence?",
        "Copy only the final word of the sentence.", "Give the word just before the full stop.",
        "With what word does the sentence close?",
    ),
    trained(
        "sentence_count", statement(lambda c: str(len(c.active.split()))),
        "Count the words of the sentence.", "How many words does the sentence have?",
        "Give the number of words as a digit.", "Say how many words long this is.",
        "Write the length of the sentence in words.",
    ),
)  # fmt: skip

_CHANGES = (
    trained(
        "sentence_no_adjectives", statement(_bare, full_clause),
        "Remove the adjectives.", "Write the sentence without describing words.",
        "Leave out every adjective and keep the rest.", "Strip the nouns of their adjectives.",
        "Shorten the sentence by dropping size, mood and color.",
    ),
    trained(
        "sentence_exchange", statement(_exchanged, full_clause),
        "Swap the subject and the object.", "Let the two noun phrases trade places.",
        "Let the thing do it to the doer.", "Exchange what stands before and after the verb.",
        "Turn the roles in the sentence around.",
    ),
    trained(
        "sentence_blue", statement(lambda c: replace(c, color="blue").active, _not_blue),
        "Replace the color by blue.", "Make the thing blue.", "Change the color word to blue.",
        "Rewrite the sentence as if the object were blue.", "Paint the object blue in the sentence.",
    ),
    trained(
        "sentence_ask_who", rewrite("who {c.past} {c.what}?"),
        "Ask who did it.", "Write a question about the subject, starting with who.",
        "Replace the doer by who and make it a question.", "Which question has the subject as its answer?",
        "Inquire about the one who acted.",
    ),
    trained(
        "sentence_ask_what", rewrite("what did {c.who} {c.base}?"),
        "Ask what it was done to.", "Write a question about the object, starting with what.",
        "Use what did and leave the object out.", "Which question has the object as its answer?",
        "Inquire about the thing acted on.",
    ),
    trained(
        "habit_first_person", _habit("I {base} {food}."),
        "Say it about yourself.", "Put the sentence into the first person.", "Replace the name by I.",
        "Speak as if you were this person.", "Start with I and fit the verb.",
    ),
    trained(
        "habit_they", _habit("They {base} {food}."),
        "Replace the name by they.", "Say it about several people.",
        "Put the sentence into the plural with they.",
        "Start with they and fit the verb.", "Tell the same of a whole group.",
    ),
    trained(
        "habit_past", _habit("{name} {past} {food}."),
        "Put the sentence into the past.", "Tell it as something that is over.",
        "Use the past tense of the verb.",
        "Change the present verb to its past form.", "Say that it was so in former times.",
    ),
)  # fmt: skip


FAMILIES: tuple[Family, ...] = (*_REWRITES, *_PARTS, *_CHANGES, HELD_OUT["sentence_passive_negation"])
