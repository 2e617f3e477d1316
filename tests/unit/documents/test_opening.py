"""Opening documents: what each type of file becomes, and what each kind of damage is called."""

from __future__ import annotations

import io
import os
import random
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin
from reportlab.pdfgen.canvas import Canvas

from patchlight.tasks.common.errors import (
    Category,
    CorruptSource,
    EmptyDocument,
    EncryptedDocument,
    MissingSource,
    SourceError,
    TooLarge,
    UnsupportedSource,
)
from patchlight.tasks.documents import opening
from patchlight.tasks.documents.opening import open_document
from patchlight.tasks.documents.protocol import PageShape
from tests import fixtures


def picture(mode: str = "L", size: tuple[int, int] = (300, 150)) -> Image.Image:
    """White, with a black square near the top left corner."""
    image = Image.new("L", size, 255)
    image.paste(0, (20, 10, 80, 70))
    return image.convert(mode)


def saved(path: Path, image: Image.Image, **options: Any) -> str:
    image.save(path, **options)
    return str(path)


def check_picture(path: str, *, media_type: str, shape: PageShape | None = None) -> None:
    """The square must be drawn black on white at the top left, gray and in colour."""
    with open_document(path) as document:
        assert (document.media_type, document.page_count) == (media_type, 1)
        assert document.text_layer(1) is None
        if shape is not None:
            assert document.shape(1) == shape
        dpi = document.shape(1).native_dpi
        gray = document.render(1, dpi, gray=True)
        colour = document.render(1, dpi, gray=False)
    assert gray.dtype == colour.dtype == np.uint8 and colour.shape == (*gray.shape, 3)
    dark = np.argwhere(gray < 100)
    assert np.abs(dark.min(axis=0) - [10, 20]).max() <= 1
    assert np.abs(dark.max(axis=0) - [69, 79]).max() <= 1
    assert np.median(gray) > 240
    assert (colour[40, 50] < 60).all() and (colour[100, 200] > 240).all()


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "P"])
@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_images_of_every_depth_are_read(tmp_path: Path, mode: str, suffix: str) -> None:
    path = saved(tmp_path / f"a.{suffix}", picture(mode), dpi=(150, 150))
    # PNG states pixels a metre, which is not quite 150 dpi.
    check_picture(path, media_type=f"image/{suffix}")


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_sixteen_bit_gray_is_stretched_not_cut(tmp_path: Path, suffix: str) -> None:
    values = np.array(picture(), dtype=np.uint16) * 100 + 3000
    path = saved(tmp_path / f"a.{suffix}", Image.fromarray(values))
    check_picture(path, media_type=f"image/{suffix}")


def test_a_float_tiff_with_holes_is_read(tmp_path: Path) -> None:
    values = np.array(picture(), dtype=np.float32) / 255
    values[0, 0] = np.nan
    check_picture(saved(tmp_path / "a.tif", Image.fromarray(values)), media_type="image/tiff")


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpegs_of_every_colour_space_are_read(tmp_path: Path, mode: str) -> None:
    path = saved(tmp_path / "a.jpg", picture(mode), quality=95)
    check_picture(path, media_type="image/jpeg")


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_what_is_transparent_is_white(tmp_path: Path, mode: str) -> None:
    image = picture(mode)
    # Where it is transparent it is black underneath, as many programs save it.
    bands = [Image.new("L", image.size, 0) for _ in mode[:-1]]
    alpha = picture().point(lambda v: 255 - v)
    path = saved(tmp_path / "a.png", Image.merge(mode, [*bands, alpha]))
    check_picture(path, media_type="image/png")


def test_a_transparent_palette_colour_is_white(tmp_path: Path) -> None:
    image = picture("P")
    black_paper = image.point(lambda v: 0 if v == 0 else 1)
    black_paper.putpalette([0, 0, 0, 0, 0, 0])
    path = saved(tmp_path / "a.png", black_paper, transparency=1)
    check_picture(path, media_type="image/png")


def test_webp_is_read(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.webp", picture("RGB"), lossless=True)
    check_picture(path, media_type="image/webp", shape=PageShape(144, 72, 0, 150, (300, 150)))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_is_turned_upright(tmp_path: Path, orientation: int) -> None:
    undo = {
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }
    image = picture()
    for turn in undo.get(orientation, []):
        image = image.transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / "a.jpg", image, quality=95, exif=exif, dpi=(300, 300))
    check_picture(path, media_type="image/jpeg", shape=PageShape(72, 36, 0, 300, (300, 150)))


