"""Makes corpora of generated procedures and word problems, with the same records as any other."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from tokmem.data.corpus import Corpus
from tokmem.data.gsm8k import problem, reasoning_corpus
from tokmem.errors import ConfigError
from tokmem.mini.arithmetic import sample_problem
from tokmem.mini.family import Family
from tokmem.mini.procedures import sample_input
from tokmem.records import Example, Procedure, Turn
from tokmem.seeds import stream


def procedures_corpus(
    families: Sequence[Family], train_size: int, val_size: int, test_size: int, seed: int = 0
) -> Corpus:
    """Draws examples of generated procedures; queries are distinct within a procedure.

    Test and validation queries come from the inputs that the backbone's training never saw, training queries
    from all the others. The instruction is a family's first wording.

    Args:
        families: the procedures.
        train_size: training examples of each.
        val_size: validation examples of each.
        test_size: test examples of each.
        seed: seeds the draws.

    Raises:
        ConfigError: a family has too few distinct inputs for these sizes.
    """
    splits: dict[str, dict[str, tuple[Example, ...]]] = {"train": {}, "validation": {}, "test": {}}
    for family in families:
        seen: set[str] = set()
        for split, size in (("test", test_size), ("train", train_size), ("validation", val_size)):
            drawn = _draw(family, size, seen, seed, split)
            splits[split][family.name] = drawn
    digest = hashlib.sha256(repr(sorted(splits.items())).encode()).hexdigest()
    procedures = tuple(Procedure(f.name, f.wordings[0]) for f in families)
    wordings = {f.name: f.wordings[1:] for f in families}
    return Corpus(
        procedures, splits["train"], splits["validation"], splits["test"], wordings=wordings, checksum=digest
    )


def arithmetic_corpus(train_size: int, test_size: int, seed: int = 0) -> Corpus:
    """Draws word problems in the format of GSM8K; no question occurs twice, so none is in both splits.

    The backbone's training drew from the same kinds of problem, so it knows the form of an answer. The names,
    things and numbers of a test problem almost never occurred in training.

    Args:
        train_size: training problems.
        test_size: test problems.
        seed: seeds the draws.
    """
    rng, seen = stream(seed, "arithmetic"), set[str]()
    drawn: list[Example] = []
    while len(drawn) < test_size + train_size:
        found = sample_problem(rng)
        if found.question not in seen:
            seen.add(found.question)
            id = f"arithmetic-{len(drawn)}"
            drawn.append(problem(found.question, found.answer, id, id))
    digest = hashlib.sha256(repr(drawn).encode()).hexdigest()
    return reasoning_corpus(drawn[test_size:], drawn[:test_size], digest)


def _draw(family: Family, size: int, seen: set[str], seed: int, split: str) -> tuple[Example, ...]:
    rng = stream(seed, "procedures", family.name, split)
    examples: list[Example] = []
    for _ in range(200 * size + 200):
        if len(examples) == size:
            return tuple(examples)
        query, response = sample_input(family, rng, held_out=split != "train")
        if query not in seen:
            seen.add(query)
            examples.append(
                Example(
                    query,
                    (Turn(family.name, response),),
                    instruction=family.wordings[0],
                    id=f"{family.name}/{split}/{len(examples)}",
                )
            )
    raise ConfigError(
        f"{family.name} has fewer than {size} distinct inputs for {split}",
        "a smaller size",
        f"lower the number of {split} examples",
    )
