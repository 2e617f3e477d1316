"""The whole path on real documents, Ray, Prefect, Tesseract and LanceDB."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from patchlight.flows.ingest import ingest
from patchlight.flows.query import query
from patchlight.storage import reader, statistics
from patchlight.storage.database import Database
from patchlight.storage.records import RegionKind, page_id
from patchlight.storage.sql import run_sql
from patchlight.tasks.cluster import encoderactors, inspection, shardpool, work
from patchlight.tasks.common.errors import InputError
from patchlight.tasks.kernels.maxsim import QueryTokens
from patchlight.tasks.reading import messages
from patchlight.tasks.reading.pages import ReadOptions
from patchlight.tasks.reading.shardplan import Shard
from tests import reference
from tests.integration.conftest import EXAMPLES, WORKERS, report_of

pytestmark = pytest.mark.usefixtures("engines")

PAGES = {"harbour-annual-report.pdf": 8, "two-column-paper.pdf": 3, "scanned-letter.tiff": 2}


def rows(db: str, sql: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = run_sql(db, sql).read_all().to_pylist()
    return found


def answers(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def answered(sample_db: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of the sample questions, with pictures."""
    out = tmp_path_factory.mktemp("out")
    file = str(EXAMPLES / "questions.jsonl")
    report = report_of(
        query(file=file, db=sample_db, out=str(out), top_pages=3, overlays=True, run_id="samples")
    )
    assert report["bad_rows"] == [] and report["pictures_missing"] == []
    return out


def test_every_page_is_stored_once_with_words_from_the_right_place(sample_db: str) -> None:
    found = rows(
        sample_db,
        "SELECT d.name, p.page, p.words_source, p.n_words, p.n_vectors "
        "FROM pages p JOIN documents d ON p.doc_id = d.doc_id ORDER BY d.name, p.page",
    )
    pages = defaultdict(list)
    for row in found:
        pages[Path(row["name"]).name].append(row["page"])
        scan = row["name"].endswith(".tiff")
        assert row["words_source"] == ("ocr" if scan else "text_layer")
        assert row["n_words"] > 10 and row["n_vectors"] > 10
    assert pages == {name: list(range(1, count + 1)) for name, count in PAGES.items()}


def test_the_same_folder_again_adds_nothing(sample_db: str) -> None:
    before = rows(sample_db, "SELECT count(*) AS n FROM raw_pages")
    report = report_of(ingest(source=[str(EXAMPLES / "documents")], db=sample_db))
    assert report["documents_unchanged"] == 3 and report["pages_unchanged"] == 13
    assert report["documents_added"] == report["pages_added"] == 0
    assert rows(sample_db, "SELECT count(*) AS n FROM raw_pages") == before


def test_sample_questions_find_their_pages(answered: Path) -> None:
    """12 of the 13 have their page among the first 3; one is a hard paraphrase."""
    truth = {
        row["query_id"]: row
        for row in map(json.loads, (EXAMPLES / "truth.jsonl").read_text().splitlines())
    }
    found = [
        any(
            page["source"].endswith(truth[line["query_id"]]["doc"])
            and page["page"] == truth[line["query_id"]]["page"]
            for page in line["pages"]
        )
        for line in answers(answered)
    ]
    assert len(found) == 13
    assert sum(found) >= 12


def test_a_result_line_has_what_is_documented(answered: Path) -> None:
    lines = answers(answered)
    for line in lines:
        assert {"query_id", "query", "answer", "pages", "tokens", "query_tokens"} <= set(line)
        words = [token["token"] for token in line["query_tokens"]]
        assert words == [word for word in line["query"].split() if any(map(str.isalnum, word))]
        assert all(token["weight"] > 0 and token["meaning"] for token in line["query_tokens"])
        assert set(line["tokens"]) == {"regions", "page_text", "page_image"}
        assert line["tokens"]["regions"] <= line["tokens"]["page_text"]
        for rank, page in enumerate(line["pages"], 1):
            assert page["rank"] == rank and page["page"] >= 1
            assert page["source"].startswith("file:///")
            assert (answered / page["overlay"]).exists()
            scores = [region["score"] for region in page["regions"]]
            assert scores == sorted(scores, reverse=True)
            for region in page["regions"]:
                x0, y0, x1, y1 = region["box"]
                assert 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1
                assert region["box_pt"][2] == pytest.approx(x1 * page["width_pt"], abs=0.01)
                assert region["box_pt"][3] == pytest.approx(y1 * page["height_pt"], abs=0.01)
                assert 0 < region["score"] <= 1 and len(region["words"]) <= 3
                for word in region["words"]:
                    assert word["token"] == words[word["index"]]
        assert any(region["words"] for page in line["pages"] for region in page["regions"])
        assert [p["score"] for p in line["pages"]] == sorted(
            (p["score"] for p in line["pages"]), reverse=True
        )
    restricted = next(line for line in lines if line["query_id"] == "q13")
    assert [page["page"] for page in restricted["pages"]] == [2]


