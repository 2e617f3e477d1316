"""Guards which kinds of value a question asks for, and which a text may be."""

from __future__ import annotations

import pytest

from patchlight.tasks.grounding.questionwords import question_words
from patchlight.tasks.grounding.valuetypes import ValueType, asked_types, value_types

DATE, AMOUNT, COUNT = ValueType.DATE, ValueType.AMOUNT, ValueType.COUNT
CODE, NAME, PLACE = ValueType.CODE, ValueType.NAME, ValueType.PLACE


@pytest.mark.parametrize(
    ("question", "types"),
    [
        ("What is the invoice date?", {DATE}),
        ("WHEN was it signed?", {DATE}),
        ("What is the total?", {AMOUNT}),
        ("How much is due?", {AMOUNT}),
        ("How many are due?", {COUNT}),
        ("What is the number of employees?", {COUNT}),
        ("Which are the numbers of all rooms?", {COUNT}),
        ("What percentage voted?", {COUNT}),
        ("What is the invoice number?", {CODE}),
        ("Which numbers are printed?", {CODE}),
        ("Invoice no.?", {CODE}),
        ("Invoice #", {CODE}),
        ("What is the telephone?", {CODE}),
        ("Who signed it?", {NAME}),
        ("Where was it signed?", {PLACE}),
        ("What is the address of the company?", {PLACE, NAME}),
        ("What is the total number of rooms?", {AMOUNT, COUNT}),
        ("What was the share price on that day?", {COUNT, AMOUNT, DATE}),
        # Within other words, and the answer no.
        ("Does the candidate update the network? no", set()),
        ("Is there an idea for decades?", set()),
        ("How deep is the harbour, and does that matter much?", set()),
        ("", set()),
    ],
)
def test_types_that_questions_ask_for(question: str, types: set[ValueType]) -> None:
    assert asked_types(question) == types
    assert question_words(question).types == types


@pytest.mark.parametrize(
    "text",
    [
        "12/03/2020",
        "2020-03-12",
        "12.3.20",
        "3 May 2020",
        "25-DEC-2018",
        "25DEC18",
        "Sept. 3, 2019",
        "due October 14 2019 at noon",
        "Mar 2020",
    ],
)
def test_dates_are_no_amounts_counts_or_codes(text: str) -> None:
    assert value_types(text) & {DATE, AMOUNT, COUNT, CODE} == {DATE}


@pytest.mark.parametrize(
    ("text", "types"),
    [
        ("$5", {AMOUNT, COUNT}),
        ("€ 12", {AMOUNT, COUNT}),
        ("RM 9.00", {AMOUNT, COUNT}),
        ("1,234", {AMOUNT, COUNT}),
        ("1.234.567,00", {AMOUNT, COUNT}),
        ("12 345", {AMOUNT, COUNT}),
        ("45", {COUNT}),
        ("12%", {COUNT}),
        ("2.5", {COUNT}),  # money has two decimals
        ("A1", set()),  # as many letters as digits, and short for a code
        ("INV-00123", {CODE, COUNT}),
        ("0123456", {CODE, COUNT}),
        ("John Smith", {NAME}),
        ("Area 51 B", set()),  # 2 digits of 9 characters are more than a fifth
        ("Areas 51 B", {NAME}),
        ("Rooms 12 to 14", set()),
        ("Bob", set()),
        ("12 High Street, York", {NAME, PLACE}),
        ("Old Harbour 20457", {CODE, PLACE}),
        ("York 12345", {CODE, COUNT}),  # letters too few for an address
        ("High Street, York", {NAME}),
        ("12 High Street", {NAME}),
        ("12 marbles 300", set()),
        ("-", set()),
        ("", set()),
        ("  ", set()),
    ],
)
def test_types_that_texts_may_be(text: str, types: set[ValueType]) -> None:
    assert value_types(text) == types


@pytest.mark.parametrize(
    "word",
    [
        "Janitor",
        "Febrile",
        "Market",
        "Apron",
        "Mayor",
        "Junction",
        "Julep",
        "Augur",
        "Sepia",
        "Octane",
        "Novel",
        "Decision",
    ],
)
def test_words_that_begin_like_months_make_no_date(word: str) -> None:
    assert value_types(f"{word} 1,500.00") >= {AMOUNT}
    assert DATE not in value_types(f"12 {word} 2020")
