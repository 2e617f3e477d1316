"""``rows.parquet``: everything that was measured of each row, system by system."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from patchlight.tasks.evaluation import scoring
from patchlight.tasks.evaluation.choices import Protocol
from patchlight.tasks.evaluation.plan import Answers, Plan, Scored
from patchlight.tasks.kernels.geometry import Doubles

_BOXES = pa.list_(pa.list_(pa.float64(), 4))

SCHEMA = pa.schema(
    [
        ("protocol", pa.string()),
        ("system", pa.string()),
        ("setting", pa.bool_()),
        ("row_id", pa.string()),
        ("question_id", pa.string()),
        ("query", pa.string()),
        ("document", pa.string()),
        ("doc_id", pa.string()),
        ("page", pa.int32()),
        ("category", pa.string()),
        ("domain", pa.string()),
        ("clean", pa.bool_()),
        ("ingested", pa.bool_()),
        ("page_rank", pa.int32()),
        ("true_boxes", _BOXES),
        ("boxes_returned", _BOXES),
        ("kinds_returned", pa.list_(pa.string())),
        ("scores_returned", pa.list_(pa.float64())),
        ("page_text_tokens", pa.float64()),
        ("page_image_tokens", pa.float64()),
        *((name, pa.float64()) for name in scoring.MEASURES),
    ]
)
"""A row a protocol, system and page of evidence; docs/evaluation.md describes the columns."""


def rows_table(plan: Plan, answers: Answers, scored: Scored) -> pa.Table:
    """Lay out what was measured."""
    parts = []
    for protocol in plan.protocols:
        own = scored.given if protocol is Protocol.GIVEN else scored.found
        parts += [_of_setting(plan, answers, scored, protocol, s, own[s]) for s in plan.settings]
    parts += [_of_baseline(plan, scored, name) for name in scored.boxes]
    return pa.concat_tables(parts)


def _of_setting(
    plan: Plan, answers: Answers, scored: Scored, protocol: Protocol, setting: str, values: Doubles
) -> pa.Table:
    returned = answers[setting, protocol].returned
    own = {
        "page_rank": [found.page_rank or None for found in returned],
        "boxes_returned": [found.boxes.tolist() for found in returned],
        "kinds_returned": [list(found.kinds) for found in returned],
        "scores_returned": [found.scores.tolist() for found in returned],
    }
    return _table(plan, scored, protocol.value, setting, True, values, own)


def _of_baseline(plan: Plan, scored: Scored, name: str) -> pa.Table:
    boxes = scored.boxes[name]
    nothing = [None] * len(boxes)
    own = {
        "page_rank": nothing,
        "boxes_returned": [None if of_row is None else of_row.tolist() for of_row in boxes],
        "kinds_returned": nothing,
        "scores_returned": nothing,
    }
    return _table(plan, scored, Protocol.GIVEN.value, name, False, scored.given[name], own)


def _table(
    plan: Plan,
    scored: Scored,
    protocol: str,
    system: str,
    setting: bool,
    values: Doubles,
    own: Mapping[str, list[Any]],
) -> pa.Table:
    rows = plan.matched.rows
    questions = [plan.matched.questions[row.question] for row in rows]
    columns: dict[str, list[Any]] = {
        "protocol": [protocol] * len(rows),
        "system": [system] * len(rows),
        "setting": [setting] * len(rows),
        "row_id": [row.row_id for row in rows],
        "question_id": [question.question_id for question in questions],
        "query": [question.query for question in questions],
        "document": [row.evidence.file for row in rows],
        "doc_id": [row.place[0] for row in rows],
        "page": [row.place[1] for row in rows],
        "category": [question.category for question in questions],
        "domain": [question.domain for question in questions],
        "clean": [row.evidence.clean for row in rows],
        "ingested": [row.position is not None for row in rows],
        "true_boxes": [row.evidence.boxes.tolist() for row in rows],
        "page_text_tokens": scored.page_text.tolist(),
        "page_image_tokens": scored.page_image.tolist(),
        **own,
    }
    for at, name in enumerate(scoring.MEASURES):
        # A measure that a row does not have is null, not NaN.
        columns[name] = [None if value != value else value for value in values[:, at].tolist()]
    return pa.table({name: columns[name] for name in SCHEMA.names}, schema=SCHEMA)
