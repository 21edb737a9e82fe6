"""Word lists that only the families for training draw from."""

from __future__ import annotations

from tokmem.mini.lexicon import ANIMALS, COLORS, FOODS, JOBS, PLACES

OPPOSITES = (
    ("big", "small"), ("old", "new"), ("tall", "short"), ("wide", "narrow"), ("heavy", "light"), ("fast", "slow"),
    ("hot", "cold"), ("dry", "wet"), ("clean", "dirty"), ("loud", "quiet"), ("soft", "hard"), ("strong", "weak"),
    ("happy", "sad"), ("rich", "poor"), ("empty", "full"), ("bright", "dark"), ("smooth", "rough"), ("thin", "thick"),
    ("open", "closed"), ("early", "late"), ("first", "last"), ("up", "down"), ("left", "right"), ("day", "night"),
)  # fmt: skip

ONES = tuple(
    """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
seventeen eighteen nineteen""".split()
)

TENS = tuple("zero ten twenty thirty forty fifty sixty seventy eighty ninety".split())

# kind of thing -> its members, for families that classify
CATEGORIES = {
    "animal": ANIMALS,
    "food": tuple(f for f in FOODS if f != "orange"),
    "color": tuple(c for c in COLORS if c != "orange"),
    "place": PLACES,
    "job": JOBS,
}