def test_scores_and_words_are_those_of_the_formulas(sample_db: str, tmp_path: Path) -> None:
    """From the stored vectors by plain loops, for the first page of each answer."""
    from patchlight.tasks.encoders import registry

    file = str(EXAMPLES / "questions.jsonl")
    blocks: dict[str, Any] = {"kind": [RegionKind.BLOCK], "select": "top-k:3"}
    query(file=file, db=sample_db, out=str(tmp_path), top_pages=1, run_id="blocks", **blocks)

    database = Database.open(sample_db)
    snapshot = database.snapshot()
    catalog = reader.catalog(snapshot)
    rows_of = dict(
        zip(catalog["page_id"].to_pylist(), catalog["patch_row"].to_pylist(), strict=True)
    )
    encoder = registry.load(registry.for_queries(database.encoder, None))
    checked = 0
    for line in answers(tmp_path):
        first = line["pages"][0]
        batch = reader.read_patches(snapshot, [rows_of[page_id(first["doc_id"], first["page"])]])
        rows, cols = int(batch.rows[0]), int(batch.cols[0])
        (asked,) = encoder.encode_queries([line["query"]], statistics.latest(database))
        assert not isinstance(asked, Exception)
        weights, meaning = asked.weights.tolist(), asked.meaning.tolist()
        assert [t["weight"] for t in line["query_tokens"]] == pytest.approx(weights)
        similar = (batch.vectors.astype(np.float64) @ asked.vectors.T).tolist()
        best = [max(column) for column in zip(*similar, strict=True)]
        assert first["score"] == pytest.approx(np.dot(weights, best), abs=1e-3)
        similar.append([0.0] * len(weights))  # of a cell without a vector, which -1 points to
        cells = [similar[vector] for vector in batch.cell_to_vector.tolist()]
        heat = [reference.patch_score(row, weights, meaning, "mean") for row in cells]
        parts = [[w / max(weights) * s for w, s in zip(weights, row, strict=True)] for row in cells]
        grid = [slice(row * cols, (row + 1) * cols) for row in range(rows)]
        maps = [heat[row] for row in grid], [parts[row] for row in grid]
        for region in first["regions"]:
            expected = reference.region_score(maps[0], region["box"], rows, cols, "max")
            assert region["score"] == pytest.approx(expected, abs=1e-5)
            gives = reference.region_parts(*maps, region["box"], rows, cols, "max")
            carried = sorted((gives[word["index"]] for word in region["words"]), reverse=True)
            assert [word["score"] for word in region["words"]] == pytest.approx(carried, abs=1e-5)
            assert carried == pytest.approx(sorted(gives, reverse=True)[: len(carried)], abs=1e-5)
            checked += 1
    assert checked > 13


def test_the_tokens_that_count_are_told(sample_db: str, tmp_path: Path) -> None:
    """In the summary and in ``runs``; where all tokens carry meaning they change nothing."""
    one = tmp_path / "one.jsonl"
    one.write_text('{"query_id": "a", "query": "harbour master"}\n')
    every, some = QueryTokens.ALL, QueryTokens.MEANING
    found = []
    for run, page_tokens, region_tokens in (("usual", every, some), ("other", some, every)):
        out = tmp_path / run
        query(file=str(one), db=sample_db, out=str(out), page_tokens=page_tokens,
              region_tokens=region_tokens, run_id=run)  # fmt: skip
        expected = {"page_tokens": page_tokens.value, "region_tokens": region_tokens.value}
        assert expected.items() <= json.loads((out / "summary.json").read_text()).items()
        (row,) = rows(sample_db, f"SELECT parameters, summary FROM runs WHERE run_id = '{run}'")
        assert expected.items() <= json.loads(row["parameters"]).items()
        assert json.loads(row["summary"]) == json.loads((out / "summary.json").read_text())
        assert json.loads(row["summary"])["made_by"] == {
            "patchlight": version("patchlight"), "span_weights": "1", "value_weights": "1"
        }  # fmt: skip
        found.append(answers(out)[0]["pages"])
    assert found[0] == found[1]


def test_parquet_and_table_hold_the_same_rows(answered: Path, sample_db: str) -> None:
    key = "retrieval_id"
    file = sorted(pq.read_table(answered / "results.parquet").to_pylist(), key=lambda r: r[key])
    table = rows(sample_db, f"SELECT * FROM retrievals WHERE run_id = 'samples' ORDER BY {key}")
    assert file == table
    assert len(file) == sum(len(p["regions"]) for line in answers(answered) for p in line["pages"])
    assert json.loads((answered / "summary.json").read_text())["regions"] == len(file)


