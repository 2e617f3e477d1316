"""An evaluation on the real engines: documents with known places, and numbers worked by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from reportlab.pdfgen.canvas import Canvas

from patchlight.flows.__main__ import _run, app
from patchlight.flows.ingest import ingest
from patchlight.storage import reader
from patchlight.storage.database import Database
from patchlight.storage.errors import ExitCode
from patchlight.storage.records import RegionKind
from patchlight.tasks.evaluation import baselines
from patchlight.tasks.requests.evaluate import FIRST_SETTING, P50_SETTING
from tests import fixtures

pytestmark = pytest.mark.usefixtures("engines")

SIZE = (612.0, 792.0)
LINES = {
    "harbour": ["Pilots board every tanker beyond the lighthouse.", "They leave it at the quay."],
    "kitchen": ["Simmer the onions with thyme and butter.", "Add broth, then serve with bread.",
                "A pinch of pepper is enough for the soup."],
    "orchard": ["Prune apple trees in late winter."],
}  # fmt: skip
QUESTION = "Where do pilots board a tanker?"


def run(*arguments: str) -> int:
    """Run a command in this process, which the engines are open in; returns its exit code."""
    return _run(lambda: app(list(arguments), standalone_mode=False))


def three_blocks(canvas: Canvas) -> None:
    """Write three blocks of text, far apart, the second one the largest."""
    canvas.setFont("Helvetica", 12)
    for top, lines in zip((700, 450, 200), LINES.values(), strict=True):
        for number, line in enumerate(lines):
            canvas.drawString(72, top - 14 * number, line)


def row(qid: str, doc: str, box: list[float], **more: Any) -> dict[str, Any]:
    points = [box[0] * SIZE[0], box[1] * SIZE[1], box[2] * SIZE[0], box[3] * SIZE[1]]
    return {
        "qid": qid, "doc": doc, "page": 0, "query": QUESTION, "gt_boxes": [points],
        "units": "pdf_points_topleft_0based_page", "page_size": SIZE, **more,
    }  # fmt: skip


def blocks_of(db: str) -> dict[str, list[float]]:
    """Name of a block of the page -> its box."""
    snapshot = Database.open(db).snapshot()
    pages = reader.page_keys(snapshot, reader.catalog(snapshot)["page_id"].to_pylist())
    [*blocks] = reader.read_regions(snapshot, pages, [RegionKind.BLOCK]).values()
    return {
        name: box
        for name, lines in LINES.items()
        for page in blocks
        for text, box in zip(page.texts, page.boxes.tolist(), strict=True)
        if text.startswith(lines[0])
    }


@pytest.fixture(scope="module")
def dataset(engines: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A data set and its database: a document, one that is damaged, and one never ingested."""
    folder = tmp_path_factory.mktemp("data") / "basin"
    (folder / "pdfs").mkdir(parents=True)
    fixtures.make_pdf(folder / "pdfs" / "guide.pdf", three_blocks)
    (folder / "pdfs" / "damaged.pdf").write_bytes(b"%PDF-1.7 and nothing more")
    db = str(folder.parent / "db")
    ingest(source=[str(folder / "pdfs")], db=db)
    fixtures.make_text_pdf(folder / "pdfs" / "new.pdf", ["Never ingested."])
    boxes = blocks_of(db)
    assert len(boxes) == 3
    rows = [
        row("pilots", "guide.pdf", boxes["harbour"], clean=True, category="text"),
        row("damaged", "damaged.pdf", boxes["harbour"], clean=False, category="text"),
        row("new", "new.pdf", boxes["harbour"], clean=False, category="text"),
    ]
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder, db


@pytest.fixture(scope="module")
def evaluated(dataset: tuple[Path, str]) -> Path:
    """The folder of a report, with one setting beside the two that are always there."""
    folder, db = dataset
    out = folder.parent / "out"
    command = ["evaluate", str(folder), "--db", db, "--out", str(out), "--pictures", "1"]
    # Three regions come back, which can be worked by hand.
    command += ["--kind", "block", "--select", "top-k:3"]
    assert run(*command) == ExitCode.BAD_INPUT  # a document is not in the database
    assert not (out / "report.json").exists()
    assert run(*command, "--partial", "--setting", "one=--select max") == ExitCode.OK
    return out


