"""Pages of evidence made worse on purpose, as a data set of its own, for ``benchmarks.damage``."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pypdfium2
from PIL import Image

from patchlight.tasks.documents.opening import media_type_of, open_document
from patchlight.tasks.documents.protocol import Pixels
from patchlight.tasks.evaluation.datasets import QUESTIONS
from patchlight.tasks.evaluation.records import Dataset, EvidencePage
from patchlight.tasks.kernels.geometry import Doubles

PAGES = "pages"
"""Folder of the pages, in that of the data set."""
_MADE = "made.json"

_WHITE = 255


@dataclass(frozen=True, slots=True)
class Damage:
    """How a page becomes a picture; what is done to it, in this order.

    Attributes:
        dpi: resolution it is drawn at, in gray; it stands in the file.
        degrees: it is turned by, counter-clockwise about its centre; what comes in is white, what
            leaves the page is cut off.
        noise: standard deviation of the Gaussian noise that is added, in levels of 0..255.
        specks: share of the pixels that turn black or white, half of them each.
        quality: of the JPEG file, 1..95; None for a PNG file, which loses nothing.
    """

    dpi: int
    degrees: float = 0.0
    noise: float = 0.0
    specks: float = 0.0
    quality: int | None = None


UNDAMAGED = "pdf"
KINDS: Mapping[str, Damage | None] = {
    UNDAMAGED: None,
    "scan": Damage(200),
    "skewed": Damage(200, degrees=2.0),
    "noisy": Damage(200, noise=24.0, specks=0.005, quality=20),
    "100dpi": Damage(100),
    "all": Damage(120, degrees=2.0, noise=24.0, specks=0.005, quality=20),
}
"""Kinds of pages; None is a page cut out of its PDF as it is."""

Places = Mapping[tuple[str, int], str]
"""File and 1-based page in a data set -> path of that page below another data set's folder."""


def make(dataset: Dataset, kind: str, folder: Path, most: int | None = None) -> None:
    """Make a data set of the pages of evidence of another, each a document of its own.

    Its questions, names of documents, categories and marks are those of ``dataset``; a folder that
    holds it already is left as it is.

    Args:
        dataset: documents are PDF files, or, but for `UNDAMAGED`, images.
        kind: one of `KINDS`.
        folder: of the new data set.
        most: pages that are made, the first ones by name; None for all.

    Raises:
        SystemExit: the folder holds another data set, or pages cannot be cut out of a document.
        SourceError: a document cannot be opened or drawn.
    """
    damage = KINDS[kind]
    known = {
        "questions": dataset.sha256,
        "pages": most,
        "damage": None if damage is None else asdict(damage),
    }
    made = folder / _MADE
    if made.exists():
        if json.loads(made.read_text("utf-8")) != known:
            raise SystemExit(f"{folder}: holds other pages than these; name another --work")
        return
    (folder / PAGES).mkdir(parents=True, exist_ok=True)
    wanted = sorted({(at.file, at.page) for q in dataset.questions for at in q.evidence})[:most]
    places = {
        place: f"{PAGES}/{Path(place[0]).name}-{place[1]:04d}{_suffix(damage)}" for place in wanted
    }
    sizes = {
        place: _cut(dataset.folder, place, folder / name)
        if damage is None
        else _draw(dataset.folder, place, folder / name, damage)
        for place, name in places.items()
    }
    lines = [
        json.dumps(line, ensure_ascii=False) + "\n"
        for line in _lines(dataset, places, sizes, damage)
    ]
    (folder / QUESTIONS).write_text("".join(lines), encoding="utf-8")
    made.write_text(json.dumps(known) + "\n", encoding="utf-8")


def turned(pixels: Pixels, degrees: float) -> Pixels:
    """Return a page of the same size, turned counter-clockwise about its centre, white around.

    Args:
        pixels: (H, W) uint8 gray.
        degrees: in (-90, 90).
    """
    image = Image.fromarray(pixels)
    return np.asarray(image.rotate(degrees, Image.Resampling.BICUBIC, fillcolor=_WHITE))