def test_the_same_run_id_replaces(sample_db: str, tmp_path: Path) -> None:
    one = tmp_path / "one.jsonl"
    one.write_text('{"query_id": "a", "query": "harbour master"}\n')
    for pages, expected in ((3, 3), (1, 1)):
        out = str(tmp_path / "out")
        query(file=str(one), db=sample_db, out=out, top_pages=pages, top_regions=1, run_id="twice")
        found = rows(sample_db, "SELECT page_rank FROM retrievals WHERE run_id = 'twice'")
        assert len(found) == expected


def test_an_answer_does_not_depend_on_its_batch(
    answered: Path, sample_db: str, tmp_path: Path
) -> None:
    """A score is a function of page, query and statistics; not of the queries beside it."""
    alone = (EXAMPLES / "questions.jsonl").read_text().splitlines()[3]
    (tmp_path / "one.jsonl").write_text(alone + "\n")
    query(file=str(tmp_path / "one.jsonl"), db=sample_db, out=str(tmp_path / "out"), top_pages=3)
    (line,) = answers(tmp_path / "out")
    (among,) = [other for other in answers(answered) if other["query_id"] == line["query_id"]]
    for one, other in zip(line["pages"], among["pages"], strict=True):
        assert (one["doc_id"], one["page"]) == (other["doc_id"], other["page"])
        assert one["score"] == pytest.approx(other["score"], abs=1e-4)
        ids = [region["region_id"] for region in one["regions"]]
        assert ids == [region["region_id"] for region in other["regions"]]


def test_bad_rows_are_named_and_the_others_answered(sample_db: str, tmp_path: Path) -> None:
    file = tmp_path / "q.jsonl"
    file.write_text(
        '{"query_id": "good", "query": "eelgrass"}\n'
        '{"query_id": "near", "query": "eelgrass", "page": 3}\n'
        '{"query_id": "lost", "query": "eelgrass", "doc": "nowhere.pdf"}\n'
        '{"query_id": "far", "query": "eelgrass", "doc": "two-column-paper.pdf", "pages": [9]}\n'
        '{"query_id": "dots", "query": "..."}\n'
    )
    report = report_of(query(file=str(file), db=sample_db, out=str(tmp_path / "out")))
    problems = {row["query_id"]: row["message"] for row in report["bad_rows"]}
    assert set(problems) == {"near", "lost", "far", "dots"}
    assert "'pages'" in problems["near"] and "line 2" in problems["near"]
    assert "nowhere.pdf" in problems["lost"] and "has 3 pages" in problems["far"]
    assert [line["query_id"] for line in answers(tmp_path / "out")] == ["good"]


def test_where_limits_the_pages(sample_db: str, tmp_path: Path) -> None:
    file = tmp_path / "q.jsonl"
    file.write_text('{"query_id": "a", "query": "tug power"}\n')
    query(
        file=str(file),
        db=sample_db,
        out=str(tmp_path / "out"),
        where="name LIKE '%.tiff' AND page = 2",
    )
    (line,) = answers(tmp_path / "out")
    assert [(p["source"][-5:], p["page"]) for p in line["pages"]] == [(".tiff", 2)]
    with pytest.raises(InputError, match="matches no page"):
        query(file=str(file), db=sample_db, out=str(tmp_path / "out2"), where="page > 100")


def test_a_changed_source_costs_its_pictures_only(tmp_path: Path) -> None:
    folder, db = tmp_path / "docs", str(tmp_path / "db")
    shutil.copytree(EXAMPLES / "documents", folder)
    ingest(source=[str(folder)], db=db)
    with (folder / "two-column-paper.pdf").open("ab") as file:
        file.write(b"\n%changed")
    (folder / "scanned-letter.tiff").unlink()
    out = tmp_path / "out"
    report = report_of(
        query(
            file=str(EXAMPLES / "questions.jsonl"), db=db, out=str(out), top_pages=3, overlays=True
        )
    )
    assert report["queries"] == 13 and report["regions"] > 0
    problems = "\n".join(report["pictures_missing"])
    assert "has changed since" in problems and "cannot be read" in problems
    named = [p["overlay"] for line in answers(out) for p in line["pages"] if "overlay" in p]
    drawn = {f"overlays/{path.name}" for path in (out / "overlays").glob("*.png")}
    assert set(named) == drawn and len(drawn) == report["pictures"] > 0
    # Ingested again, the new bytes take the old ones' place.
    again = report_of(ingest(source=[str(folder)], db=db))
    assert again["documents_added"] == 1
    assert rows(db, "SELECT count(*) AS n FROM documents WHERE name LIKE '%paper%'") == [{"n": 1}]


