"""What the words of a question say: which count, and what they ask for; pure, English."""

from __future__ import annotations

import re
from dataclasses import dataclass

from patchlight.tasks.grounding.valuetypes import ValueType, asked_types

_STOP = frozenset(
    re.findall(
        r"\w+",
        "a an the of in on at to for from by with and or is are was were be been do does did what "
        "which who whom whose when where why how many much it its this that these those as "
        "according page document report there any than then into about not no can could would "
        "should will",
    )
)
_ENDINGS = ("ations", "ation", "ings", "ing", "ies", "ied", "es", "ed", "s")
_SHORTEST_STEM = 3

_VISUAL = re.compile(
    r"\b(?:figure|fig|image|picture|photo|photograph|diagram|illustration|logo|icon|screenshot|map"
    r"|drawing|colou?r|symbol|shape|arrow|chart|graph|plot|pie|bar|histogram|curve|axis|trend"
    r"|percentage|legend)s?\b|\b(?:shown|depict\w*|wearing)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class QuestionWords:
    """What is known of a question by its words.

    Attributes:
        stems: of the words that count, each once, in their order.
        visual: whether it names something to be seen, such as a chart or a colour.
        types: of value that it asks for.
    """

    stems: tuple[str, ...]
    visual: bool
    types: frozenset[ValueType] = frozenset()


def question_words(question: str) -> QuestionWords:
    """Read a question.

    >>> asked = question_words("Which colours are shown in the charts of landings?")
    >>> asked.stems, asked.visual
    (('colour', 'shown', 'chart', 'land'), True)
    """
    counted = (word for word in _words(question) if word not in _STOP)
    return QuestionWords(
        stems=tuple(dict.fromkeys(map(_stem, counted))),
        visual=_VISUAL.search(question) is not None,
        types=asked_types(question),
    )


def stems_of(text: str) -> frozenset[str]:
    """Return the stems of a text's words."""
    return frozenset(map(_stem, _words(text)))


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.lower())


def _stem(word: str) -> str:
    """Cut one usual ending off, then a last e or y, which others of its forms may lack."""
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _SHORTEST_STEM:
            word = word[: -len(ending)]
            break
    return word[:-1] if word[-1] in "ey" and len(word) > _SHORTEST_STEM else word
