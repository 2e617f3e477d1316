"""The result line, and when result files appear."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from patchlight.storage.convert import retrievals_table
from patchlight.tasks.answers import results
from patchlight.tasks.answers.queryfile import QueryRow
from patchlight.tasks.answers.results import Answer, PageAnswer, QueryToken, ResultFiles
from patchlight.tasks.common.errors import UsageError
from patchlight.tasks.grounding.records import PagePlaces, RegionHit, WordScore
from patchlight.tasks.retrieval.ranking import PageHit
from patchlight.tasks.retrieval.scope import Catalog

DOC = "d" * 64


def catalog() -> Catalog:
    return Catalog(
        page_ids=[f"{DOC}:00001", f"{DOC}:00002"],
        doc_ids=[DOC, DOC],
        names=["dues.pdf"] * 2,
        uris=["file:///docs/dues.pdf"] * 2,
        pages=np.array([1, 2]),
        width_pt=np.array([612.0, 792.0]),
        height_pt=np.array([792.0, 612.0]),
        page_keys=np.array([1, 2]),
        patch_rows=np.array([0, 1]),
    )


def hit(position: int) -> PageHit:
    return PageHit(position, f"{DOC}:{position + 1:05d}", 3.25)


def places(*regions: RegionHit) -> PagePlaces:
    return PagePlaces(2, 2, np.zeros(4, np.float32), regions)


def answer(*, overlays: dict[int, str] | None = None) -> Answer:
    region = RegionHit(
        region_id=f"{DOC}:00002:00007",
        kind="line",
        box=(0.25, 0.5, 0.75, 0.625),
        text="Quay dues",
        score=0.5,
        words=(WordScore(1, "pays", 0.375), WordScore(0, "Who", 0.125)),
    )
    return Answer(
        row=QueryRow(1, "q1", "Who pays — 船?", None, None, {"topic": "dues", "n": [1, None]}),
        pages=(
            PageAnswer(hit(1), places(region), "Quay dues are paid", {"team": "harbour"}),
            PageAnswer(hit(0), places(), ""),
        ),
        overlays=overlays or {},
        query_tokens=(QueryToken("Who", 0.5, False), QueryToken("pays", 2.5, True)),
    )


def test_the_line_of_an_answer() -> None:
    line = results.result_line(answer(overlays={1: "overlays/q1.png"}), catalog(), "run", "stats")
    assert json.loads(json.dumps(line)) == {
        "query_id": "q1",
        "query": "Who pays — 船?",
        "topic": "dues",
        "n": [1, None],
        "pages": [
            {
                "rank": 1,
                "doc_id": DOC,
                "source": "file:///docs/dues.pdf",
                "page": 2,
                "score": 3.25,
                "width_pt": 792.0,
                "height_pt": 612.0,
                "metadata": {"team": "harbour"},
                "regions": [
                    {
                        "rank": 1,
                        "region_id": f"{DOC}:00002:00007",
                        "kind": "line",
                        "box": [0.25, 0.5, 0.75, 0.625],
                        # x by the width, y by the height of this page, which is a wide one
                        "box_pt": [198.0, 306.0, 594.0, 382.5],
                        "text": "Quay dues",
                        "score": 0.5,
                        "words": [
                            {"index": 1, "token": "pays", "score": 0.375},
                            {"index": 0, "token": "Who", "score": 0.125},
                        ],
                    }
                ],
                "overlay": "overlays/q1.png",
            },
            {
                "rank": 2,
                "doc_id": DOC,
                "source": "file:///docs/dues.pdf",
                "page": 1,
                "score": 3.25,
                "width_pt": 612.0,
                "height_pt": 792.0,
                "metadata": {},
                "regions": [],
            },
        ],
        "tokens": line["tokens"],
        "query_tokens": [
            {"token": "Who", "weight": 0.5, "meaning": False},
            {"token": "pays", "weight": 2.5, "meaning": True},
        ],
        "run_id": "run",
        "statistics": "stats",
    }
    # What is ours surrounds what is carried, in the order that docs/results.md shows.
    first = ["query_id", "query", "topic", "n", "pages", "tokens", "query_tokens"]
    assert list(line)[:7] == first


def test_tokens_are_fewer_for_regions_than_for_pages() -> None:
    tokens = results.tokens_of(answer(), catalog())
    assert 0 < tokens["regions"] < tokens["page_text"] < tokens["page_image"]


def test_a_page_without_regions_is_one_row() -> None:
    first, bare = results.as_retrievals(answer(), catalog(), "run")
    assert (first.page_rank, first.region_rank, first.region_id) == (1, 1, f"{DOC}:00002:00007")
    assert (bare.page_rank, bare.region_rank, bare.region_id, bare.page) == (2, 0, "", 1)
    assert json.loads(first.carried) == {"topic": "dues", "n": [1, None]}
    assert retrievals_table([first, bare]).num_rows == 2


def write_one(files: ResultFiles) -> None:
    one = answer()
    files.write(
        [results.result_line(one, catalog(), "run", "stats")],
        retrievals_table(results.as_retrievals(one, catalog(), "run")),
    )


def listing(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_files_appear_at_the_end_the_summary_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = []
    replace = Path.replace

    def watched(self: Path, target: Path) -> Path:
        order.append(Path(target).name)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", watched)
    out = tmp_path / "new" / "out"
    with ResultFiles(str(out), "run") as files:
        write_one(files)
        write_one(files)
        assert [table.num_rows for table in files.read_back()] == [4]
        assert all(name.startswith(".") for name in listing(out))
        files.publish({"answered": 2})
    assert order == ["results.jsonl", "results.parquet", "summary.json"]
    assert listing(out) == set(order)
    lines = (out / "results.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["query"] for line in lines] == ["Who pays — 船?"] * 2
    assert pq.read_table(out / "results.parquet").num_rows == 4
    assert json.loads((out / "summary.json").read_text()) == {"answered": 2}


def test_a_line_is_exact_and_cannot_steer_a_terminal_that_shows_it(tmp_path: Path) -> None:
    text = "a\x1b[2J\x9b\u202egnp\u2028end\x7f — 船"
    with ResultFiles(str(tmp_path), "run") as files:
        files.write([{"text": text, "half": "\ud800"}], retrievals_table([]))
        files.publish({})
    [line] = (tmp_path / "results.jsonl").read_text(encoding="utf-8").splitlines()
    assert line.isprintable() and "— 船" in line
    assert json.loads(line) == {"text": text, "half": "\ud800"}


def test_a_run_that_is_stopped_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), ResultFiles(str(tmp_path), "run") as files:
        write_one(files)
        raise KeyboardInterrupt
    assert listing(tmp_path) == set()


def test_a_stopped_run_leaves_the_results_of_the_one_before(tmp_path: Path) -> None:
    """Files change only on success."""
    with ResultFiles(str(tmp_path), "run") as files:
        write_one(files)
        files.publish({})
    with pytest.raises(RuntimeError), ResultFiles(str(tmp_path), "run") as files:
        raise RuntimeError
    assert listing(tmp_path) == {"results.jsonl", "results.parquet", "summary.json"}
    assert len((tmp_path / "results.jsonl").read_text(encoding="utf-8").splitlines()) == 1


def test_a_run_without_answers_has_empty_files(tmp_path: Path) -> None:
    with ResultFiles(str(tmp_path), "run") as files:
        assert list(files.read_back()) == []
        files.publish({})
    assert (tmp_path / "results.jsonl").read_text() == ""
    table = pq.read_table(tmp_path / "results.parquet")
    assert table.num_rows == 0 and "region_id" in table.column_names


def test_a_folder_that_cannot_be_written_is_a_wrong_option(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"--out .*file"):
        ResultFiles(str(tmp_path / "file"), "run")


def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_text("before")
    with pytest.raises(RuntimeError), results.whole_file(path) as part:
        part.write_text("half")
        raise RuntimeError
    assert path.read_text() == "before" and listing(tmp_path) == {"a.png"}
    with results.whole_file(path) as part:
        part.write_text("after")
    assert path.read_text() == "after" and listing(tmp_path) == {"a.png"}
