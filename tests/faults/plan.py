"""What is killed, and when: drawn from a seed, kill by kill."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum

from tests.faults.processes import Kind

WEIGHTS = {
    Kind.FLOW: 15,
    Kind.RAYLET: 8,
    Kind.GCS: 3,
    Kind.READER: 18,
    Kind.ENCODER: 14,
    Kind.SANDBOX: 22,
    Kind.OCR: 20,
}
"""How often each is killed, of a hundred. A kill that ends the run costs a start of some 20 s."""

ENDING = (Kind.FLOW, Kind.RAYLET, Kind.GCS)
"""A run does not survive their end."""


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
    Stage.INGESTING: 50,
    Stage.FINISHING: 20,
}
"""When the run is ended, of a hundred."""

_GAPS_S = {
    Stage.STARTING: (0.5, 15.0),
    Stage.INSPECTING: (0.0, 2.0),
    Stage.INGESTING: (1.0, 8.0),
    Stage.FINISHING: (0.0, 1.0),
}
"""How far into the stage, or after the kill before it."""

_APART_S = (4.0, 7.0)
"""Between kills that the run survives. A page that loses its process is tried once more at once;
closer together, the second try of the same page would often be hit, too."""

STRAY_S = 15.0
"""What has lost its parent, and lives on for longer while the run goes on, is a finding."""


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill, as it is meant.

    Attributes:
        number: 1 and up.
        target: what is killed.
        stage: where the run should be then.
        gap_s: seconds since that stage began, or since the kill before, whichever is later.
    """

    number: int
    target: Kind
    stage: Stage
    gap_s: float


def draw(seed: int, number: int) -> Kill:
    """Draw a kill; the same for the same seed and number."""
    rng = random.Random(f"{seed}/{number}")
    (target,) = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))
    if target not in ENDING:
        return Kill(number, target, Stage.INGESTING, rng.uniform(*_APART_S))
    (stage,) = rng.choices(list(_STAGES), list(_STAGES.values()))
    return Kill(number, target, stage, rng.uniform(*_GAPS_S[stage]))
