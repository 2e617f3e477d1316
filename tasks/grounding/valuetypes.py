"""What kind of value a question asks for, and what kinds a text may be; pure, English words."""

from __future__ import annotations

import re
from enum import StrEnum

_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?"
    r"|sep(?:t(?:ember)?)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"
)


class ValueType(StrEnum):
    """Kind of a short value, such as forms, receipts and cells of tables hold."""

    DATE = "date"
    AMOUNT = "amount"
    """Of money."""
    COUNT = "count"
    """How many, or what share."""
    CODE = "code"
    """Number by which something is known, of an invoice or a telephone."""
    NAME = "name"
    PLACE = "place"
    """Address."""


_ASKED = {
    ValueType.DATE: r"\b(?:dates?|when|day|month|year|deadline)\b",
    ValueType.AMOUNT: r"\b(?:amount|total|costs?|prices?|gross|net|fees?|pay|paid|revenues?|sum"
    r"|tax|balance|subtotal|salary|how much)\b",
    ValueType.COUNT: r"\b(?:how many|numbers? of|count|quantity|percent\w*|rate|ratio|share)\b",
    ValueType.CODE: r"\b(?:numbers?(?! of)|no\.|code|id|identifier|(?:tele)?phone|fax|zip)(?!\w)|#",
    ValueType.NAME: r"\b(?:who|whose|whom|names?|company|person)\b",
    ValueType.PLACE: r"\b(?:address|where|location|city|street)\b",
}
_QUESTIONS = {which: re.compile(words, re.IGNORECASE) for which, words in _ASKED.items()}

_DATE = re.compile(
    r"\b\d{1,4}[/.\-]\d{1,2}[/.\-]\d{1,4}\b"
    rf"|\b\d{{1,2}}[ \-]?{_MONTH}[ ,\-]*\d{{2,4}}\b"
    rf"|\b{_MONTH} ?\d{{1,2}},? *\d{{2,4}}\b",
    re.IGNORECASE,
)
_AMOUNT = re.compile(r"[$€£¥]\s*\d|\b\d{1,3}(?:[,. ]\d{3})+\b|\b\d+[.,]\d{2}\b")
_CODE = re.compile(r"\b(?=\w*\d)[\w\-/]{4,}\b")
_POSTCODE = re.compile(r"\b\d{5}\b")
_NAME_LETTERS, _NAME_DIGITS = 4, 0.2
"""Letters of a name, at least; share of digits, at most."""
_PLACE_LETTERS = 6


def asked_types(question: str) -> frozenset[ValueType]:
    """Return the kinds of value that a question's words ask for; often none."""
    return frozenset(which for which, words in _QUESTIONS.items() if words.search(question))


def value_types(text: str) -> frozenset[ValueType]:
    """Return the kinds of value that a text may be by its letters and digits."""
    letters, digits = sum(map(str.isalpha, text)), sum(map(str.isdigit, text))
    date = _DATE.search(text) is not None
    found = {
        ValueType.DATE: date,
        ValueType.AMOUNT: not date and _AMOUNT.search(text) is not None,
        ValueType.COUNT: not date and digits > letters,
        ValueType.CODE: not date and _CODE.search(text) is not None,
        ValueType.NAME: letters >= _NAME_LETTERS and digits <= _NAME_DIGITS * len(text),
        ValueType.PLACE: letters >= _PLACE_LETTERS
        and digits > 0
        and ("," in text or _POSTCODE.search(text) is not None),
    }
    return frozenset(which for which, true in found.items() if true)
