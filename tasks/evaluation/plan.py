"""What an evaluation does, and what it has found out about each row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from patchlight.storage.records import RegionKind
from patchlight.tasks.answers.options import RetrievalOptions
from patchlight.tasks.common.errors import UsageError
from patchlight.tasks.evaluation import baselines
from patchlight.tasks.evaluation.choices import Protocol, Truth, Within
from patchlight.tasks.evaluation.matching import Matched
from patchlight.tasks.evaluation.protocols import Collected
from patchlight.tasks.evaluation.records import Dataset
from patchlight.tasks.kernels.geometry import Doubles


@dataclass(frozen=True, slots=True)
class Plan:
    """What is evaluated, and how.

    Attributes:
        dataset: the data set.
        matched: the part of it that the database has.
        settings: name -> how pages and regions are chosen; the first is the one of the pictures,
            and the one whose pages the baselines are held to end to end.
        protocols: how questions are asked.
        within: where a page must be found, end to end.
        truth: what several true boxes stand for.
        kinds: kinds of regions that the baselines choose from.
        reference: the system that all are compared with.
    """

    dataset: Dataset
    matched: Matched
    settings: Mapping[str, RetrievalOptions]
    protocols: tuple[Protocol, ...]
    within: Within
    truth: Truth
    kinds: tuple[RegionKind, ...]
    reference: str

    def __post_init__(self) -> None:
        blind = baselines.names(list(self.settings), self.truth)
        if taken := set(self.settings) & set(blind):
            raise UsageError(f"a setting cannot be called {min(taken)!r}; that is a baseline")
        if self.reference not in (*self.settings, *blind):
            raise UsageError(
                f"--reference {self.reference!r}: is neither a setting nor a baseline; choose "
                f"one of {', '.join(map(repr, (*self.settings, *blind)))}"
            )

    @property
    def first(self) -> str:
        """The first setting."""
        return next(iter(self.settings))


@dataclass(slots=True)
class Scored:
    """One number a row, system and measure.

    Attributes:
        given: system -> (r, c) the measures of `scoring.MEASURES`, page of evidence given;
            settings only where they were asked so, baselines always.
        found: setting -> (r, c) the same for what was returned on the page of evidence end to end,
            whatever the rank of the page; nothing where it was not found.
        boxes: baseline -> for each row (n, 4) what it returned; None for random choices.
        page_text, page_image: (r,) context tokens of the whole page.
    """

    given: dict[str, Doubles] = field(default_factory=dict)
    found: dict[str, Doubles] = field(default_factory=dict)
    boxes: dict[str, list[Doubles | None]] = field(default_factory=dict)
    page_text: Doubles = field(default_factory=lambda: np.zeros(0))
    page_image: Doubles = field(default_factory=lambda: np.zeros(0))


Answers = Mapping[tuple[str, Protocol], Collected]
"""Setting and protocol -> what came back."""
