"""What is killed, and when: drawn from a seed, kill by kill."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum

from tests.faults.processes import Kind

SURVIVED = {Kind.READER: 24, Kind.ENCODER: 19, Kind.SANDBOX: 30, Kind.OCR: 27}
"""What a run is to survive the end of, and how often each is killed, of a hundred."""

ENDING = {Kind.FLOW: 58, Kind.RAYLET: 30, Kind.GCS: 12}
"""What a run does not survive the end of, and how often each is killed, of a hundred."""


class Stage(StrEnum):
    """Where a run is."""

    STARTING = "starting"
    """Until its row is in the table ``runs``: imports, Prefect, Ray, making the database."""
    INSPECTING = "inspecting"
    """Files are opened, and it is decided what is left to do."""
    INGESTING = "ingesting"
    """Pages are read, encoded and committed."""
    FINISHING = "finishing"
    """All documents are done: statistics, tidying up, ending Ray and Prefect."""


_STAGES = {
    Stage.STARTING: 20,
    Stage.INSPECTING: 10,
    Stage.INGESTING: 40,
    Stage.FINISHING: 15,
    None: 15,
}
"""When a run is ended, of a hundred; None: it is left to get through."""

_GAPS_S = {
    Stage.STARTING: (0.5, 15.0),
    Stage.INSPECTING: (0.0, 2.0),
    Stage.INGESTING: (1.0, 8.0),
    Stage.FINISHING: (0.0, 1.0),
}
"""How far into the stage a run is ended, and how long after another kill."""

_MOST_BEFORE = 5
"""Kills that a run may have survived when it is ended while ingesting."""

_APART_S = (4.0, 7.0)
"""Between kills that a run survives. A page that loses its process is tried once more at once;
closer together, the second try of the same page would often be hit, too."""

MOST_SURVIVED = 10
"""Kills that a run may be asked to survive; on a slow machine one would take all there are."""

STRAY_S = 15.0
"""What has lost its parent, and lives on for longer while the run goes on, is a finding."""


@dataclass(frozen=True, slots=True)
class Kill:
    """A kill, as it is meant.

    Attributes:
        target: what is killed.
        stage: where the run should be then; if it is past that, at once.
        gap_s: seconds since that stage began, and since the kill before.
        before: kills in this run that come first, if the stage lasts that long.
    """

    target: Kind
    stage: Stage
    gap_s: float
    before: int = 0


def survived(seed: int, number: int) -> Kill:
    """Draw a kill that the run is to survive; the same for the same seed and number of kill."""
    rng = random.Random(f"{seed}/kill/{number}")
    (target,) = rng.choices(list(SURVIVED), list(SURVIVED.values()))
    return Kill(target, Stage.INGESTING, rng.uniform(*_APART_S))


def ending(seed: int, run: int) -> Kill | None:
    """Draw how a run is ended; None if it is not. The same for the same seed and number of run."""
    rng = random.Random(f"{seed}/run/{run}")
    (target,) = rng.choices(list(ENDING), list(ENDING.values()))
    (stage,) = rng.choices(list(_STAGES), list(_STAGES.values()))
    if stage is None:
        return None
    before = rng.randint(0, _MOST_BEFORE) if stage is Stage.INGESTING else 0
    return Kill(target, stage, rng.uniform(*_GAPS_S[stage]), before)
