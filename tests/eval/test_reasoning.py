from __future__ import annotations

import pytest

from tokmem.errors import DataError
from tokmem.eval.reasoning import final_answer, score_reasoning


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("6*7=42\n#### 42", "42"),
        ("#### 1,234 \nmore", "1234"),
        ("#### -5", "-5"),
        ("#### 3\n#### 4", "3"),
        ("so #### 42", None),
        ("####42", None),
        ("#### 42 apples", None),
        ("#### $42", None),
        ("#### 4.5", "4.5"),
        ("#### 1,000.25 ", "1000.25"),
        ("so\r\n#### 72\r\n", "72"),
        ("#### 4.", None),
        ("#### .5", None),
        ("", None),
    ],
)
def test_extraction_is_strict(text, answer):
    assert final_answer(text) == answer


def test_scores_are_shares_of_all_answers():
    scores = score_reasoning(
        ["a\n#### 1,000", "#### 2", "#### 3", "#### 4"], ["#### 1000", "#### 7", "three", "#### 04"]
    )
    assert (scores.compliance, scores.exact_match, scores.count) == (75.0, 50.0, 4)


def test_a_number_may_have_any_length():
    ones = f"#### {'1' * 5000}"
    scores = score_reasoning(["#### 1", ones, "#### -0"], [ones, f"{ones}\n", "#### 0"])
    assert (scores.compliance, scores.exact_match) == (100.0, pytest.approx(200 / 3))


@pytest.mark.parametrize(("references", "responses"), [([], []), (["#### 1"], []), (["one"], ["#### 1"])])
def test_what_cannot_be_scored_is_refused(references, responses):
    with pytest.raises(DataError, match="reference"):
        score_reasoning(references, responses)
