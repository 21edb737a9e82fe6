"""ROUGE-L and exact match as Natural Instructions defines them, in percent.

Source: Wang et al. 2022, arXiv 2204.07705, and its evaluation script. One departure: an empty prediction
scores 0, even against a reference of which normalisation leaves nothing.
"""

from __future__ import annotations

import re
import string
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean

from tokmem.errors import DataError

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_MARKS = re.escape(string.punctuation)
# Thai, Lao, Burmese, Khmer, Chinese and Japanese: scripts without blanks between words, and their marks.
_SINGLE = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3001-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uff65"
_WORDS = re.compile(f"[{_SINGLE}{_MARKS}]|[^\\s{_SINGLE}{_MARKS}]+")


@dataclass(frozen=True)
class TextRates:
    """Mean scores over a set of examples, in percent."""

    examples: int
    rouge_l: float
    exact_match: float


@dataclass(frozen=True)
class TextScores:
    """Scores of predicted responses.

    Attributes:
        micro: means over examples.
        macro: means over procedures with equal weights.
        per_procedure: means over the examples of each procedure, by name.
    """

    micro: TextRates
    macro: TextRates
    per_procedure: Mapping[str, TextRates]


def score_texts(
    procedures: Sequence[str], references: Sequence[Sequence[str]], predictions: Sequence[str | None]
) -> TextScores:
    """Scores each prediction against the best of its references.

    Args:
        procedures: the procedure of each example.
        references: every acceptable response of each example.
        predictions: the recalled responses.

    Raises:
        DataError: there is no example, the lengths differ, a prediction is missing, or there is no reference.
    """
    texts = _checked(procedures, references, predictions)
    groups: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for procedure, accepted, text in zip(procedures, references, texts, strict=True):
        groups[procedure].append((rouge_l(text, accepted), exact_match(text, accepted)))
    per_procedure = {name: _mean(groups[name]) for name in sorted(groups)}
    return TextScores(
        micro=_mean([scores for group in groups.values() for scores in group]),
        macro=TextRates(
            len(texts),
            fmean(rates.rouge_l for rates in per_procedure.values()),
            fmean(rates.exact_match for rates in per_procedure.values()),
        ),
        per_procedure=per_procedure,
    )


def rouge_l(prediction: str, references: Sequence[str]) -> float:
    """Returns the F-measure of the longest common subsequence of stemmed words; the best over references.

    The result is in percent.
    """
    scorer = _scorer()
    return 100.0 * max(scorer(reference, prediction) for reference in references)


def rouge_l_of_any_script(prediction: str, references: Sequence[str]) -> float:
    """`rouge_l`, which reads ASCII letters and digits alone, or its like for references of other letters.

    Where most letters and digits of the references are not ASCII, the words are runs of any letters, single
    letters of scripts without blanks, and marks such as brackets.
    """
    letters = [letter for text in references for letter in text if letter.isalnum()]
    if 2 * sum(letter.isascii() for letter in letters) > len(letters):
        return rouge_l(prediction, references)
    scorer = _scorer(any_script=True)
    return 100.0 * max(scorer(reference, prediction) for reference in references)


def exact_match(prediction: str, references: Sequence[str]) -> float:
    """Returns 100 if the prediction equals a reference but for case, punctuation and white space, else 0."""
    if not prediction.strip():
        return 0.0
    return 100.0 * any(normalise(prediction) == normalise(reference) for reference in references)


def normalise(text: str) -> str:
    """Makes text lower case, without ASCII punctuation, with single blanks between words."""
    return " ".join(text.lower().translate(_NO_PUNCTUATION).split())


class _AnyScript:
    """Divides texts of any script into words."""

    def tokenize(self, text: str) -> list[str]:
        """The words, in lower case."""
        return _WORDS.findall(text.lower())


@cache
def _scorer(*, any_script: bool = False) -> Callable[[str, str], float]:
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"], use_stemmer=True, tokenizer=_AnyScript() if any_script else None)
    return lambda reference, prediction: float(scorer.score(reference, prediction)["rougeL"].fmeasure)


def _checked(
    procedures: Sequence[str], references: Sequence[Sequence[str]], predictions: Sequence[str | None]
) -> list[str]:
    sizes = (len(procedures), len(references), len(predictions))
    if len(set(sizes)) > 1 or not predictions:
        got = "{} procedures, {} lists of references, {} predictions".format(*sizes)
        raise DataError(got, "one of each for every example, and at least one example")
    texts = [text for text in predictions if text is not None]
    if len(texts) < len(predictions):
        first = predictions.index(None)
        got = f"{len(predictions) - len(texts)} predictions missing, the first at position {first}"
        raise DataError(
            got, "a prediction for every example", "recall these examples again; a failed one is never scored"
        )
    for position, accepted in enumerate(references):
        if isinstance(accepted, str) or not accepted:
            raise DataError(f"references of example {position}: {accepted!r}", "a list of at least one text")
    return texts


def _mean(scores: Sequence[tuple[float, float]]) -> TextRates:
    return TextRates(len(scores), fmean(rouge for rouge, _ in scores), fmean(exact for _, exact in scores))
