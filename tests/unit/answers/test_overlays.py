"""Pictures of answers: the heat and the boxes must be where the answer says."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from patchlight.tasks.answers import overlays
from patchlight.tasks.answers.overlays import DocumentOverlays, Overlay
from patchlight.tasks.documents.sources import sha256_of
from tests import fixtures

ROWS, COLS = 6, 4
HEIGHT, WIDTH = 600, 400  # a portrait page; cells are 100 x 100 pixels
RED, BLUE = (200, 30, 30), (30, 90, 200)
WHITE: NDArray[np.uint8] = np.full((HEIGHT, WIDTH, 3), 255, dtype=np.uint8)


def overlay(out: str = "a.png", **change: Any) -> Overlay:
    plain = Overlay(
        page=1,
        rows=ROWS,
        cols=COLS,
        cell_scores=np.zeros(ROWS * COLS, dtype=np.float32),
        boxes=(),
        caption=("Who pays?", "dues.pdf, page 1"),
        out=out,
    )
    return replace(plain, **change)


def drawn(**change: Any) -> NDArray[np.uint8]:
    """The page below its caption."""
    picture = np.asarray(overlays.compose(WHITE, overlay(**change)))
    caption = picture.shape[0] - HEIGHT
    assert picture.shape == (HEIGHT + caption, WIDTH, 3) and caption > 0
    return picture[caption:]


def test_each_box_has_its_note_above_the_page_in_its_colour() -> None:
    boxes = ((0.25, 0.25, 0.5, 0.5), (0.5, 0.5, 0.75, 0.75))
    picture = np.asarray(overlays.compose(WHITE, overlay(boxes=boxes, notes=("first", "second"))))
    plain = np.asarray(overlays.compose(WHITE, overlay(boxes=boxes)))
    band, without = picture.shape[0] - HEIGHT, plain.shape[0] - HEIGHT
    assert np.array_equal(picture[band:], plain[without:])  # the page itself is the same
    for colour in (RED, BLUE):
        rows = np.flatnonzero((picture[:band] == colour).all(axis=2).any(axis=1))
        assert len(rows) and not (plain[:without] == colour).all(axis=2).any()
        assert rows.min() >= without - 6  # below the two lines that are always there


@pytest.mark.parametrize(("row", "col"), [(0, 0), (0, 3), (4, 1), (5, 2), (1, 3)])
def test_heat_is_at_its_cell_and_nowhere_else(row: int, col: int) -> None:
    """On a grid that is not square, so that rows cannot pass for columns."""
    scores = np.zeros((ROWS, COLS), dtype=np.float32)
    scores[row, col] = 1.0
    page = drawn(cell_scores=scores.ravel())
    warm = np.argwhere((page < 250).any(axis=2))
    assert warm.min(axis=0).tolist() == [100 * row, 100 * col]
    assert warm.max(axis=0).tolist() == [100 * row + 99, 100 * col + 99]


def test_a_page_without_differences_has_no_heat() -> None:
    for level in (0.0, 0.7, -1.0):
        scores = np.full(ROWS * COLS, level, dtype=np.float32)
        assert (drawn(cell_scores=scores) == 255).all()


def test_boxes_are_drawn_around_their_pixels_the_best_one_apart() -> None:
    boxes = ((0.25, 0.5, 0.75, 0.6), (0.1, 0.1, 0.3, 0.2))
    page = drawn(boxes=boxes)
    for box, colour in zip(boxes, (RED, BLUE), strict=True):
        x0, y0, x1, y1 = (round(v) for v in np.array(box) * [WIDTH, HEIGHT, WIDTH, HEIGHT])
        lines = (page == colour).all(axis=2)
        middle_x, middle_y = (x0 + x1) // 2, (y0 + y1) // 2
        for at in (
            (y0 - 1, middle_x),
            (y1 + 1, middle_x),
            (middle_y, x0 - 1),
            (middle_y, x1 + 1),
        ):
            assert lines[at], f"no line at {at}"
        # The text in the box stays readable, and nothing is drawn far outside.
        assert (page[y0 + 2 : y1 - 2, x0 + 2 : x1 - 2] == 255).all()
        assert not lines[y1 + 6 :, :].any() or colour == BLUE
    assert not (page[:, 320:] != 255).any()


def test_a_box_at_the_edge_of_the_page_is_drawn() -> None:
    page = drawn(boxes=((0.0, 0.0, 1.0, 1.0), (0.999, 0.999, 1.0, 1.0)))
    assert (page[HEIGHT // 2, 0] == RED).all()


@pytest.mark.parametrize("text", ["x" * 100_000, "a\n\x1b[31mb\u202ec", "", "船" * 200])
@pytest.mark.parametrize("width", [8, 30, 400])
def test_any_caption_on_any_page_ends(text: str, width: int) -> None:
    page = np.full((20, width, 3), 255, dtype=np.uint8)
    picture = overlays.compose(page, overlay(caption=(text, text)))
    assert picture.width == width


# ----------------------------------------------------------------------------- from sources


@pytest.fixture
def source(tmp_path: Path) -> str:
    path = fixtures.make_pdf(tmp_path / "dues.pdf", fixtures.prose, size=(400, 800))
    return fixtures.with_boxes(path, rotation=90)


def pictures(source: str, *wanted: Overlay, paths: tuple[str, ...] = ()) -> DocumentOverlays:
    return DocumentOverlays(sha256_of(source)[0], paths or (source,), wanted)


def test_the_page_is_drawn_as_it_is_displayed(tmp_path: Path, source: str) -> None:
    out = tmp_path / "overlays" / "q" / "1.png"
    assert overlays.draw(pictures(source, overlay(str(out)))) == {}
    with Image.open(out) as picture:
        assert picture.width == math.ceil(800 * 110 / 72)
        assert picture.height > picture.width / 2
    assert [path.name for path in out.parent.iterdir()] == ["1.png"]


def test_a_changed_source_is_reported_for_each_picture(tmp_path: Path, source: str) -> None:
    wanted = pictures(source, overlay(str(tmp_path / "1.png")), overlay(str(tmp_path / "2.png")))
    with Path(source).open("ab") as file:
        file.write(b"\n")
    problems = overlays.draw(wanted)
    assert set(problems) == {str(tmp_path / "1.png"), str(tmp_path / "2.png")}
    for problem in problems.values():
        assert "has changed since it was ingested" in problem and source in problem


def test_a_missing_source_is_reported(tmp_path: Path, source: str) -> None:
    wanted = pictures(source, overlay(str(tmp_path / "1.png")))
    Path(source).unlink()
    [problem] = overlays.draw(wanted).values()
    assert "cannot be read" in problem and source in problem
    [problem] = overlays.draw(replace(wanted, paths=())).values()
    assert "there is no source" in problem


def test_another_place_with_the_same_bytes_will_do(tmp_path: Path, source: str) -> None:
    paths = (str(tmp_path / "gone.pdf"), source)
    assert overlays.draw(pictures(source, overlay(str(tmp_path / "1.png")), paths=paths)) == {}


def test_one_picture_that_fails_does_not_take_the_others(tmp_path: Path, source: str) -> None:
    (tmp_path / "file").touch()
    wanted = pictures(
        source,
        overlay(str(tmp_path / "1.png"), page=99),
        overlay(str(tmp_path / "file" / "2.png")),
        overlay(str(tmp_path / "3.png"), boxes=((0.5, 0.5, 0.4, 0.4),)),  # no such box
        overlay(str(tmp_path / "4.png")),
    )
    problems = overlays.draw(wanted)
    assert [Path(path).name for path in problems] == [
        "1.png",
        "2.png",
        "3.png",
    ]
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["4.png"]


def test_a_locked_source_is_opened_with_its_password(tmp_path: Path) -> None:
    path = fixtures.make_pdf(tmp_path / "a.pdf", fixtures.prose, password="anchor")
    wanted = pictures(path, overlay(str(tmp_path / "1.png")))
    assert "--passwords" in overlays.draw(wanted)[str(tmp_path / "1.png")]
    assert overlays.draw(replace(wanted, password="anchor")) == {}
    assert "anchor" not in repr(replace(wanted, password="anchor"))


def test_the_truth_is_green_and_leaves_ours_to_be_seen() -> None:
    box = (0.25, 0.5, 0.75, 0.6)
    page = drawn(boxes=(box,), truth=(box,))
    green, red = (page == (0, 140, 60)).all(axis=2), (page == RED).all(axis=2)
    x0, y0, x1, y1 = 100, 300, 300, 360
    for at in ((y0 - 5, 200), (y1 + 5, 200), (330, x0 - 5), (330, x1 + 5)):
        assert green[at], f"no green line at {at}"
    for at in ((y0 - 1, 200), (y1 + 1, 200), (330, x0 - 1), (330, x1 + 1)):
        assert red[at], f"no red line at {at}"
    assert not green[y0:y1, x0:x1].any()
