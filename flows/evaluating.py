"""The command that measures answers against human evidence."""

from __future__ import annotations

from patchlight.flows import options, reports
from patchlight.storage.errors import ExitCode
from patchlight.tasks.requests.evaluate import EvaluateRequest


@options.of(EvaluateRequest)
def evaluate_command(request: EvaluateRequest, as_json: options.JsonOption = False) -> ExitCode:
    """Measure pages and places against human evidence, beside baselines that know no model.

    Asks the questions of a data set as 'patchlight query' would, with the page of evidence given
    and end to end, and writes report.md, report.json, rows.parquet, and pictures of the best and
    the worst cases. The documents must be in the database.

    Example: patchlight evaluate mmdocir --db mydb --out report --setting 'one=--select max'
    """
    from patchlight.tasks.admin.preflight import check_evaluation

    check_evaluation(request)
    from patchlight.flows.evaluate import evaluate
    from patchlight.tasks.orchestration import prefectserver

    prefectserver.start()

    report = reports.of(evaluate(**dict(request), return_state=True))
    reports.show_evaluation(report, as_json)
    if report["problems"]["not_asked"]:
        return ExitCode.DONE_WITH_FAILURES
    return ExitCode.DONE_WITHOUT_PICTURES if report["problems"]["not_drawn"] else ExitCode.OK
