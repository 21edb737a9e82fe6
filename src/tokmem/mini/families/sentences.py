"""Families over English sentences, such as `The small dog opened the red box`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from tokmem.mini.families.family import Family
from tokmem.mini.lexicon import ANIMALS, COLORS, FOODS, JOBS, NAMES, THINGS, VERBS

Sampler = Callable[[Random], tuple[str, str]]

_PARTICIPLES = {"see": "seen", "break": "broken", "take": "taken", "draw": "drawn", "hide": "hidden"}
_UNCOUNTABLE = {"rain", "snow", "wind", "fire", "sand", "grass"}
_MEAL_BASES = {"like", "love", "need", "want", "buy", "sell", "bring", "find", "see", "take", "send", "keep"}

_SUBJECTS = ANIMALS + JOBS
_TRAITS = tuple("big small old young tall happy sad angry calm brave shy kind clever strong quiet".split())
_OBJECTS = tuple(thing for thing in THINGS if thing not in _UNCOUNTABLE)
_MEALS = tuple(food for food in FOODS[FOODS.index("bread") :] if food not in {"cookie", "bean"})
_MEAL_VERBS = tuple(forms for forms in VERBS if forms[0] in _MEAL_BASES)


@dataclass(frozen=True)
class Clause:
    """A past-tense clause; `who` and `what` are noun phrases as they stand inside a sentence."""

    trait: str
    subject: str
    verb: tuple[str, str, str, str]
    color: str
    thing: str

    @property
    def who(self) -> str:
        """The subject phrase: `the small dog`, or a bare name."""
        return self.subject if self.subject in NAMES else _phrase(self.trait, self.subject)

    @property
    def what(self) -> str:
        """The object phrase: `the red box`."""
        return _phrase(self.color, self.thing)

    @property
    def base(self) -> str:
        """The verb as in `open`."""
        return self.verb[0]

    @property
    def past(self) -> str:
        """The verb as in `opened`."""
        return self.verb[2]

    @property
    def participle(self) -> str:
        """The verb as in `was broken`."""
        return _PARTICIPLES.get(self.base, self.past)

    @property
    def active(self) -> str:
        """The plain statement."""
        return self.fill("{c.who} {c.past} {c.what}.")

    @property
    def passive(self) -> str:
        """The statement in the passive voice."""
        return self.fill("{c.what} was {c.participle} by {c.who}.")

    def fill(self, template: str) -> str:
        """Put the clause, as `c`, into a template and start the result with a capital."""
        text = template.format(c=self)
        return text[0].upper() + text[1:]


def _phrase(adjective: str, noun: str) -> str:
    """Write a noun phrase whose adjective may be empty."""
    return f"the {adjective} {noun}" if adjective else f"the {noun}"


def full_clause(rng: Random) -> Clause:
    """Draw a clause with both adjectives."""
    return Clause(
        trait=rng.choice(_TRAITS),
        subject=rng.choice(_SUBJECTS),
        verb=rng.choice(VERBS),
        color=rng.choice(COLORS),
        thing=rng.choice(_OBJECTS),
    )


def _varied(rng: Random) -> Clause:
    """Draw a clause in which adjectives may be missing and the subject may be a name."""
    clause = full_clause(rng)
    if rng.random() < 0.3:
        clause = replace(clause, subject=rng.choice(NAMES))
    if rng.random() < 0.3:
        clause = replace(clause, trait="")
    if rng.random() < 0.3:
        clause = replace(clause, color="")
    return clause


def _statement(
    answer: Callable[[Clause], str], draw: Callable[[Random], Clause] = _varied, query: str = "{c.active}"
) -> Sampler:
    """Show a clause, as a statement unless a query template says otherwise, and answer from its parts."""

    def sample(rng: Random) -> tuple[str, str]:
        clause = draw(rng)
        return clause.fill(query), answer(clause)

    return sample


def _rewrite(template: str, draw: Callable[[Random], Clause] = _varied, query: str = "{c.active}") -> Sampler:
    """Rewrite a clause by a template."""
    return _statement(lambda clause: clause.fill(template), draw, query)


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
    parts = [f"{name} {rng.choice(VERBS)[2]} the {rng.choice(_OBJECTS)}" for name in rng.sample(NAMES, 2)]
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


def _trained(name: str, sample: Sampler, *wordings: str) -> Family:
    """Make a family that the backbone is trained on."""
    return Family(name, wordings, sample)


_REWRITES = (
    _trained(
        "sentence_question",
        _either(_rewrite("did {c.who} {c.base} {c.what}?"), _habit("Does {name} {base} {food}?")),
        "Turn the sentence into a yes-no question.", "Ask whether this is true.",
        "Write the statement as a question with did or does.", "Make a question out of the sentence.",
        "How would one ask if this is so?",
    ),
    _trained(
        "sentence_negation",
        _either(_rewrite("{c.who} did not {c.base} {c.what}."), _habit("{name} does not {base} {food}.")),
        "Make the sentence negative.", "Deny the statement.", "Negate the sentence with did not or does not.",
        "Say that this is not the case.", "Write the contrary by putting not before the verb.",
    ),
    _trained(
        "sentence_passive", _rewrite("{c.passive}"),
        "Put the sentence into the passive.", "Say by whom the thing was handled, with the object first.",
        "Rewrite the sentence in the passive voice.", "Start with the object and use was and by.",
        "Make the object the subject of a passive sentence.",
    ),
    _trained(
        "sentence_passive_short", _rewrite("{c.what} was {c.participle}."),
        "Put the sentence into the passive and leave out who did it.",
        "Say what was done to the object, without naming anyone.",
        "Write a passive sentence that has no by.", "Tell only what happened to the thing.",
        "Start with the object, use was, and drop the doer.",
    ),
    _trained(
        "sentence_passive_question", _rewrite("was {c.what} {c.participle} by {c.who}?"),
        "Turn the sentence into a passive question.", "Ask whether the object was treated so by the subject.",
        "Write a question that starts with was.", "Make a yes-no question in the passive voice.",
        "Ask about the object with was and by.",
    ),
    _trained(
        "sentence_future", _rewrite("{c.who} will {c.base} {c.what}."),
        "Put the sentence into the future.", "Say that this will happen.",
        "Use will instead of the past tense.",
        "Rewrite the sentence as a forecast.", "Change the time of the sentence to tomorrow's, with will.",
    ),
    _trained(
        "sentence_yesterday", _rewrite("{c.who} {c.past} {c.what} yesterday."),
        "Add yesterday at the end of the sentence.", "Say that it happened yesterday.",
        "Extend the sentence by the word yesterday.", "Put yesterday before the full stop.",
        "Date the event to the day before today.",
    ),
    _trained(
        "sentence_quotes", _either(_rewrite('"{c.active}"'), _rewrite('"{c.passive}"', query="{c.passive}")),
        "Put the sentence into quotation marks.", "Quote the sentence.",
        "Surround the whole text with quotes.",
        "Write it as direct speech, with double quotes.", "Add a quotation mark at either end.",
    ),
    _trained(
        "sentence_to_active", _rewrite("{c.active}", query="{c.passive}"),
        "Put the sentence into the active voice.", "Start with the one who acted.",
        "Undo the passive.", "Make the doer the subject again.", "Rewrite it without was and by.",
    ),
    _trained(
        "sentence_affirm", _rewrite("{c.active}", query="did {c.who} {c.base} {c.what}?"),
        "Turn the question into a statement.", "State what the question asks about.",
        "Write as a fact what is being asked.", "Answer yes, in the form of a full sentence without did.",
        "Make a plain sentence out of the question.",
    ),
    _trained(
        "sentence_join_and", _joined,
        "Join the two sentences with and.", "Make one sentence of the two, using and.",
        "Connect both statements by the word and.", "Write the pair as a single sentence.",
        "Replace the first full stop by and.",
    ),
)  # fmt: skip

_PARTS = (
    _trained(
        "sentence_subject", _statement(lambda c: c.subject),
        "Name the one who acted, in one word.", "Give the subject noun or name.",
        "Who did it? Answer with a single word.", "Which noun is the subject?",
        "Write only the doer, without article or adjective.",
    ),
    _trained(
        "sentence_object", _statement(lambda c: c.thing),
        "Name the thing in the sentence, in one word.", "Give the object noun.",
        "What was it done to? Answer with a single word.", "Which noun is the object?",
        "Write only the thing acted on, without article or adjective.",
    ),
    _trained(
        "sentence_verb", _statement(lambda c: c.past),
        "Give the verb of the sentence.", "Which word tells what was done?",
        "Name the action, as it is written.",
        "Find the verb and copy it.", "Write only the word for the deed.",
    ),
    _trained(
        "sentence_color", _statement(lambda c: c.color, full_clause),
        "Name the color in the sentence.", "Which color does the object have?", "Find the color word.",
        "What color is mentioned?", "Write only the color of the thing.",
    ),
    _trained(
        "sentence_triple", _statement(lambda c: f"{c.subject} | {c.past} | {c.thing}"),
        "Write subject, verb and object with bars between them.",
        "Turn the sentence into a triple with bars.",
        "Reduce it to subject | verb | object.", "Give doer, deed and thing, split by |.",
        "Extract who, did and what in one row with bars.",
    ),
    _trained(
        "sentence_first_three", _statement(lambda c: " ".join(c.active.split()[:3]), full_clause),
        "Write the first three words of the sentence.",
        "Copy only three words from the start of the sentence.",
        "Cut the sentence off after its third word.", "With which three words does the sentence begin?",
        "Give the opening three words.",
    ),
    _trained(
        "sentence_last_word", _either(
            _statement(lambda c: c.thing),
            _statement(lambda c: c.who.split()[-1], query="{c.passive}"),
        ),
        "Write the last word of the sentence, without the full stop.", "Which word ends the sentence?",
        "Copy only the final word of the sentence.", "Give the word just before the full stop.",
        "With what word does the sentence close?",
    ),
    _trained(
        "sentence_count", _statement(lambda c: str(len(c.active.split()))),
        "Count the words of the sentence.", "How many words does the sentence have?",
        "Give the number of words as a digit.", "Say how many words long this is.",
        "Write the length of the sentence in words.",
    ),
)  # fmt: skip

_CHANGES = (
    _trained(
        "sentence_no_adjectives", _statement(_bare, full_clause),
        "Remove the adjectives.", "Write the sentence without describing words.",
        "Leave out every adjective and keep the rest.", "Strip the nouns of their adjectives.",
        "Shorten the sentence by dropping size, mood and color.",
    ),
    _trained(
        "sentence_exchange", _statement(_exchanged, full_clause),
        "Swap the subject and the object.", "Let the two noun phrases trade places.",
        "Let the thing do it to the doer.", "Exchange what stands before and after the verb.",
        "Turn the roles in the sentence around.",
    ),
    _trained(
        "sentence_blue", _statement(lambda c: replace(c, color="blue").active, _not_blue),
        "Replace the color by blue.", "Make the thing blue.", "Change the color word to blue.",
        "Rewrite the sentence as if the object were blue.", "Paint the object blue in the sentence.",
    ),
    _trained(
        "sentence_ask_who", _rewrite("who {c.past} {c.what}?"),
        "Ask who did it.", "Write a question about the subject, starting with who.",
        "Replace the doer by who and make it a question.", "Which question has the subject as its answer?",
        "Inquire about the one who acted.",
    ),
    _trained(
        "sentence_ask_what", _rewrite("what did {c.who} {c.base}?"),
        "Ask what it was done to.", "Write a question about the object, starting with what.",
        "Use what did and leave the object out.", "Which question has the object as its answer?",
        "Inquire about the thing acted on.",
    ),
    _trained(
        "habit_first_person", _habit("I {base} {food}."),
        "Say it about yourself.", "Put the sentence into the first person.", "Replace the name by I.",
        "Speak as if you were this person.", "Start with I and fit the verb.",
    ),
    _trained(
        "habit_they", _habit("They {base} {food}."),
        "Replace the name by they.", "Say it about several people.",
        "Put the sentence into the plural with they.",
        "Start with they and fit the verb.", "Tell the same of a whole group.",
    ),
    _trained(
        "habit_past", _habit("{name} {past} {food}."),
        "Put the sentence into the past.", "Tell it as something that is over.",
        "Use the past tense of the verb.",
        "Change the present verb to its past form.", "Say that it was so in former times.",
    ),
)  # fmt: skip

_HELD_OUT = (
    Family(
        "sentence_passive_negation",
        (
            "Put the sentence into the passive and make it negative.",
            "Say that the object was not treated so by the subject.",
            "Start with the object and use was not and by.",
            "Deny the statement in the passive voice.",
            "Write a negated passive sentence that names the doer.",
        ),
        _rewrite("{c.what} was not {c.participle} by {c.who}.", full_clause),
        split="demo",
    ),
)

FAMILIES: tuple[Family, ...] = (*_REWRITES, *_PARTS, *_CHANGES, *_HELD_OUT)
