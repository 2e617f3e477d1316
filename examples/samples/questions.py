"""The questions of the demo, with their answers and the key of the place of each answer."""

from __future__ import annotations

from dataclasses import dataclass

from samples import letter, paper, report


@dataclass(frozen=True)
class Question:
    """One question; `doc` names the document that answers it, `key` the place in it.

    `kind` says what the answer stands in. `by_doc` and `by_pages` say which filters the row of
    the question carries.
    """

    query: str
    answer: str
    doc: str
    key: str
    kind: str
    by_doc: bool = False
    by_pages: tuple[int, ...] = ()


QUESTIONS = (
    Question(
        "Who succeeded Captain Ingrid Solheim as Harbour Master?",
        "Tomas Arrendale",
        report.NAME,
        "harbour-master",
        "text",
    ),
    Question(
        "How much of the replanted seagrass survived its first winter?",
        "71 per cent",
        report.NAME,
        "eelgrass",
        "text",
    ),
    Question(
        "maintenance dredging and survey cost 2024",
        "3,412 thousand euros",
        report.NAME,
        "account-dredging",
        "table",
    ),
    Question(
        "Which kind of cargo grew fastest compared with the year before?",
        "Offshore wind components, up 69.8%",
        report.NAME,
        "cargo-wind",
        "table",
    ),
    Question(
        "In which quarter were fewer containers handled than in the same quarter a year earlier?",
        "The third quarter (45.9 against 47.5 thousand TEU)",
        report.NAME,
        "chart-quarters",
        "chart",
    ),
    Question(
        "How long did ships lie at anchor in the worst month of 2024?",
        "9.4 hours on average, in August",
        report.NAME,
        "chart-waiting",
        "chart",
    ),
    Question(
        "How deep is the water alongside the cement berth?",
        "6.9 m",
        report.NAME,
        "berth-cement",
        "wide table",
    ),
    Question(
        "Why was the timber figure for 2023 restated?",
        "21 thousand tonnes of woodchip had been counted twice",
        report.NAME,
        "note-timber",
        "footnote",
        by_doc=True,
    ),
    Question(
        "mean absolute error of tug power without the tide term",
        "0.16 m",
        paper.NAME,
        "error-no-tide",
        "table",
    ),
    Question(
        "Above what wind speed were ship arrivals left out of the analysis?",
        "11 m/s",
        paper.NAME,
        "wind-dropped",
        "text",
    ),
    Question(
        "On which day of the trial was the pocket dredged for the second time?",
        "Day 198",
        paper.NAME,
        "plot-dredged",
        "chart",
    ),
    Question(
        "How long is the stretch of quay edge that crumbled behind the fenders?",
        "2.3 metres",
        letter.NAME,
        "letter-edge",
        "scan",
    ),
    Question(
        "What would it cost to replace bollard 4C?",
        "7,850 euros",
        letter.NAME,
        "letter-bollard",
        "scan",
        by_doc=True,
        by_pages=(2,),
    ),
)
