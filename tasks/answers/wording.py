"""Answers as text for reading; text from documents cannot steer a terminal."""

from __future__ import annotations

import json
from typing import Any

from patchlight.tasks.answers.results import Answer
from patchlight.tasks.common.safetext import plain
from patchlight.tasks.common.terminal import cut
from patchlight.tasks.grounding.records import RegionHit
from patchlight.tasks.retrieval.scope import Catalog

_LONGEST_REGION = 300
_LONGEST_WORD = 30


def answer_text(answer: Answer, catalog: Catalog) -> str:
    """Return an answer for reading: pages, and the places on each."""
    lines = [] if answer.pages else ["no page that may be looked at has words to compare with"]
    for rank, page in enumerate(answer.pages, 1):
        at = page.hit.position
        lines.append(
            f"{rank}. {plain(catalog.names[at])}, page {catalog.pages[at]}  "
            f"(score {page.hit.score:.3f})"
        )
        if page.metadata:
            known = ", ".join(f"{name} {_value(v)}" for name, v in page.metadata.items())
            lines.append(f"   {cut(plain(known), _LONGEST_REGION)}")
        for number, region in enumerate(page.regions, 1):
            x0, y0, x1, y1 = region.box
            lines.append(
                f"   {rank}.{number} {region.kind} at x {x0:.2f}-{x1:.2f}, y {y0:.2f}-{y1:.2f}  "
                f"({score_and_words(region)})"
            )
            lines.append(f"       {cut(plain(region.text), _LONGEST_REGION)}")
        if not page.regions:
            lines.append("   no region selected on this page")
    return "\n".join(lines)


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def score_and_words(region: RegionHit) -> str:
    """Return a region's score and the words that carried it, for reading."""
    carried = ", ".join(
        f"{cut(plain(word.token), _LONGEST_WORD)} {word.score:.2f}" for word in region.words
    )
    return f"{region.score:.3f}{': ' if carried else ''}{carried}"
