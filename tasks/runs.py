"""Ids of runs."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime


def new_run_id(kind: str, flow_run: str | None) -> str:
    """Make a run's id; one that Prefect repeats keeps the id of its flow run.

    Args:
        kind: ``ingest`` or ``query``.
        flow_run: id of the Prefect flow run, if there is one.
    """
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S}"
    return f"{kind}-{flow_run}" if flow_run else f"{kind}-{stamp}-{secrets.token_hex(3)}"
