from __future__ import annotations

import pytest

from tokmem.data.calls.join_queries import Joiner
from tokmem.data.calls.xlam import XlamRow
from tokmem.records import Call

CORPUS = ("find a song", "what's on in peru", "please go on", "i like it", "monday is the worst, is it?")


def row(query, **arguments):
    return XlamRow("x", query, (Call("a", arguments),), ())


def joined(first, second, **arguments):
    return Joiner(CORPUS).join([row(first), row(second, **arguments)], ["Also,"])


@pytest.mark.parametrize(
    ("first", "second", "text"),
    [
        ("find a song", "Find another.", "Find a song. Also, find another."),
        ("Find one!", "what is it", "Find one! Also, what is it?"),
        ("when is easter", "when it rains, go in", "When is easter? Also, when it rains, go in."),
        ("can you go on", "Would you stop", "Can you go on? Also, Would you stop?"),  # a word never met small
        ("i like it", "i'm late", "I like it. Also, I'm late."),
        ("I like it", "I'd go", "I like it. Also, I'd go."),
        ("what's up", "What's new", "What's up? Also, what's new?"),
        ("Go to Oslo", "Oslo is it", "Go to Oslo. Also, Oslo is it."),
        ("SMS her", "SMS him", "SMS her. Also, SMS him."),
        ("find 'x'", "say 'stop it!'", "Find 'x'. Also, say 'stop it!'"),
        ("find it, ", "7 songs", "Find it. Also, 7 songs."),
        ("find it\u2026", "please (now)", "Find it\u2026 Also, please (now)."),
    ],
)
def test_sentences_begin_and_end_as_they_should(first, second, text):
    assert joined(first, second) == text


def test_a_first_word_that_an_argument_holds_stays_as_it_is():
    assert joined("x", "Please me by Ann", title="Please me") == "X. Also, Please me by Ann."
    assert joined("x", "Please me by Ann", titles=[{"of": "Please me"}]) == "X. Also, Please me by Ann."
    assert Joiner(CORPUS).join([row("peru songs", country="peru")], []) == "peru songs."
    assert Joiner(CORPUS).join([row("peru songs")], []) == "Peru songs."