def test_bad_files_are_quarantined_and_the_rest_is_done(tmp_path: Path) -> None:
    folder, db = tmp_path / "docs", str(tmp_path / "db")
    folder.mkdir()
    good = folder / "good.pdf"
    shutil.copy(EXAMPLES / "documents" / "two-column-paper.pdf", good)
    (folder / "same bytes.pdf").write_bytes(good.read_bytes())
    (folder / "text.pdf").write_text("not a PDF at all")
    (folder / "cut.pdf").write_bytes(good.read_bytes()[:2000])
    (folder / "empty.png").touch()
    (folder / "notes.docx").touch()
    report = report_of(ingest(source=[str(folder), str(tmp_path / "missing.pdf")], db=db))
    assert report["documents_added"] == 1 and report["pages_added"] == 3
    assert report["documents_failed"] == 4 and report["skipped"] == {
        ".docx": [str(folder / "notes.docx")]
    }
    failures = {
        Path(f.uri).name: (f.category, f.page, f.attempts) for f in Database.open(db).failures()
    }
    assert failures == {
        "text.pdf": ("corrupt", 0, 1),
        "cut.pdf": ("corrupt", 0, 1),
        "empty.png": ("empty", 0, 1),
        "missing.pdf": ("missing", 0, 1),
    }
    (document,) = Database.open(db).documents()
    assert {Path(s.uri).name for s in document.sources} == {"good.pdf", "same%20bytes.pdf"}
    # Tried again, the attempt is counted; mended, the failure is gone.
    shutil.copy(EXAMPLES / "documents" / "scanned-letter.tiff", folder / "empty.png")
    ingest(source=[str(folder)], db=db)
    attempts = {Path(f.uri).name: f.attempts for f in Database.open(db).failures()}
    assert attempts == {"text.pdf": 2, "cut.pdf": 2, "missing.pdf": 1}


def _dies_on_page_2(shard: Shard, options: ReadOptions) -> messages.ReadShard:
    """Stands for a page on which native code crashes."""
    if any(2 in part.pages for part in shard.parts):
        os._exit(139)
    return work.read_shard(shard, options)


def test_a_page_that_kills_its_worker_takes_no_other_with_it(tmp_path: Path) -> None:
    from patchlight.tasks.common.modes import OcrMode
    from patchlight.tasks.common.settings import Settings
    from patchlight.tasks.documents.sources import expand
    from patchlight.tasks.encoders import registry
    from patchlight.tasks.ingest.ingestrun import IngestRun

    info = registry.describe("text-patch")
    database = Database.create_or_open(tmp_path / "db", info.identity)
    options = ReadOptions(OcrMode.NEVER, "eng", 200, "", 60, image_pixels=0)
    given = expand([str(EXAMPLES / "documents" / "two-column-paper.pdf")])
    with IngestRun.recorded(database, info, options, "crash", {}) as run:
        files = [(file, None, None) for file in given.files]
        inspected = inspection.inspect_files(files, WORKERS, lambda _: None)
        where = encoderactors.placement(info, Settings(), workers=1)
        pool = shardpool.EncoderPool(info, where, read=_dies_on_page_2)
        for shard in run.plan(inspected, given):
            run.run_shard(shard, pool)
        report = run.end()
    assert (report.pages_added, report.pages_failed) == (2, 1)
    assert sorted(
        page for _, page in database.stored_pages([d.doc_id for d in database.documents()])
    ) == [1, 3]
    (failure,) = database.failures()
    assert (failure.page, failure.category, failure.retryable) == (2, "crashed", True)


def test_workers_run_our_own_modules() -> None:
    """The names flows, tasks and storage are generic; a worker must not find others."""
    import ray

    import patchlight.storage
    import patchlight.tasks

    def where() -> tuple[str | None, str | None]:
        import patchlight.storage
        import patchlight.tasks

        return patchlight.tasks.__file__, patchlight.storage.__file__

    assert ray.get(ray.remote(where).remote()) == (
        patchlight.tasks.__file__,
        patchlight.storage.__file__,
    )


def test_overlays_show_the_page_with_marks(answered: Path) -> None:
    pictures = sorted((answered / "overlays").glob("*.png"))
    assert len(pictures) == len({hashlib.sha256(p.read_bytes()).hexdigest() for p in pictures})
    image = np.asarray(Image.open(pictures[0]).convert("RGB")).astype(int)
    red = (image[..., 0] > 180) & (image[..., 1] < 60) & (image[..., 2] < 60)
    assert red.sum() > 200  # the frame of the best region
