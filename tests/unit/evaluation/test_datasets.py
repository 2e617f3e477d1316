"""Guards how data sets are read: boxes as fractions, and errors that name file and line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from patchlight.tasks.common.errors import DatasetError
from patchlight.tasks.evaluation import datasets
from patchlight.tasks.evaluation.choices import Truth
from patchlight.tasks.evaluation.records import Dataset

ROW: dict[str, Any] = {
    "qid": "q1",
    "doc": "report.pdf",
    "page": 2,
    "query": "How deep is the berth?",
    "gt_boxes": [[60.0, 80.0, 300.0, 400.0]],
    "units": "pdf_points_topleft_0based_page",
    "page_size": [600.0, 800.0],
}
SCIENCE: dict[str, Any] = {
    "query": "Which bound holds?",
    "doc_name": "2401.00001",
    "category": "math",
    "evidence_page": [5, 3],
    "bbox": [[[100, 0, 200, 400]], [[0, 0, 50, 100], [50, 100, 100, 200]]],
    "subimg_tpye": [["text"], ["text", "image"]],
}


def write(folder: Path, *rows: dict[str, Any] | str, name: str = "questions.jsonl") -> Path:
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data set's folder with a PDF, an image, and pages of a paper as images."""
    for name in ("pdfs/report.pdf", "images/receipt.jpg"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"never opened")
    pages = tmp_path / "math" / "2401.00001"
    pages.mkdir(parents=True)
    Image.new("L", (200, 400), 255).save(pages / "2401.00001_5.png")
    Image.new("L", (100, 200), 255).save(pages / "2401.00001_3.png")
    return tmp_path


def test_points_become_fractions_and_pages_count_from_one(folder: Path) -> None:
    found = datasets.load(write(folder, {**ROW, "clean": True, "domain": "Manual"}))
    (question,) = found.questions
    (at,) = question.evidence
    assert (at.file, at.page, at.clean, at.line) == ("pdfs/report.pdf", 3, True, 1)
    assert at.boxes.tolist() == [[0.1, 0.1, 0.5, 0.5]]
    assert (question.doc, question.domain, question.category) == ("report.pdf", "Manual", "none")
    assert question.pages == {("pdfs/report.pdf", 3)}
    assert found.files == ["pdfs/report.pdf"] and not found.one_page_files
    assert len(found.sha256) == 64 and found.name == folder.name


def test_pixels_of_an_image_become_fractions(folder: Path) -> None:
    row = {**ROW, "doc": "receipt.jpg", "page": 0, "units": "pixels_of_image"}
    row |= {"image_size": [1000, 2000], "gt_boxes": [[10, 20, 30, 40]]}
    del row["page_size"]
    (at,) = datasets.load(write(folder, row)).questions[0].evidence
    assert (at.file, at.page) == ("images/receipt.jpg", 1)
    assert at.boxes == pytest.approx(np.array([[0.01, 0.01, 0.03, 0.02]]))


def test_rows_of_one_question_are_its_pages(folder: Path) -> None:
    """``all_evidence_pages`` may name pages whose boxes are not known."""
    first = {**ROW, "all_evidence_pages": [2, 4, 7]}
    (question,) = datasets.load(write(folder, first, {**ROW, "page": 4})).questions
    assert [at.page for at in question.evidence] == [3, 5]
    assert {page for _, page in question.pages} == {3, 5, 8}


@pytest.mark.parametrize(
    ("category", "expected"),
    [
        (["Pure-text (Plain-text)", "Generalized-text (Layout)"], "text"),
        (["Chart"], "figure and chart"),
        (["Table", "Figure"], "mixed"),
        ([], "none"),
        ("novel-generated", "novel-generated"),
    ],
)
def test_kinds_of_evidence_get_one_name(folder: Path, category: object, expected: str) -> None:
    (question,) = datasets.load(write(folder, {**ROW, "category": category})).questions
    assert question.category == expected


def test_science_pages_are_documents_of_their_own(folder: Path) -> None:
    """The boxes are pixels of each page's own image, and pages come in any order."""
    found = datasets.load(write(folder, SCIENCE, name="bench.jsonl"))
    (question,) = found.questions
    assert found.one_page_files and found.form == "BBox-DocVQA/SciEGQA"
    files = [f"math/2401.00001/2401.00001_{page}.png" for page in (5, 3)]
    assert [(at.file, at.page) for at in question.evidence] == [(file, 1) for file in files]
    assert question.pages == {(file, 1) for file in files}
    assert question.evidence[0].boxes.tolist() == [[0.5, 0.0, 1.0, 1.0]]
    assert question.evidence[1].boxes.tolist() == [[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]]
    assert (question.doc, question.domain, question.category) == ("2401.00001", "math", "mixed")
    assert question.question_id == "line 1"


