"""Guards which words of a question count, and that its forms meet those on the page."""

from __future__ import annotations

import pytest

from patchlight.tasks.grounding.questionwords import question_words, stems_of


def test_words_that_count_come_once_and_in_their_order() -> None:
    asked = question_words("What is the DEPTH of the harbour, and which harbours have that depth?")
    assert asked.stems == ("depth", "harbour", "hav")


def test_question_without_a_word_that_counts() -> None:
    for text in ("", "?!", "what is this", "_"):
        assert question_words(text).stems == ()


@pytest.mark.parametrize(
    "forms",
    [
        ("report", "reports", "reported", "reporting", "REPORTS"),
        ("limitation", "limitations", "limited"),
        ("boxes", "box"),
        ("table", "tables"),
        ("price", "prices", "pricing"),
        ("company", "companies"),
        ("key", "keys"),
        ("12", "12%"),
        ("naïve", "NAÏVE"),
    ],
)
def test_forms_of_a_word_meet(forms: tuple[str, ...]) -> None:
    assert len({stems_of(form) for form in forms}) == 1


def test_an_ending_leaves_three_letters() -> None:
    assert stems_of("gas red ties bus") == {"gas", "red", "tie", "bus"}


def test_words_are_parted_by_whatever_is_no_letter_or_digit() -> None:
    assert stems_of("net_load (kg/m2): 1,204") == {"net", "load", "kg", "m2", "1", "204"}


@pytest.mark.parametrize(
    ("question", "visual"),
    [
        ("What does Figure 3 say?", True),
        ("Which colour is the arrow?", True),
        ("the color of it", True),
        ("Which of the charts?", True),
        ("Who is wearing a hat?", True),
        ("What is depicted?", True),
        ("How deep is the harbour?", False),
        ("Who configured the mapping of barriers?", False),  # fig, map, bar within words
        ("", False),
    ],
)
def test_questions_about_something_to_be_seen(question: str, visual: bool) -> None:
    assert question_words(question).visual is visual