def test_every_frame_of_a_tiff_is_a_page(tmp_path: Path) -> None:
    frames = [picture(size=(100 * n, 50)).convert(m) for n, m in ((1, "L"), (2, "RGB"), (3, "1"))]
    path = saved(
        tmp_path / "a.tif", frames[0], save_all=True, append_images=frames[1:], dpi=(100, 100)
    )
    with open_document(path) as document:
        assert document.page_count == 3
        # Out of order, as retries of single pages ask for them.
        assert [document.shape(p).width_pt for p in (3, 1, 2)] == [216, 72, 144]
        assert document.render(2, 100, gray=False).shape == (50, 200, 3)


def tiff(path: Path, *subfiles: dict[int, int]) -> str:
    """Save a TIFF of frames 100, 200, ... pixels wide, with tags that say what each is."""
    frames = [picture(size=(100 * n, 50)) for n in range(1, len(subfiles) + 1)]
    for frame, tags in zip(frames, subfiles, strict=True):
        directory = TiffImagePlugin.ImageFileDirectory_v2()
        for tag, value in tags.items():
            directory[tag] = value
        frame.encoderinfo = {"tiffinfo": directory}
    return saved(
        path,
        frames[0],
        save_all=True,
        append_images=frames[1:],
        dpi=(100, 100),
        tiffinfo=frames[0].encoderinfo["tiffinfo"],
    )


@pytest.mark.parametrize(
    ("frames", "pages"),
    [
        ([{}, {254: 1}], [72]),
        ([{254: 1}, {254: 0}, {254: 2}], [144, 216]),
        ([{}, {254: 4}], [72]),
        ([{255: 1}, {255: 2}, {255: 3}], [72, 216]),
        ([{254: 1}, {254: 1}], [72, 144]),
    ],
)
def test_a_preview_is_no_page(
    tmp_path: Path, frames: list[dict[int, int]], pages: list[float]
) -> None:
    """Nor is a mask; but a file that holds nothing else is not empty."""
    with open_document(tiff(tmp_path / "a.tif", *frames)) as document:
        assert document.page_count == len(pages)
        found = [document.shape(page).width_pt for page in range(1, len(pages) + 1)]
    assert found == pages


@pytest.mark.parametrize(("ink", "ground"), [(255, 0), (220, 0), (120, 255), (0, 255)])
def test_light_writing_on_a_transparent_ground_is_laid_on_black(
    tmp_path: Path, ink: int, ground: int
) -> None:
    image = Image.new("RGBA", (300, 150), (255, 255, 255, 0))
    image.paste((ink, ink, ink, 255), (60, 60, 240, 90))
    with open_document(saved(tmp_path / "a.png", image)) as document:
        pixels = document.render(1, 150, gray=True)
    assert (pixels[10, 10], pixels[75, 150]) == (ground, ink)


def test_an_animation_is_one_page(tmp_path: Path) -> None:
    frames = [picture("RGB"), picture("RGB").rotate(180)]
    path = saved(tmp_path / "a.webp", frames[0], save_all=True, append_images=frames[1:])
    with open_document(path) as document:
        assert document.page_count == 1


@pytest.mark.parametrize(
    ("dpi", "width_pt", "height_pt", "native"),
    [
        ((300, 300), 72, 36, 300),
        (None, 144, 72, 150),
        ((1, 1), 144, 72, 150),  # what some cameras and programs write
        ((9000, 9000), 144, 72, 150),
        ((200, 100), 108, 108, 200),  # a fax
    ],
)
def test_the_size_of_a_page_comes_from_the_stated_resolution(
    tmp_path: Path,
    dpi: tuple[int, int] | None,
    width_pt: float,
    height_pt: float,
    native: float,
) -> None:
    options = {"dpi": dpi} if dpi else {}
    path = saved(tmp_path / "a.tif", picture(), **options)
    with open_document(path) as document:
        assert document.shape(1) == PageShape(width_pt, height_pt, 0, native, (300, 150))
        drawn = document.render(1, 144, gray=True)
        assert drawn.shape == (round(height_pt * 2), round(width_pt * 2))


def test_a_pdf_page_is_drawn_in_its_colours(tmp_path: Path) -> None:
    def draw(canvas: Canvas) -> None:
        canvas.setFillColorRGB(1, 0, 0)
        canvas.rect(0, 396, 306, 396, stroke=0, fill=1)

    with open_document(fixtures.make_pdf(tmp_path / "a.pdf", draw)) as document:
        colour = document.render(1, 36, gray=False)
    assert colour.shape == (396, 306, 3)
    assert colour[10, 10].tolist() == [255, 0, 0]  # and not blue: the channels are R, G, B
    assert colour[-10, -10].tolist() == [255, 255, 255]


