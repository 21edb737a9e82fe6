from __future__ import annotations

import pytest

from tokmem.errors import DataError
from tokmem.eval.rouge import TextRates, exact_match, rouge_l, rouge_l_of_any_script, score_texts


def test_exact_match_sets_case_punctuation_and_white_space_aside() -> None:
    assert exact_match(" The  CAT, sat!\n", ["a dog", "the cat sat"]) == 100.0
    assert exact_match("the cat", ["the cat sat"]) == 0.0
    assert exact_match("a-b", ["ab"]) == 100.0
    assert exact_match("a cat", ["cat"]) == 0.0  # unlike SQuAD, articles count


def test_rouge_is_the_stemmed_f_measure_of_the_best_reference() -> None:
    pytest.importorskip("rouge_score")
    # "police killing" against "police killed the gunman": stems share 2 in order, P = 1, R = 1/2.
    assert rouge_l("police killing", ["the", "police killed the gunman"]) == pytest.approx(200 / 3)
    assert rouge_l("b a", ["a b"]) == 50.0


def test_empty_predictions_score_nothing() -> None:
    pytest.importorskip("rouge_score")
    for empty in ("", " \n"):
        assert (rouge_l(empty, ["?", "a"]), exact_match(empty, ["?", ""])) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("prediction", "reference", "score"),
    [
        ("Привет, мир", "привет мир", 80.0),  # the comma counts: P = 2/3, R = 1
        ("你好世界", "你好世界", 100.0),
        ("你好", "你好世界", 200 / 3),
        ("नमस्ते दुनिया", "नमस्ते दुनिया", 100.0),
        ("{}", "{}", 100.0),
        ('{"a": 1}', "{}", 2 * (2 / 7) / (2 / 7 + 1) * 100),
        ("", "你好", 0.0),
        ("hello", "Привет", 0.0),
        ("猫　犬", "鳥　魚", 0.0),  # the wide blank is no word
    ],
)
def test_rouge_of_other_scripts_counts_their_letters(prediction: str, reference: str, score: float) -> None:
    pytest.importorskip("rouge_score")
    assert rouge_l_of_any_script(prediction, [reference]) == pytest.approx(score)


def test_rouge_of_any_script_is_the_published_one_for_english() -> None:
    pytest.importorskip("rouge_score")
    for prediction in ("police killing", "naïve: the police", "", "{}"):
        references = ["the", "police killed the gunman"]
        assert rouge_l_of_any_script(prediction, references) == rouge_l(prediction, references)


def test_micro_weighs_examples_and_macro_procedures() -> None:
    pytest.importorskip("rouge_score")
    scores = score_texts(["p", "q", "p", "p"], [["x"], ["a b"], ["x"], ["x"]], ["x", "b a", "X.", "y"])
    p, q = TextRates(3, pytest.approx(200 / 3), pytest.approx(200 / 3)), TextRates(1, 50.0, 0.0)
    assert scores.per_procedure == {"p": p, "q": q}
    assert scores.micro == TextRates(4, 62.5, 50.0)
    assert scores.macro == TextRates(4, pytest.approx(350 / 6), pytest.approx(100 / 3))


@pytest.mark.parametrize(
    ("references", "predictions", "message"),
    [
        ([["x"], ["y"]], ["x"], "1 predictions"),
        ([["x"]], ["x", "y"], "1 lists of references"),
        ([["x"], ["y"]], ["x", None], "position 1"),
        ([["x"], []], ["x", "y"], "example 1"),
        ([["x"], "yes"], ["x", "y"], "example 1"),
    ],
)
def test_what_failed_is_never_scored(
    references: list[list[str]], predictions: list[str | None], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        score_texts(["p", "p"], references, predictions)


def test_nothing_to_score_is_refused() -> None:
    with pytest.raises(DataError, match="0 predictions"):
        score_texts([], [], [])
