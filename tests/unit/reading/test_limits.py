"""Limits of size: what is beyond one is refused unread, with the setting that would allow it."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from patchlight.storage.records import Source, WordsSource
from patchlight.tasks.cluster import work
from patchlight.tasks.common.errors import Category, Stage, TooLarge
from patchlight.tasks.common.limits import Limits
from patchlight.tasks.common.modes import OcrMode
from patchlight.tasks.common.settings import Settings
from patchlight.tasks.documents import ocr
from patchlight.tasks.documents.opening import open_document
from patchlight.tasks.documents.sources import SourceFile, to_uri
from patchlight.tasks.reading import messages
from patchlight.tasks.reading.pages import ReadOptions, ReadPage, read_page, read_picture
from patchlight.tasks.reading.shardplan import InspectedFile, Shard, ShardPart
from tests import fixtures, poison
from tests.poison import Pdf


def inspect(path: str, limits: Limits) -> object:
    return work.inspect_file(SourceFile(Source(to_uri(path), "a"), path), None, limits)


def drawn(path: str, limits: Limits, dpi: float = 20) -> tuple[int, ...]:
    with open_document(path, None, limits) as document:
        return document.render(1, dpi, gray=False).shape


def read(path: str, limits: Limits, mode: OcrMode) -> ReadPage:
    program = ocr.find_tesseract(None)
    options = ReadOptions(mode, "eng", 150, program, 60, image_pixels=10**7, limits=limits)
    with open_document(path, None, limits) as document:
        return read_page(document, "d", 1, options, "a.pdf")


def test_the_defaults_are_those_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for field in fields(Limits):
        monkeypatch.delenv(f"PATCHLIGHT_{field.name.upper()}", raising=False)
    assert Limits.of(Settings()) == Limits()


def test_every_limit_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    for field in fields(Limits):
        value = "false" if field.name == "sandbox" else "2000000"
        monkeypatch.setenv(f"PATCHLIGHT_{field.name.upper()}", value)
    assert Limits.of(Settings()) == Limits(False, *[2_000_000] * (len(fields(Limits)) - 1))


def test_a_file_too_large_is_refused_before_it_is_hashed(tmp_path: Path) -> None:
    path = fixtures.make_text_pdf(tmp_path / "a.pdf", ["One"])
    with Path(path).open("r+b") as file:
        file.truncate(1 + (1 << 20))
    found = inspect(path, Limits(max_file_mb=1))
    assert isinstance(found, messages.InspectionFault) and found.doc_id == ""
    assert (found.fault.category, found.fault.stage) == (Category.TOO_LARGE, Stage.OPEN)
    assert not found.fault.retryable and "PATCHLIGHT_MAX_FILE_MB" in found.fault.message
    assert isinstance(inspect(path, Limits(max_file_mb=2)), InspectedFile)


def test_a_document_with_too_many_pages_is_refused(tmp_path: Path) -> None:
    path = fixtures.make_text_pdf(tmp_path / "a.pdf", ["One", "Two", "Three"])
    found = inspect(path, Limits(max_pages=2))
    assert isinstance(found, messages.InspectionFault) and len(found.doc_id) == 64
    assert (found.fault.category, found.fault.stage) == (Category.TOO_LARGE, Stage.OPEN)
    assert "3 pages" in found.fault.message and "PATCHLIGHT_MAX_PAGES" in found.fault.message
    assert isinstance(inspect(path, Limits(max_pages=3)), InspectedFile)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_an_image_of_too_many_pixels_is_refused(tmp_path: Path) -> None:
    path = poison.png_bomb(tmp_path / "a.png", 1200, 1000)
    with pytest.raises(TooLarge, match="PATCHLIGHT_MAX_PIXELS") as caught:
        drawn(path, Limits(max_pixels=1_100_000))
    assert caught.value.stage is Stage.RENDER
    assert drawn(path, Limits(max_pixels=1_200_000), 150) == (1000, 1200, 3)


def test_the_limit_of_pixels_can_be_raised_beyond_that_of_pillow(tmp_path: Path) -> None:
    path = poison.png_bomb(tmp_path / "a.png", 14_000, 13_000, rows=1)
    with pytest.raises(TooLarge, match="PATCHLIGHT_MAX_PIXELS"):
        drawn(path, Limits(max_pixels=90_000_000))
    with open_document(path, None, Limits(max_pixels=200_000_000)) as document:
        assert document.page_count == 1


def test_a_page_of_too_many_pixels_is_drawn_smaller(tmp_path: Path) -> None:
    path = fixtures.make_pdf(tmp_path / "a.pdf", fixtures.prose)
    few = Limits(max_pixels=1_000_000)
    page = read(path, few, OcrMode.ALWAYS)
    assert page.scale == pytest.approx((1_000_000 / (1275 * 1650)) ** 0.5)
    assert page.ocr_dpi == round(150 * page.scale) and len(page.regions)
    assert read(path, Limits(), OcrMode.ALWAYS).scale == 1.0
    layer = read(path, few, OcrMode.AUTO)
    assert (layer.words_source, layer.scale) == (WordsSource.TEXT_LAYER, 1.0)
    options = ReadOptions(OcrMode.NEVER, "eng", 150, "", 60, image_pixels=10**7, limits=few)
    with open_document(path, None, few) as document:
        image = read_picture(document, 1, options).image
    assert image is not None and 0.98e6 < image[..., 0].size <= 1.002e6


def test_an_image_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    path = poison.png_bomb(tmp_path / "a.png", 5000, 4600)  # 66 MiB in 67 kB
    with pytest.raises(TooLarge, match="PATCHLIGHT_MAX_EXPANSION"):
        drawn(path, Limits(max_expansion=900))
    with pytest.raises(TooLarge, match="PATCHLIGHT_PAGE_MEMORY_MB"):
        drawn(path, Limits(page_memory_mb=60))
    assert drawn(path, Limits())


@pytest.mark.parametrize("nested", [False, True])
def test_a_picture_in_a_page_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, nested: bool
) -> None:
    pdf = Pdf()
    found = poison.picture(pdf, 9000, layers=2)  # 77 MiB in a few hundred bytes
    if nested:
        form = "/Type /XObject /Subtype /Form /BBox [0 0 1 1] /Matrix [9 0 0 9 0 0]"
        found = pdf.stream(f"{form} /Resources << /XObject << /I {found} >> >>", "/I Do")
    pdf.page("9 0 0 9 0 0 cm /I Do BT /F1 1 Tf (Hello) Tj ET", f"/XObject << /I {found} >>")
    path = pdf.save(tmp_path / "a.pdf")
    assert Path(path).stat().st_size < 10_000
    with pytest.raises(TooLarge, match=r"page 1: .*9,000.*PATCHLIGHT_MAX_EXPANSION") as caught:
        drawn(path, Limits())
    assert caught.value.stage is Stage.RENDER
    with pytest.raises(TooLarge, match=r"77 MiB.*PATCHLIGHT_PAGE_MEMORY_MB"):
        drawn(path, Limits(max_expansion=10**9, page_memory_mb=64))
    page = read(path, Limits(), OcrMode.NEVER)
    assert page.regions.texts == ("Hello",), "its words need no drawing"


def test_pictures_of_usual_size_are_not_judged(tmp_path: Path) -> None:
    pdf = Pdf()
    poison.picture_page(pdf, 1000, layers=2)  # a thousand times a thousand of nothing
    path = pdf.save(tmp_path / "a.pdf")
    assert drawn(path, Limits(max_expansion=1)) == (220, 170, 3)


def test_a_large_picture_that_is_one_passes(tmp_path: Path) -> None:
    """Black and white takes a bit a pixel, whatever it unpacks to in the end."""
    sheet = np.zeros((4200, 4200), dtype=bool)
    sheet[::7] = sheet[:, ::9] = True
    path = tmp_path / "a.pdf"
    Image.fromarray(sheet).save(path, resolution=600)
    assert drawn(str(path), Limits(page_memory_mb=4))


def test_limits_reach_the_workers(tmp_path: Path) -> None:
    """Through the options of a shard, and not only for its opening."""
    path = poison.png_bomb(tmp_path / "a.png", 1200, 1000)
    file = inspect(path, Limits())
    assert isinstance(file, InspectedFile)
    shard = Shard(0, (ShardPart(file, (1,)),))
    limits = replace(Limits(), max_pixels=1_000_000)
    options = ReadOptions(OcrMode.NEVER, "eng", 150, "", 60, image_pixels=10**7, limits=limits)
    for faults in (
        work.read_shard(shard, options).faults,
        work.render_shard(shard, options).faults,
    ):
        [fault] = faults.values()
        assert fault.category is Category.TOO_LARGE and "PATCHLIGHT_MAX_PIXELS" in fault.message
