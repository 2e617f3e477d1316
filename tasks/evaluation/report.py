"""A report as Markdown, made of nothing but the numbers in ``report.json``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from patchlight.tasks.common.safetext import markdown
from patchlight.tasks.evaluation import baselines, pages
from patchlight.tasks.evaluation.choices import Truth
from patchlight.tasks.evaluation.markdown import (
    number,
    percent,
    percent_with_interval,
    table,
    with_interval,
)

Numbers = Mapping[str, Any]

_LISTED = 20
_OF_K = baselines.k_largest(""), baselines.k_random("")
"""How the names of baselines of k regions begin."""


def render(report: Numbers) -> str:
    """Return the report as Markdown; texts of documents and questions cannot act in it."""
    lines = [f"# Evaluation: {markdown(report['dataset']['name'])}", ""]
    lines += _facts(report)
    lines += ["", "## Settings", ""]
    settings = [
        [markdown(name), markdown(options), _seconds(report["seconds"].get(name, {}))]
        for name, options in report["settings"].items()
    ]
    lines += table(["setting", "options", "time to ask"], settings, numbers=False)
    if "given" in report:
        lines += ["", "## Evidence page given", "", _GIVEN]
        lines += _given(report)
    if "end_to_end" in report:
        lines += ["", "## End to end", "", _END_TO_END]
        lines += _end_to_end(report)
    lines += _cases(report)
    lines += _problems(report)
    return "\n".join(lines) + "\n"


def headline(report: Numbers) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Yield the main tables for a terminal: title, names of columns, rows."""
    hits = report["truth"] == Truth.ANY.value
    for group in report.get("given", ()):
        if group["group"] in ("all", "clean"):
            systems = (_beginnings if hits else _distinct)(group["systems"])
            show = _hit_cells if hits else _place_cells
            cells = {name: show(of) for name, of in systems.items()}
            title = f"evidence page given, {group['name']} rows ({group['rows']})"
            columns = ["returned", *next(iter(cells.values()))]
            yield title, columns, [[name, *row.values()] for name, row in cells.items()]
    if found := report.get("end_to_end"):
        of_pages = found["pages"]["systems"].items()
        rows = [[n, with_interval(of["mrr"]), percent(of["hit_1"][0])] for n, of in of_pages]
        yield "pages, end to end", ["ranked by", "MRR", "first page right %"], rows


def _place_cells(of: Numbers) -> dict[str, str]:
    return {
        "official": with_interval(of["official"]),
        "first region": with_interval(of["top1_official"]),
        "best": number(of["best"][0]),
        "page %": percent(of["share"][0]),
    }


def _hit_cells(of: Numbers) -> dict[str, str]:
    return {
        "first hits %": percent_with_interval(of["hit_1"]),
        "one of three hits %": percent_with_interval(of["hit_3"]),
        "page % of the first": percent(of["top1_share"][0]),
    }


_GIVEN = """A row is one page of evidence of one question. Values are means over rows. Brackets hold
95 % intervals; whole documents are drawn again (10,000 draws). The measures:

- official: SciEGQA v2, boxes matched one to one, divided by the larger number of boxes; @ is the
  share of rows whose score is at least that.
- best: arXiv 2512.02660, of each true box the best IoU with any returned one; it rises with every
  box returned, so read it beside the share of the page.
- area: precision, recall and F1 of the union of the returned boxes.
- blind: choices that do not know the question. What does not beat them has shown nothing. Lines of
  k regions that are the same as a line above, because a setting returned as many, are left out."""

_FIRST = (
    """The first region, and the first three. Baselines of k regions begin like those of one."""
)

_CONTEXT = """As context of a language model. A region costs its text, or its picture where words
fill less than a twentieth of it. The last columns go down each one's order until it holds 90 % of
the evidence: a baseline orders all regions, a setting those that it returns. They are over the
rows where it does."""

