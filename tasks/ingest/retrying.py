"""Trying again what failed: which files, and under which options."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from patchlight.storage.records import Failure, Run
from patchlight.tasks.common.errors import InputError
from patchlight.tasks.common.modes import LayoutMode, OcrMode
from patchlight.tasks.documents.sources import expand


@dataclass(frozen=True, slots=True)
class ReadAs:
    """The options of an ingest that decide what its pages are.

    Attributes:
        ocr: when pages go through OCR.
        lang: Tesseract language.
        dpi: resolution at which PDF pages are drawn.
        layout: whether the layout model looks at pages.
    """

    ocr: OcrMode = OcrMode.AUTO
    lang: str = "eng"
    dpi: int = 200
    layout: LayoutMode = LayoutMode.AUTO


def plan(
    failures: Iterable[Failure], runs: Iterable[Run]
) -> tuple[dict[ReadAs, list[str]], list[str]]:
    """Group the sources of failures by the options of the run that failed on them.

    Under other options the whole document would be read again, not what failed.

    Args:
        failures: what is to be tried again.
        runs: all runs of the database.

    Returns:
        Options -> URIs of sources, each once, sorted; and why others are not tried.
    """
    asked = {run.run_id: run.parameters for run in runs}
    groups: dict[ReadAs, list[str]] = {}
    problems = []
    wanted = {(failure.uri, asked.get(failure.run_id, "{}")) for failure in failures}
    for uri, parameters in sorted(wanted):
        try:
            expand([uri])
            groups.setdefault(_read_as(parameters), []).append(uri)
        except InputError as error:  # nothing is there now
            problems.append(str(error))
    return {options: sorted(set(uris)) for options, uris in groups.items()}, sorted(set(problems))


def merged(reports: Sequence[Mapping[str, Any]], problems: Sequence[str]) -> dict[str, Any]:
    """Make one report of those of several ingest runs.

    Args:
        reports: of the runs.
        problems: why other sources were not tried; they count as failures.
    """
    whole: Any = {"failures": list(problems), "documents_failed": len(problems)}
    for report in reports:
        whole = _joined(whole, report)
    return dict(whole)


def _joined(one: Any, other: Any) -> Any:
    if isinstance(one, Mapping):
        both = {name: _joined(one[name], other[name]) for name in one if name in other}
        return {**one, **other, **both}
    if isinstance(one, str):  # ids of runs differ, versions do not
        return one if one == other else f"{one}, {other}"
    return one + other


def _read_as(parameters: str) -> ReadAs:
    """Read a run's parameters; what they do not say, as those of a query do not, is default."""
    asked = json.loads(parameters)
    default = ReadAs()
    lang = str(asked.get("lang", "")).strip()  # without OCR a run could once be given a blank one
    return ReadAs(
        OcrMode(asked.get("ocr", default.ocr)),
        lang or default.lang,
        asked.get("dpi", default.dpi),
        LayoutMode(asked.get("layout", default.layout)),
    )