def test_a_file_is_what_its_bytes_are(tmp_path: Path) -> None:
    scan = saved(tmp_path / "scan.pdf", picture(), format="PNG")
    with open_document(scan) as document:
        assert document.media_type == "image/png"
    pdf = fixtures.make_pdf(tmp_path / "a.txt", fixtures.prose)
    Path(pdf).write_bytes(b"junk before the header\n" + Path(pdf).read_bytes())
    with open_document(pdf) as document:
        assert document.media_type == "application/pdf"


def test_a_picture_that_speaks_of_pdf_is_a_picture(tmp_path: Path) -> None:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("Comment", "made from %PDF-1.4")
    path = saved(tmp_path / "a.png", picture(), pnginfo=info)
    check_picture(path, media_type="image/png")


# ----------------------------------------------------------------------------------- damage


def fails(
    path: str | Path, kind: type[SourceError], category: Category, *words: str, **options: Any
) -> None:
    """Opening or reading every page must raise this error, and its message must help."""
    with (
        pytest.raises(SourceError) as caught,
        open_document(str(path), **options) as document,
    ):
        for page in range(1, document.page_count + 1):
            document.shape(page)
            document.render(page, 72, gray=True)
    error = caught.value
    assert type(error) is kind and error.category is category
    message = str(error)
    assert str(path) in message
    for word in words:
        assert word in message


def test_text_named_pdf_says_so(tmp_path: Path) -> None:
    path = tmp_path / "report.pdf"
    path.write_text("<html>404</html>")
    fails(path, CorruptSource, Category.CORRUPT, "not a PDF", "export it again")


def test_an_unknown_type_is_named_with_those_that_are_read(tmp_path: Path) -> None:
    path = tmp_path / "report.docx"
    path.write_bytes(b"PK\x03\x04 whatever")
    fails(path, UnsupportedSource, Category.UNSUPPORTED, "PNG", "convert it to PDF")


def test_an_empty_file_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.touch()
    fails(path, EmptyDocument, Category.EMPTY, "0 bytes")


def test_a_missing_file_and_a_folder_cannot_be_read(tmp_path: Path) -> None:
    fails(tmp_path / "gone.pdf", MissingSource, Category.MISSING, "cannot be read")
    fails(tmp_path, MissingSource, Category.MISSING, "cannot be read")


def test_a_file_that_may_not_be_read_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(fixtures.make_pdf(tmp_path / "a.pdf", fixtures.prose))
    path.chmod(0)
    if os.geteuid() == 0:  # who may read everything

        def refuse(*args: Any, **options: Any) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "open", refuse)
    fails(path, MissingSource, Category.MISSING, "Permission denied")


def test_a_file_that_goes_away_while_it_is_opened_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "media_type_of", lambda path: "application/pdf")
    fails(tmp_path / "gone.pdf", MissingSource, Category.MISSING, "cannot be read")


def test_an_encrypted_pdf_needs_its_password(tmp_path: Path) -> None:
    path = fixtures.make_pdf(tmp_path / "a.pdf", fixtures.prose, password="anchor")
    fails(path, EncryptedDocument, Category.ENCRYPTED, "needs a password", "--passwords")
    fails(path, EncryptedDocument, Category.ENCRYPTED, "is wrong", password="wrong")
    with open_document(path, "anchor") as document:
        layer = document.text_layer(1)
        assert layer is not None and len(layer.words) == 132


def test_a_password_is_tried_in_the_form_that_pdf_2_asks_for(tmp_path: Path) -> None:
    """A hyphen that is not shown, and a letter in another guise."""
    path = fixtures.make_pdf(tmp_path / "a.pdf", fixtures.prose, password="SaSLprep")
    with open_document(path, "S\N{FEMININE ORDINAL INDICATOR}SL\N{SOFT HYPHEN}prep") as document:
        assert document.page_count == 1


def test_the_message_never_shows_the_password(tmp_path: Path) -> None:
    path = fixtures.make_pdf(tmp_path / "a.pdf", fixtures.prose, password="anchor")
    with pytest.raises(EncryptedDocument) as caught, open_document(path, "s3cret"):
        pass
    assert "s3cret" not in str(caught.value)


def test_a_password_for_a_pdf_without_one_does_no_harm(tmp_path: Path) -> None:
    with open_document(fixtures.make_pdf(tmp_path / "a.pdf", fixtures.prose), "x") as document:
        assert document.page_count == 1


def test_an_unknown_encryption_is_not_called_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    data = fixtures.raw_pdf(
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] >>",
        "<< /Filter /Acme.Rights /V 4 >>",
    )
    path.write_bytes(data.replace(b"/Root 1 0 R", b"/Root 1 0 R /Encrypt 4 0 R /ID [<00> <00>]"))
    fails(path, EncryptedDocument, Category.ENCRYPTED, "cannot be read")