_END_TO_END = """The page must be found first. Baselines are held to the pages that the first
setting found; the last line finds its pages by BM25."""


def _facts(report: Numbers) -> list[str]:
    data, counts = report["dataset"], report["counts"]
    truth = "any true box" if report["truth"] == Truth.ANY.value else "all true boxes"
    facts = {
        "data set": f"{data['name']} ({data['form']}), SHA-256 {data['sha256'][:16]}",
        "database": report["database"],
        "encoder": report["encoder"],
        "run": f"{report['run_id']}, {report['started_at']}",
        "asked": f"{counts['questions']} questions, {counts['rows']} rows, "
        f"{counts['documents']} documents",
        "left out": f"{counts['questions_left_out']} questions on "
        f"{counts['documents_left_out']} documents that the database does not have",
        "not ingested": f"{counts['rows_not_ingested']} rows on pages that could not be ingested; "
        "they count as nothing returned",
        "not asked": f"{counts['not_asked']} questions or rows that could not be asked; they "
        "count as nothing returned",
        "pages of another shape": f"{counts['other_shape']} rows; their true boxes may be off",
        "to be found": f"{truth} of a row",
        "regions of the baselines": ", ".join(report["baseline_kinds"]),
        "found where, end to end": report["within"],
    }
    return table(
        ["", ""], [[name, markdown(value)] for name, value in facts.items()], numbers=False
    )


