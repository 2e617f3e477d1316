"""The command that measures answers against human evidence."""

from __future__ import annotations

from typing import Annotated

import typer

from flows import options, reports
from flows.options import database_of
from storage.errors import ExitCode
from storage.records import RegionKind
from tasks.evaluation.choices import Protocols, Truth, Within
from tasks.grounding.spanweights import SpanSignals
from tasks.kernels.maxsim import QueryTokens, TokenAggregation
from tasks.kernels.propagation import RegionAggregation


def _utf8(values: list[str] | None) -> list[str] | None:
    """Refuse what is not UTF-8."""
    for value in values or ():
        options.text(value)
    return values


DatasetArgument = Annotated[
    str,
    typer.Argument(
        metavar="DATASET",
        callback=options.text,
        help="Folder of a data set with human evidence, or its file of questions; "
        "docs/evaluation.md describes the formats.",
    ),
]
ReportOption = Annotated[
    str, typer.Option("--out", metavar="DIR", callback=options.text, help="Folder for the report.")
]
SettingOption = Annotated[
    list[str] | None,
    typer.Option(
        "--setting",
        metavar="NAME=OPTIONS",
        callback=_utf8,
        help="Measure another way to choose beside the options given here, by options of 'query', "
        "e.g. 'lines=--kind line --select top-k:1'; may be repeated.",
    ),
]
ReferenceOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        callback=options.text,
        help="Setting or baseline that all are compared with, paired by row.",
        show_default="the options given here",
    ),
]
ProtocolOption = Annotated[
    Protocols,
    typer.Option(
        help="given: the page of evidence is given; end-to-end: it must be found first; or both."
    ),
]
WithinOption = Annotated[Within, typer.Option(help="Where the page must be found, end to end.")]
TruthOption = Annotated[
    Truth | None,
    typer.Option(
        help="Whether all true boxes of a row are to be found, or any of them.",
        show_default="any where their median is below 1 % of the page, else all",
    ),
]
PartialOption = Annotated[
    bool,
    typer.Option(
        "--partial", help="Leave out questions on documents that the database does not have."
    ),
]
BaselineKindOption = Annotated[
    list[RegionKind] | None,
    typer.Option(
        "--baseline-kind",
        help="Kind of region that the baselines choose from; may be repeated.",
        show_default="as --kind",
    ),
]
CasesOption = Annotated[
    int,
    typer.Option(
        "--pictures", min=0, max=60, help="Pictures of so many of the best and the worst cases."
    ),
]


def evaluate_command(
    dataset: DatasetArgument,
    out: ReportOption,
    db: options.DbOption = None,
    setting: SettingOption = None,
    reference: ReferenceOption = None,
    protocol: ProtocolOption = Protocols.BOTH,
    within: WithinOption = Within.DATABASE,
    truth: TruthOption = None,
    partial: PartialOption = False,
    baseline_kind: BaselineKindOption = None,
    pictures: CasesOption = 6,
    top_pages: options.TopPagesOption = 10,
    top_regions: options.TopRegionsOption = 3,
    select: options.SelectOption = None,
    aggregate: options.AggregateOption = RegionAggregation.MAX,
    token_aggregate: options.TokenAggregateOption = TokenAggregation.MEAN,
    page_tokens: options.PageTokensOption = QueryTokens.ALL,
    region_tokens: options.RegionTokensOption = QueryTokens.MEANING,
    span_signals: options.SpanSignalsOption = SpanSignals.ALL,
    kind: options.KindOption = None,
    encoder: options.LoadFromOption = None,
    passwords: options.PasswordsOption = None,
    workers: options.WorkersOption = None,
    as_json: options.JsonOption = False,
) -> ExitCode:
    """Measure pages and places against human evidence, beside baselines that know no model.

    Asks the questions of a data set as 'patchlight query' would, with the page of evidence given
    and end to end, and writes report.md, report.json, rows.parquet, and pictures of the best and
    the worst cases. The documents must be in the database.

    Example: patchlight evaluate mmdocir --db mydb --out report --setting 'one=--select max'
    """
    from flows.retrieving import evaluated_settings
    from tasks.admin.preflight import check_evaluation

    chosen = {
        "top_pages": top_pages,
        "top_regions": top_regions,
        "select": select,
        "aggregate": aggregate,
        "token_aggregate": token_aggregate,
        "page_tokens": page_tokens,
        "region_tokens": region_tokens,
        "span_signals": span_signals,
    }
    evaluated_settings(setting or (), {**chosen, "kind": kind})
    check_evaluation(dataset, database_of(db), passwords, encoder)
    from flows.evaluate import evaluate
    from tasks.orchestration import prefectserver

    prefectserver.start()

    report = reports.of(
        evaluate(
            dataset,
            database_of(db),
            out,
            settings=setting,
            reference=reference,
            protocol=protocol,
            within=within,
            truth=truth,
            partial=partial,
            baseline_kinds=baseline_kind,
            pictures=pictures,
            **chosen,
            kinds=kind,
            encoder=encoder,
            passwords=passwords,
            workers=workers,
            return_state=True,
        )
    )
    reports.show_evaluation(report, as_json)
    if report["problems"]["not_asked"]:
        return ExitCode.DONE_WITH_FAILURES
    return ExitCode.DONE_WITHOUT_PICTURES if report["problems"]["not_drawn"] else ExitCode.OK