@pytest.fixture(scope="module")
def report(evaluated: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((evaluated / "report.json").read_text())
    return found


def mean(group: dict[str, Any], system: str, measure: str) -> float:
    found: float = group["systems"][system][measure][0]
    return found


def test_places_are_those_worked_by_hand(report: dict[str, Any], dataset: tuple[Path, str]) -> None:
    """One true box of three blocks, found first; the row of the damaged file returns nothing."""
    boxes = {name: np.array(box) for name, box in blocks_of(dataset[1]).items()}
    area = {name: float((box[2:] - box[:2]).prod()) for name, box in boxes.items()}
    every, clean = report["given"][0], report["given"][1]
    assert (every["group"], every["rows"], clean["group"], clean["rows"]) == ("all", 2, "clean", 1)
    assert area["kitchen"] > area["harbour"] > area["orchard"]
    median = 2  # of three scores, those of at least the median
    expected = {
        FIRST_SETTING: (1 / 3, 1.0, 1.0, sum(area.values())),
        P50_SETTING: (1 / median, 1.0, 1.0, None),
        "one": (1.0, 1.0, 1.0, area["harbour"]),
        baselines.LARGEST: (0.0, 0.0, 0.0, area["kitchen"]),
        baselines.k_largest(P50_SETTING): (1 / 2, 0.0, 1.0, area["kitchen"] + area["harbour"]),
        baselines.k_random(P50_SETTING): (1 / 3, 1 / 3, 2 / 3, sum(area.values()) * 2 / 3),
        baselines.RANDOM: (1 / 3, 1 / 3, 1 / 3, sum(area.values()) / 3),
        baselines.ALL: (1 / 3, 1.0, 1.0, sum(area.values())),
        baselines.WHOLE_PAGE: (area["harbour"], area["harbour"], area["harbour"], 1.0),
        baselines.BEST_REGION: (1.0, 1.0, 1.0, area["harbour"]),
    }
    for system, (official, first, best, share) in expected.items():
        assert mean(clean, system, "official") == pytest.approx(official, abs=1e-6), system
        assert mean(clean, system, "top1_official") == pytest.approx(first, abs=1e-6), system
        assert mean(clean, system, "best") == pytest.approx(best, abs=1e-6), system
        if share is not None:
            assert mean(clean, system, "share") == pytest.approx(share, abs=1e-6), system
        # The other row counts as nothing, whatever would have been returned.
        assert mean(every, system, "official") == pytest.approx(official / 2, abs=1e-6), system
    leads = clean["minus"][baselines.LARGEST]
    assert leads["one"]["official"] == [pytest.approx(1.0, abs=1e-6), None, None]
    assert clean["minus"][FIRST_SETTING]["one"]["official"][0] == pytest.approx(2 / 3, abs=1e-6)


def test_context_is_the_text_of_the_evidence(report: dict[str, Any]) -> None:
    context = report["given"][1]["context"]["systems"]
    for system in (FIRST_SETTING, "one", baselines.BEST_REGION):
        assert mean(report["given"][1], system, "coverage") == pytest.approx(1.0)
        assert context[system]["rows_at_90"] == 1
    # The evidence is the first region, so both reach it at the same cost; one returns no more.
    assert context["one"]["of_page_text_at_90"] == context[FIRST_SETTING]["of_page_text_at_90"]
    assert context["one"]["of_page_text"][0] < context[FIRST_SETTING]["of_page_text"][0] <= 1.1
    assert context[baselines.WHOLE_PAGE]["of_page_text"][0] == 1.0


def test_end_to_end_finds_the_one_page_there_is(report: dict[str, Any]) -> None:
    pages = report["end_to_end"]["pages"]
    assert pages["rows"] == 2  # the question on the damaged file finds nothing
    for system in (FIRST_SETTING, "BM25"):
        assert mean(pages, system, "recall_1") == mean(pages, system, "mrr") == 0.5
    first = report["end_to_end"]["places"][0]
    assert first["page_among_first"] == 1
    assert mean(first, "one", "official") == pytest.approx(0.5, abs=1e-6)
    assert mean(first, baselines.LARGEST, "official") == pytest.approx(0.0, abs=1e-6)


def test_what_is_missing_is_counted_and_named(report: dict[str, Any], evaluated: Path) -> None:
    counts = report["counts"]
    assert (counts["questions"], counts["rows"], counts["documents"]) == (2, 2, 2)
    assert (counts["questions_left_out"], counts["documents_left_out"]) == (1, 1)
    assert report["problems"]["left_out"] == ["new.pdf: 1"]
    assert report["problems"]["not_ingested"] == ["damaged, page 1"]
    assert report["problems"]["not_asked"] == []
    text = (evaluated / "report.md").read_text()
    assert "damaged, page 1" in text and "new.pdf: 1" in text


def test_every_row_and_its_boxes_are_kept(evaluated: Path, dataset: tuple[Path, str]) -> None:
    rows = pq.read_table(evaluated / "rows.parquet").to_pylist()
    ours = {
        (row["system"], row["protocol"], row["question_id"]): row for row in rows if row["setting"]
    }
    assert len(ours) == 3 * 2 * 2
    found = ours["one", "given", "pilots"]
    (box,) = found["boxes_returned"]
    assert box == pytest.approx(blocks_of(dataset[1])["harbour"])
    assert found["true_boxes"][0] == pytest.approx(box, abs=1e-6)
    assert found["kinds_returned"] == ["block"] and len(found["scores_returned"]) == 1
    assert found["official"] == pytest.approx(1.0, abs=1e-6) and found["page_rank"] == 1
    nothing = ours["one", "end-to-end", "damaged"]
    assert nothing["boxes_returned"] == [] and nothing["page_rank"] is None
    assert not nothing["ingested"] and nothing["official"] == 0.0
    random = next(row for row in rows if row["system"] == baselines.RANDOM)
    assert random["boxes_returned"] is None and random["protocol"] == "given"


def test_pictures_show_truth_and_ours(report: dict[str, Any], evaluated: Path) -> None:
    (case,) = report["cases"]["best"]
    assert (case["row_id"], report["cases"]["worst"]) == ("pilots, page 1", [])
    text = (evaluated / "report.md").read_text()
    for name in (case["picture"], report["cases"]["sheets"]["best"]):
        assert f"({name})" in text
        with Image.open(evaluated / name) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        assert len(pixels) > 300
    with Image.open(evaluated / case["picture"]) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    for colour in ((0, 140, 60), (200, 30, 30)):
        assert (pixels == colour).all(axis=2).sum() > 100
    hidden = [path.name for path in evaluated.iterdir() if path.name.startswith(".")]
    assert not hidden, "temporary files are left"


def test_the_run_is_recorded(report: dict[str, Any], dataset: tuple[Path, str]) -> None:
    (run,) = (r for r in Database.open(dataset[1]).runs() if r.run_id == report["run_id"])
    assert (run.kind, run.status) == ("evaluate", "completed")
    assert "one" in json.loads(run.parameters)["settings"]
    assert report["made_by"].keys() == {"patchlight", "span_weights", "value_weights"}
    assert json.loads(run.summary)["made_by"] == report["made_by"]


def test_pages_as_images_with_small_targets(
    engines: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The format of BBox-DocVQA; a hit is a line, and not the page."""
    folder = tmp_path / "science"
    (folder / "math" / "paper").mkdir(parents=True)
    image = fixtures.scan(["Pilots board the tanker here.", "Nothing else is written."])
    image.save(folder / "math" / "paper" / "paper_4.png", dpi=(150, 150))
    box = [120, 150, 700, 195]
    question = {
        "query": QUESTION, "doc_name": "paper", "category": "math", "evidence_page": [4],
        "bbox": [[box]], "subimg_tpye": [["text"]],
    }  # fmt: skip
    (folder / "bench.jsonl").write_text(json.dumps(question) + "\n")
    db, out = str(tmp_path / "db"), tmp_path / "out"
    ingest(source=[str(folder)], db=db)
    command = ["evaluate", str(folder), "--db", db, "--out", str(out), "--json", "--kind", "line"]
    within = [*command, "--within", "document"]
    assert run(*within) == ExitCode.USAGE
    capsys.readouterr()
    given = [*command, "--protocol", "given", "--pictures", "0", "--truth", "any"]
    assert run(*given, "--select", "max") == ExitCode.OK
    printed = capsys.readouterr().out
    found = json.loads(printed[printed.index("{") :])
    assert "end_to_end" not in found and found["cases"] is None
    (every,) = found["given"]
    for system in (FIRST_SETTING, baselines.BEST_LINE):
        assert mean(every, system, "hit_1") == 1.0, system
        assert mean(every, system, "top1_share") < 0.05
    assert mean(every, baselines.WHOLE_PAGE, "hit_1") == 0.0
    assert found["counts"]["other_shape"] == 0
    assert not (out / "pictures").exists()