def turned_boxes(boxes: Doubles, degrees: float, width: float, height: float) -> Doubles:
    """Return the hulls of boxes that were turned with their page, cut off at its edges.

    Args:
        boxes: (n, 4) in the unit of ``width`` and ``height``, origin top left.
        degrees: counter-clockwise about the page's centre, as `turned` does.
        width: of the page.
        height: of the page.

    Returns:
        (n, 4) in the same unit; empty for a box that has left the page.
    """
    angle = math.radians(degrees)
    x, y = boxes[:, [0, 2, 2, 0]] - width / 2, boxes[:, [1, 1, 3, 3]] - height / 2
    # y points down, so that counter-clockwise takes what is right of the centre up.
    across = np.clip(width / 2 + x * math.cos(angle) + y * math.sin(angle), 0, width)
    down = np.clip(height / 2 - x * math.sin(angle) + y * math.cos(angle), 0, height)
    return np.stack([across.min(1), down.min(1), across.max(1), down.max(1)], axis=1)


def noisy(pixels: Pixels, noise: float, specks: float, seed: int) -> Pixels:
    """Return a page with Gaussian noise, then black and white specks of one pixel.

    Args:
        pixels: (H, W) uint8 gray.
        noise: standard deviation, in levels.
        specks: share of the pixels, in [0, 1].
        seed: the same one gives the same noise.
    """
    generator = np.random.default_rng(seed)
    levels = pixels + noise * generator.standard_normal(pixels.shape, np.float32)
    chance = generator.random(pixels.shape, np.float32)
    levels[chance < specks / 2] = 0
    levels[chance >= 1 - specks / 2] = _WHITE
    return np.clip(np.rint(levels), 0, _WHITE).astype(np.uint8)


def _suffix(damage: Damage | None) -> str:
    if damage is None:
        return ".pdf"
    return ".png" if damage.quality is None else ".jpg"


def _draw(
    folder: Path, place: tuple[str, int], target: Path, damage: Damage
) -> tuple[float, float]:
    """Draw a damaged page; return its width and height in pixels."""
    file, page = place
    with open_document(str(folder / file)) as document:
        pixels = document.render(page, float(damage.dpi), gray=True)
    if damage.degrees:
        pixels = turned(pixels, damage.degrees)
    if damage.noise or damage.specks:
        # By name, so that a page has the same noise whichever others are made.
        seed = zlib.crc32(f"{file} {page}".encode())
        pixels = noisy(pixels, damage.noise, damage.specks, seed)
    options: dict[str, Any] = {} if damage.quality is None else {"quality": damage.quality}
    Image.fromarray(pixels).save(target, dpi=(damage.dpi, damage.dpi), **options)
    height, width = pixels.shape
    return width, height


def _cut(folder: Path, place: tuple[str, int], target: Path) -> tuple[float, float]:
    """Write a page as a PDF of its own; return its width and height in points."""
    file, page = place
    path = str(folder / file)
    if media_type_of(path) != "application/pdf":
        raise SystemExit(f"{path}: is no PDF; leave {UNDAMAGED!r} out of --kinds")
    with pypdfium2.PdfDocument(path) as whole, pypdfium2.PdfDocument.new() as single:
        single.import_pages(whole, [page - 1])
        single.save(target)
    with open_document(str(target)) as document:
        shape = document.shape(1)
    return shape.width_pt, shape.height_pt


def _lines(
    dataset: Dataset,
    places: Places,
    sizes: Mapping[tuple[str, int], tuple[float, float]],
    damage: Damage | None,
) -> Iterator[dict[str, Any]]:
    """Return the lines of the new data set; docs/evaluation.md has their format."""
    for question in dataset.questions:
        for at in question.evidence:
            if (at.file, at.page) not in places:
                continue
            size = sizes[at.file, at.page]
            drawn = damage is not None
            line = {
                "qid": question.question_id,
                "query": question.query,
                "doc": question.doc,
                "image": places[at.file, at.page],
                "page": 0,
                "gt_boxes": _boxes(at, size, damage).tolist(),
                "units": "pixels_of_image" if drawn else "pdf_points_topleft_0based_page",
                "image_size" if drawn else "page_size": size,
                "category": question.category,
                "domain": question.domain,
            }
            yield line if at.clean is None else line | {"clean": at.clean}


def _boxes(at: EvidencePage, size: tuple[float, float], damage: Damage | None) -> Doubles:
    boxes = at.boxes * np.tile(size, 2)
    return boxes if damage is None else turned_boxes(boxes, damage.degrees, *size)