def _seconds(of_protocol: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {seconds:.1f} s" for name, seconds in of_protocol.items())


def _given(report: Numbers) -> list[str]:
    groups = report["given"]
    lines = []
    whole = [group for group in groups if group["group"] in ("clean", "all")]
    for group in sorted(whole, key=lambda group: group["group"] != "clean"):
        title = f"{group['name'].capitalize()} rows"
        lines += ["", f"### {title}: {group['rows']} rows, {group['documents']} documents"]
        if report["truth"] == Truth.ANY.value:
            lines += ["", "Small targets: a hit covers half of a true box and is at most twice as "
                      "high.", "", *_hits(group)]  # fmt: skip
        lines += ["", "All that was returned:", "", *_returned(group)]
        lines += ["", _FIRST, "", *_first(group)]
        lines += ["", "Leads, paired by row:", "", *_leads(group)]
        lines += ["", _CONTEXT, "", *_context(group)]
    headlines = (
        {"hit_1": "A hit by the first region, %"}
        if report["truth"] == Truth.ANY.value
        else {
            "official": "Official mean IoU of all that was returned",
            "top1_official": "Official mean IoU of the first region",
        }
    )
    for label in ("category", "domain"):
        some = [group for group in groups if group["group"] == label]
        for measure, title in headlines.items():
            if some:
                lines += ["", f"### {title}, by {label}", "", *_by_group(some, measure)]
    return lines


def _returned(group: Numbers) -> list[str]:
    headers = [
        "returned", "boxes", "page %", "official [95 %]", "@.3", "@.5", "@.7", "best [95 %]",
        "@.25", "@.5", "@.7", "area P", "area R", "area F1",
    ]  # fmt: skip
    rows = []
    for name, of in _distinct(group["systems"]).items():
        rows.append([
            markdown(name),
            f"{of['boxes'][0]:.1f}",
            percent(of["share"][0]),
            with_interval(of["official"]),
            *(percent(of[f"official_{at}"][0]) for at in (30, 50, 70)),
            with_interval(of["best"]),
            *(percent(of[f"best_{at}"][0]) for at in (25, 50, 70)),
            *(number(of[measure][0]) for measure in ("precision", "recall", "f1")),
        ])  # fmt: skip
    return table(headers, rows)


def _first(group: Numbers) -> list[str]:
    headers = [
        "returned", "first: official [95 %]", "@.3", "@.5", "@.7", "page %",
        "first three: official", "best [95 %]", "@.5", "page %",
    ]  # fmt: skip
    rows = []
    for name, of in _beginnings(group["systems"]).items():
        rows.append([
            markdown(name),
            with_interval(of["top1_official"]),
            *(percent(of[f"top1_official_{at}"][0]) for at in (30, 50, 70)),
            percent(of["top1_share"][0]),
            number(of["top3_official"][0]),
            with_interval(of["top3_best"]),
            percent(of["top3_best_50"][0]),
            percent(of["top3_share"][0]),
        ])  # fmt: skip
    return table(headers, rows)


def _hits(group: Numbers) -> list[str]:
    headers = ["returned", "first hits % [95 %]", "page %", "one of three hits % [95 %]", "page %",
               "IoU of the first", "of the best of three"]  # fmt: skip
    rows = []
    for name, of in _beginnings(group["systems"]).items():
        rows.append([
            markdown(name),
            percent_with_interval(of["hit_1"]),
            percent(of["top1_share"][0]),
            percent_with_interval(of["hit_3"]),
            percent(of["top3_share"][0]),
            number(of["reach_1"][0]),
            number(of["reach_3"][0]),
        ])  # fmt: skip
    return table(headers, rows)


def _leads(group: Numbers) -> list[str]:
    measures = {"official": "official", "top1_official": "first: official", "f1": "area F1"}
    if "hit_1" in _telling(group):
        measures = {"hit_1": "first hits", "hit_3": "one of three hits"}
    headers = ["returned"]
    for base in group["minus"]:
        headers += [f"{title} minus {markdown(base)} [95 %]" for title in measures.values()]
    rows = []
    for name in _distinct(group["systems"]):
        row = [markdown(name)]
        for leads in group["minus"].values():
            of = leads.get(name)
            row += [with_interval(of[m], signed=True) if of else "" for m in measures]
        rows.append(row)
    return table(headers, rows)


def _distinct(systems: Numbers) -> dict[str, Any]:
    """Leave out baselines of k regions that are the same as a system before, number by number."""
    found: dict[str, Any] = {}
    for name, of in systems.items():
        if not (name.startswith(_OF_K) and of in found.values()):
            found[name] = of
    return found


def _beginnings(systems: Numbers) -> dict[str, Any]:
    """Leave out baselines of k regions, which begin as those of one do."""
    return {name: of for name, of in systems.items() if not name.startswith(_OF_K)}


def _telling(group: Numbers) -> Sequence[str]:
    """Return the measures that a data set of small targets is told by."""
    return ("hit_1",) if baselines.BEST_LINE in group["systems"] else ()


def _context(group: Numbers) -> list[str]:
    context = group["context"]
    headers = [
        "returned", "tokens a row", "% of the page's text [95 %]", "% of its picture",
        "evidence held % [95 %]", "rows that hold 90 %", "% of the text at 90 % there [95 %]",
    ]  # fmt: skip
    rows = []
    for name, of in _distinct(group["systems"]).items():
        costs = context["systems"][name]
        rows.append([
            markdown(name),
            f"{of['tokens'][0]:.0f}",
            percent_with_interval(costs["of_page_text"]),
            percent(costs["of_page_image"][0]),
            percent_with_interval(of["coverage"]),
            str(costs["rows_at_90"]),
            percent_with_interval(costs["of_page_text_at_90"]),
        ])  # fmt: skip
    whole = (
        f"A page's text takes {context['page_text_tokens']:.0f} tokens on average, its picture "
        f"{context['page_image_tokens']:.0f}."
    )
    return [whole, "", *table(headers, rows)]


def _by_group(groups: Sequence[Numbers], measure: str) -> list[str]:
    show: Callable[[Any], str] = percent_with_interval if measure == "hit_1" else with_interval
    headers = ["returned", *(f"{markdown(g['name'])} (n={g['rows']})" for g in groups)]
    systems = groups[0]["systems"]
    return table(
        headers,
        (
            [markdown(name), *(show(group["systems"][name][measure]) for group in groups)]
            for name in (_distinct(systems) if measure == "official" else _beginnings(systems))
        ),
    )


def _end_to_end(report: Numbers) -> list[str]:
    found = report["end_to_end"]
    group = found["pages"]
    headers = [
        "pages ranked by", *(f"R@{k} %" for k in pages.CUTS), *(f"any@{k} %" for k in pages.CUTS),
        "MRR [95 %]", "NDCG@5 [95 %]",
        *(f"MRR minus {markdown(base)} [95 %]" for base in group["minus"]),
    ]  # fmt: skip
    rows = []
    for name, of in group["systems"].items():
        leads = [minus.get(name) for minus in group["minus"].values()]
        rows.append([
            markdown(name),
            *(percent(of[f"recall_{k}"][0]) for k in pages.CUTS),
            *(percent(of[f"hit_{k}"][0]) for k in pages.CUTS),
            with_interval(of["mrr"]),
            with_interval(of["ndcg_5"]),
            *(with_interval(lead["mrr"], signed=True) if lead else "" for lead in leads),
        ])  # fmt: skip
    lines = ["", f"### Pages: {group['rows']} questions, {group['documents']} documents", ""]
    lines += table(headers, rows)
    for places in found["places"]:
        cut = places["page_among_first"]
        where = "is the first one" if cut == 1 else f"is among the first {cut}"
        lines += ["", f"### Places where the page {where}: {places['rows']} {places['group']}", ""]
        lines += _hits(places) if report["truth"] == Truth.ANY.value else _found_places(places)
    return lines


def _found_places(group: Numbers) -> list[str]:
    headers = ["returned", "official [95 %]", "@.5", "first: official [95 %]", "@.5",
               "best [95 %]", "@.5", "area F1"]  # fmt: skip
    rows = []
    for name, of in _distinct(group["systems"]).items():
        rows.append([
            markdown(name),
            with_interval(of["official"]),
            percent(of["official_50"][0]),
            with_interval(of["top1_official"]),
            percent(of["top1_official_50"][0]),
            with_interval(of["best"]),
            percent(of["best_50"][0]),
            number(of["f1"][0]),
        ])  # fmt: skip
    return table(headers, rows)


def _cases(report: Numbers) -> list[str]:
    cases = report["cases"]
    if not cases:
        return []
    lines = ["", f"## Best and worst cases of {markdown(cases['setting'])}", ""]
    lines.append(
        "Green: the truth. Red: the first region returned; blue: the others. Orange: the heat map."
    )
    for title in ("best", "worst"):
        lines += ["", f"### {title.capitalize()}", ""]
        if sheet := cases["sheets"].get(title):
            lines += [f"![The {title} cases]({sheet})", ""]
        rows = [
            [
                markdown(case["query"]),
                markdown(f"{case['file']}, page {case['page']}"),
                number(case["score"]),
                f"[picture]({case['picture']})" if case["picture"] else "not drawn",
            ]
            for case in cases[title]
        ]
        headers = ["question", "page", markdown(cases["measure"]), "picture"]
        lines += table(headers, rows, numbers=False)
    return lines


def _problems(report: Numbers) -> list[str]:
    problems = report["problems"]
    titles = {
        "left_out": "Documents that the database does not have, with their questions",
        "not_ingested": "Rows on pages that could not be ingested",
        "not_asked": "Questions and rows that could not be asked",
        "other_shape": "Rows on pages of another shape than in the data set",
        "not_drawn": "Pictures that could not be drawn",
    }
    lines: list[str] = []
    for name, title in titles.items():
        if problems[name]:
            lines += ["", f"## {title}", "", *_listed(problems[name])]
    return lines


def _listed(texts: Iterable[str]) -> list[str]:
    every = list(texts)
    lines = [f"- {markdown(text)}" for text in every[:_LISTED]]
    more = len(every) - _LISTED
    return [*lines, f"- and {more} more, in report.json"] if more > 0 else lines