def test_a_pdf_without_pages_is_empty(tmp_path: Path) -> None:
    """Whatever was opened before: PDFium's error code is that of the last failure."""
    locked = fixtures.make_pdf(tmp_path / "b.pdf", fixtures.prose, password="anchor")
    fails(locked, EncryptedDocument, Category.ENCRYPTED)
    path = tmp_path / "a.pdf"
    path.write_bytes(
        fixtures.raw_pdf(
            "<< /Type /Catalog /Pages 2 0 R >>", "<< /Type /Pages /Kids [] /Count 0 >>"
        )
    )
    fails(path, EmptyDocument, Category.EMPTY, "no pages")


def test_a_page_that_is_not_there_is_damage_of_that_page(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(
        fixtures.raw_pdf(
            "<< /Type /Catalog /Pages 2 0 R >>",
            "<< /Type /Pages /Kids [3 0 R 9 0 R] /Count 2 >>",
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 99 99] >>",
        )
    )
    with open_document(str(path)) as document:
        assert document.page_count == 2
        assert document.shape(1).width_pt == 99
        with pytest.raises(CorruptSource, match=r"a\.pdf, page 2"):
            document.shape(2)


def test_a_cut_off_pdf_is_an_error_or_whole(tmp_path: Path) -> None:
    """PDFium repairs what it can: a page count must then be right, never a guess."""

    def draw(canvas: Canvas) -> None:
        for _ in range(3):
            fixtures.prose(canvas)
            canvas.showPage()
        fixtures.prose(canvas)

    whole = Path(fixtures.make_pdf(tmp_path / "a.pdf", draw)).read_bytes()
    cut = tmp_path / "cut.pdf"
    failed = 0
    for share in (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97, 0.99):
        cut.write_bytes(whole[: int(len(whole) * share)])
        try:
            with open_document(str(cut)) as document:
                assert document.page_count == 4
                for page in range(1, 5):
                    document.shape(page)
                    document.text_layer(page)
                    document.render(page, 36, gray=True)
        except SourceError as error:
            failed += 1
            assert error.category in {Category.CORRUPT, Category.EMPTY}
            assert str(cut) in str(error)
    assert failed >= 4


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")  # Pillow says so, too
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp"])
def test_damaged_images_are_an_error_or_read_and_never_a_crash(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    format_ = {"jpg": "JPEG", "tif": "TIFF"}.get(suffix, suffix.upper())
    options: dict[str, Any] = {"save_all": True, "append_images": [picture("RGB")]}
    Image.fromarray(noise).save(buffer, format=format_, **(options if suffix == "tif" else {}))
    whole = buffer.getvalue()
    rng = random.Random(suffix)
    path = tmp_path / f"a.{suffix}"
    failed = 0
    for attempt in range(60):
        data = bytearray(whole)
        if attempt % 2:
            data = data[: rng.randrange(20, len(data) - 8)]
        else:
            for _ in range(3):
                data[rng.randrange(12, len(data))] = rng.randrange(256)
        path.write_bytes(bytes(data))
        try:
            with open_document(str(path)) as document:
                for page in range(1, document.page_count + 1):
                    document.shape(page)
                    document.render(page, 72, gray=True)
        except SourceError as error:
            failed += 1
            assert str(path) in str(error)
    assert failed >= 5


def bomb(width: int, height: int) -> bytes:
    """A PNG that says it has so many pixels, in a few hundred bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    body = zlib.compress(b"\0" * 1000)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [10_500, 60_000], ids=["our limit", "Pillow's limit"])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_picture_too_large_to_unpack_is_refused_unread(tmp_path: Path, side: int) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(bomb(side, side))
    fails(path, TooLarge, Category.TOO_LARGE, "scale")


def test_a_later_frame_too_large_to_unpack_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    frames = [picture(), picture(size=(301, 151))]
    saved(path, frames[0], save_all=True, append_images=frames[1:])
    data = path.read_bytes()
    wide, high = struct.pack("<HHII", 256, 4, 1, 301), struct.pack("<HHII", 257, 4, 1, 151)
    assert data.count(wide) == data.count(high) == 1, "Pillow writes the tags in another way now"
    data = data.replace(wide, struct.pack("<HHII", 256, 4, 1, 90_000))
    path.write_bytes(data.replace(high, struct.pack("<HHII", 257, 4, 1, 90_000)))
    with open_document(str(path)) as document:
        document.shape(1)
        with pytest.raises(TooLarge):
            document.shape(2)


def test_a_poster_is_refused_at_a_resolution_beyond_the_limit(tmp_path: Path) -> None:
    path = fixtures.make_pdf(tmp_path / "a.pdf", fixtures.prose, size=(7200, 7200))
    with open_document(path) as document:
        assert document.render(1, 10, gray=True).shape == (1000, 1000)
        with pytest.raises(TooLarge, match="--dpi"):
            document.render(1, 200, gray=True)
