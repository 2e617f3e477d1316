"""The clock that waiting and silence are measured by; nobody can set it.

What time of day it is, a machine may be wrong about by days, and find out in one jump. So the
order of things comes from the database (``storage.sequences``), what lasts is measured by this
clock, and a date is for people to read.
"""

from __future__ import annotations

import time

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Linux's CLOCK_MONOTONIC stands still while the machine sleeps; that of other systems goes on."""


def seconds() -> float:
    """Seconds since some moment, the same for all processes until the machine starts anew.

    Goes on while the machine sleeps, and does not jump.
    """
    return time.clock_gettime(_CLOCK)
