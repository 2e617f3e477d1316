"""What is known of each line or cell of a page as the value that a question asks for; pure.

The signals are a row of numbers in the order of `SIGNALS`; ``tasks.grounding.valueweights`` weighs
them. The words of a question stand beside its answer: the label on the left or above, a row's
heading and a column's.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from patchlight.storage.records import RegionKind
from patchlight.storage.regions import Regions
from patchlight.tasks.grounding import surroundings
from patchlight.tasks.grounding.evidence import HeldPatches, Seen
from patchlight.tasks.grounding.pagewords import PageWords
from patchlight.tasks.grounding.questionwords import QuestionWords
from patchlight.tasks.grounding.spans import VALUES, Spans, values_of
from patchlight.tasks.grounding.valuetypes import value_types
from patchlight.tasks.kernels.geometry import Doubles, Indices

LAYOUT = ("digits", "order")
"""Signals that know no question."""

SIGNALS = (*LAYOUT, "type", "own", "left", "next", "crossing", "again", "patches")

_MOST_AGAIN = 3
_SAME_EVIDENCE = 6
"""Decimals."""

_PATCH_BACKGROUND = 0.1
"""See ``tasks.grounding.evidence``."""


class PageValues:
    """The lines and cells of a page, with all that does not depend on a question.

    Signals by place and text alone, (S,) each: ``digits`` share of its characters that are
    digits, ``order`` ln(1 + place in reading order).

    Args:
        regions: of the page.
        kinds: which of `VALUES` count.
    """

    def __init__(self, regions: Regions, kinds: Collection[RegionKind] = VALUES) -> None:
        self.regions = regions
        self.spans: Spans = values_of(regions, kinds)
        boxes = self.spans.boxes
        texts = [regions.texts[row] for (row,) in self.spans.members]
        self._types = [value_types(text) for text in texts]
        digits = [sum(map(str.isdigit, text)) / max(len(text), 1) for text in texts]
        self._layout = np.column_stack([np.array(digits), np.log1p(np.arange(len(boxes)))])
        self._words = PageWords(regions)
        before, over = surroundings.next_lines(boxes, regions.boxes[regions.rows(RegionKind.LINE)])
        inside = self._words.inside
        own = inside(boxes)
        self._holds = {
            "own": own,
            "left": inside(surroundings.left_of(boxes)),
            "next": own | inside(before) | inside(over),
            "row": inside(surroundings.row_of(boxes)),
            "above": surroundings.words_above(boxes, self._words.boxes),
        }
        around = [boxes, surroundings.left_of(boxes), surroundings.above(boxes)]
        self._patches = HeldPatches(np.concatenate(around))

    def signals(
        self,
        question: QuestionWords,
        seen: Seen,
    ) -> Doubles:
        """Return the signals of every line and cell for a question.

        ``type`` is 1 for what may be of a type that the question asks for. Of the question's words
        that are on the page, by their weight (`PageWords.named`): ``own`` is the share that it
        holds itself, ``left`` that on its left, ``next`` that in itself and the lines next to it,
        on the left and above; ``crossing`` how much more its row and what is above it hold together
        than the better of them alone, as in a table. ``again`` counts earlier ones with equal
        evidence, up to three. ``patches``: of each token the best evidence by density
        (``tasks.grounding.evidence``) in itself, on its left or above it.

        Args:
            question: its words.
            seen: what the page's patches say to it.

        Returns:
            (S, len(SIGNALS)) float64.
        """
        asked = question.types
        of_type = np.array([bool(types & asked) for types in self._types], dtype=np.float64)  # (S,)
        equal, counts = self._words.named(question)  # (W, Q), (Q,)
        has = {
            where: (words.astype(np.float64) @ equal > 0).astype(np.float64)
            for where, words in self._holds.items()
        }
        own, left, beside, row, over = (
            has[where] @ counts for where in ("own", "left", "next", "row", "above")
        )
        crossing = np.maximum(has["row"], has["above"]) @ counts - np.maximum(row, over)  # (S,)
        found = np.column_stack([of_type, own, left, beside, crossing])  # (S, 5)
        mass, part = self._around(seen)  # (3, S, T), (3, S, 1)
        dense = np.log((1 - _PATCH_BACKGROUND) * mass / np.maximum(part, 1e-6) + _PATCH_BACKGROUND)
        patches = np.where(part > 0, dense, 0.0).max(axis=0, initial=-np.inf)  # (S, T)
        by_patch = patches @ seen.shares  # (S,)
        return np.column_stack([self._layout, found, _again(found), by_patch])

    def carried(
        self,
        rows: Indices,
        seen: Seen,
    ) -> Doubles:
        """Return what each token of a question gives to some lines and cells.

        Args:
            rows: (R,) of these.
            seen: as for `signals`.

        Returns:
            (R, T): the token's share of the weights, times the part of its mass that lies in the
            place, on its left or above it, whichever has most beyond the part of the page's patches
            that does; in [-1, 1].
        """
        mass, part = self._around(seen)  # (3, S, T), (3, S, 1)
        beyond = (mass - part)[:, rows].max(axis=0)  # (R, T)
        carried: Doubles = beyond * seen.shares  # (R, T)
        return carried

    def _around(self, seen: Seen) -> tuple[Doubles, Doubles]:
        """Mass (3, S, T) and part (3, S, 1) of the patches inside, on the left, above."""
        mass, part = self._patches.mass(seen.token_scores, seen.cell_to_vector, seen.grid)
        count = len(self.spans)
        return mass.reshape(3, count, mass.shape[1]), part.reshape(3, count, 1)


def _again(found: Doubles) -> Doubles:
    """Count of each row how many equal it before; at most `_MOST_AGAIN`."""
    seen: dict[bytes, int] = {}
    again = np.zeros(len(found))  # (S,)
    for at, row in enumerate(found.round(_SAME_EVIDENCE) + 0.0):  # no negative zero
        key = row.tobytes()
        again[at] = min(seen.get(key, 0), _MOST_AGAIN)
        seen[key] = seen.get(key, 0) + 1
    return again