def test_relative_boxes_and_named_images_win(folder: Path) -> None:
    """Later versions of the format: ``question``, ``rel_bbox`` and the right spelling."""
    row = {**SCIENCE, "question": "Why?", "evidence_page": [9], "bbox": [[[1, 1, 2, 2]]]}
    row |= {"rel_bbox": [[[100, 200, 300, 400]]], "images": ["math/2401.00001/2401.00001_3.png"]}
    del row["query"], row["subimg_tpye"]
    row["subimg_type"] = [["table"]]
    (question,) = datasets.load(write(folder, row)).questions
    assert question.query == "Why?" and question.category == "table"
    assert question.evidence[0].boxes.tolist() == [[0.1, 0.2, 0.3, 0.4]]
    assert question.evidence[0].file.endswith("_3.png")


def test_a_page_named_twice_is_one_page_with_the_boxes_of_both(folder: Path) -> None:
    row = {**SCIENCE, "evidence_page": [3, 3], "bbox": [[[0, 0, 50, 100]], [[50, 100, 100, 200]]]}
    (question,) = datasets.load(write(folder, row)).questions
    assert len(question.evidence) == 1 and question.evidence[0].boxes.shape == (2, 4)


def test_truth_is_all_boxes_but_for_small_ones(folder: Path) -> None:
    def truth(*boxes: list[float]) -> Truth:
        return datasets.load(write(folder, {**ROW, "gt_boxes": list(boxes)})).truth

    line, block = [60.0, 80.0, 120.0, 90.0], ROW["gt_boxes"][0]
    assert truth(block) is Truth.ALL
    assert truth(line) is Truth.ANY
    assert truth(line, block, block) is Truth.ALL  # the median decides


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"units": "inches"}, "'units' must be one of"),
        ({"page": -1}, "'page' counts from 0"),
        ({"page": True}, "'page' must be a whole number"),
        ({"query": " "}, "'query'"),
        ({"gt_boxes": []}, "at least one box"),
        ({"gt_boxes": [[1, 2, 3]]}, "boxes [x0, y0, x1, y1]"),
        ({"gt_boxes": [[300.0, 80.0, 60.0, 400.0]]}, "is inverted"),
        ({"gt_boxes": [[60.0, 80.0, 1300.0, 400.0]]}, "leaves the page"),
        ({"page_size": [600.0, 0.0]}, "above 0"),
        ({"doc": "other.pdf"}, "its document is missing"),
        ({"all_evidence_pages": ["two"]}, "'all_evidence_pages'"),
    ],
)
def test_a_wrong_line_is_named(folder: Path, change: dict[str, Any], problem: str) -> None:
    write(folder, {**ROW, "qid": "good"}, "", {**ROW, **change})
    with pytest.raises(DatasetError) as raised:
        datasets.load(folder)
    assert f"{folder}/questions.jsonl, line 3: " in str(raised.value)
    assert problem in str(raised.value)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"evidence_page": [0, 3]}, "'evidence_page' must be page numbers from 1"),
        ({"bbox": [[[100, 0, 200, 400]]]}, "an entry for each of the 2 pages"),
        ({"evidence_page": [5, 4]}, "the image of page 4 is missing"),
        ({"bbox": [[[100, 0, 900, 400]], [[0, 0, 50, 100]]]}, "leaves the page of 200 x 400"),
        ({"doc_name": ""}, "'doc_name'"),
    ],
)
def test_a_wrong_science_line_is_named(folder: Path, change: dict[str, Any], problem: str) -> None:
    with pytest.raises(DatasetError) as raised:
        datasets.load(write(folder, {**SCIENCE, **change}))
    assert "questions.jsonl, line 1: " in str(raised.value) and problem in str(raised.value)


def test_an_image_that_cannot_be_opened_is_named(folder: Path) -> None:
    (folder / "math" / "2401.00001" / "2401.00001_3.png").write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=r"line 1: the size of its image is not known.*_3\.png"):
        datasets.load(write(folder, SCIENCE))


def test_rows_of_one_question_must_fit_together(folder: Path) -> None:
    with pytest.raises(DatasetError, match=r"line 2: question 'q1' has page 2 a second time"):
        datasets.load(write(folder, ROW, ROW))
    with pytest.raises(DatasetError, match=r"line 2: .* another query .* line 1"):
        datasets.load(write(folder, ROW, {**ROW, "page": 3, "query": "Why?"}))


def test_other_formats_and_folders_are_refused(folder: Path) -> None:
    with pytest.raises(DatasetError, match="line 1: is not in a supported format"):
        datasets.load(write(folder, {"question": "?", "answer": "!"}))
    with pytest.raises(DatasetError, match="line 1: is not JSON"):
        datasets.load(write(folder, "{"))
    with pytest.raises(DatasetError, match="holds no question"):
        datasets.load(write(folder, ""))
    with pytest.raises(DatasetError, match="no such folder"):
        datasets.load(folder / "nowhere")
    with pytest.raises(DatasetError, match=r"neither questions\.jsonl"):
        datasets.load(folder / "pdfs")


def test_one_of_several_files_must_be_named(tmp_path: Path, folder: Path) -> None:
    write(folder, ROW, name="dev.jsonl")
    write(folder, ROW, name="test.jsonl")
    with pytest.raises(DatasetError, match=r"name one of dev\.jsonl, test\.jsonl"):
        datasets.load(folder)
    found: Dataset = datasets.load(folder / "test.jsonl")
    assert found.file.name == "test.jsonl" and found.folder == folder
