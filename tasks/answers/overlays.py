"""Pictures of returned pages: the page, drawn again from its source, heat map and boxes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from patchlight.storage.records import FloatArray
from patchlight.tasks.answers.results import whole_file
from patchlight.tasks.common.errors import PictureError, SourceError
from patchlight.tasks.common.limits import Limits
from patchlight.tasks.common.settings import load_settings
from patchlight.tasks.documents.sources import sha256_of
from patchlight.tasks.kernels import geometry
from patchlight.tasks.reading import sandboxwork
from patchlight.tasks.reading.sandboxwork import Where
from patchlight.tasks.sandbox import calling

_DPI = 110
_MOST_PIXELS_A_SIDE = 2400
_HEAT_ALPHA = 0.55
_BEST, _OTHER, _TRUE = (200, 30, 30), (30, 90, 200), (0, 140, 60)
_LONGEST_CAPTION = 400
_LINE = 20
"""Height of a line of the caption above the page, pixels."""


@dataclass(frozen=True, slots=True)
class Overlay:
    """One picture to draw.

    Attributes:
        page: 1-based number.
        rows, cols: the page's patch grid.
        cell_scores: (rows * cols,) float32, the heat.
        boxes: returned regions, best first; fractions of the page.
        caption: first line: what was asked; second line: where this is.
        out: path of the PNG.
        notes: on each box, best first, what is to be said of it; none, or one a box.
        truth: boxes that should have been returned, where that is known; drawn in green.
    """

    page: int
    rows: int
    cols: int
    cell_scores: FloatArray
    boxes: tuple[tuple[float, float, float, float], ...]
    caption: tuple[str, str]
    out: str
    notes: tuple[str, ...] = ()
    truth: tuple[tuple[float, float, float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class DocumentOverlays:
    """All pictures of one document, so that it is checked and opened once.

    Attributes:
        doc_id: SHA-256 that the source must still have.
        paths: where it was found; the first that still fits is used.
        overlays: the pictures.
        password: for an encrypted PDF; never shown.
    """

    doc_id: str
    paths: tuple[str, ...]
    overlays: tuple[Overlay, ...]
    password: str | None = field(default=None, repr=False)


def draw(document: DocumentOverlays, limits: Limits | None = None) -> dict[str, str]:
    """Draw a document's pictures.

    Args:
        document: the document and its pictures.
        limits: what reading it may take; None for what this process's settings say.

    Returns:
        Path of a picture that could not be drawn -> why; empty if all were.
    """
    limits = limits or Limits.of(load_settings())
    try:
        where = Where(_unchanged(document), document.password, limits)
        problems: dict[str, str] = {}
        for overlay in document.overlays:
            try:
                picture = compose(_page(where, overlay.page), overlay)
                Path(overlay.out).parent.mkdir(parents=True, exist_ok=True)
                with whole_file(Path(overlay.out)) as part:
                    picture.save(part, format="PNG")
            except (SourceError, OSError) as error:
                problems[overlay.out] = str(error)
            except Exception as error:  # one picture must not take the others with it
                problems[overlay.out] = f"{type(error).__name__}: {error}"
        return problems
    except (SourceError, PictureError) as error:
        return {overlay.out: str(error) for overlay in document.overlays}


def compose(page: NDArray[np.uint8], overlay: Overlay) -> Image.Image:
    """Lay heat map, boxes and caption over a page.

    Args:
        page: (H, W, 3) uint8 RGB.
        overlay: what to show.
    """
    height, width = page.shape[:2]
    heat = _heat(overlay.cell_scores, overlay.rows, overlay.cols, width, height)
    picture = Image.fromarray(page).convert("RGB")
    picture.paste(Image.new("RGB", picture.size, (255, 140, 0)), mask=heat)
    pen = ImageDraw.Draw(picture)
    if overlay.truth:
        for x0, y0, x1, y1 in geometry.box_pixels(np.array(overlay.truth), width, height).tolist():
            pen.rectangle([x0 - 6, y0 - 6, x1 + 6, y1 + 6], outline=_TRUE, width=4)
    if overlay.boxes:
        corners = geometry.box_pixels(np.array(overlay.boxes), width, height)
        label = ImageFont.load_default(size=max(14, height // 70))
        for rank in range(len(corners), 0, -1):
            x0, y0, x1, y1 = (int(v) for v in corners[rank - 1])
            colour = _BEST if rank == 1 else _OTHER
            pen.rectangle([x0 - 2, y0 - 2, x1 + 2, y1 + 2], outline=colour, width=3)
            tag = pen.textbbox((x0, y0), str(rank), font=label)
            wide, high = tag[2] - tag[0] + 8, tag[3] - tag[1] + 8
            corner = (max(0, x0 - 2 - wide), max(0, y0 - 2))
            pen.rectangle([*corner, corner[0] + wide, corner[1] + high], fill=colour)
            pen.text(
                (corner[0] + wide / 2, corner[1] + high / 2),
                str(rank),
                fill="white",
                font=label,
                anchor="mm",
            )
    return _with_caption(picture, overlay)


def _page(where: Where, page: int) -> NDArray[np.uint8]:
    """Draw a page in a process that can be killed."""
    args = where, page, _DPI, _MOST_PIXELS_A_SIDE
    label = f"{where.path}, page {page}"
    return calling.call(sandboxwork.draw_page, *args, label=label, limits=where.limits)


def _heat(scores: FloatArray, rows: int, cols: int, width: int, height: int) -> Image.Image:
    """Alpha mask of the heat: the page's own level is clear, its best cells are strong."""
    low = float(np.median(scores))
    high = float(scores.max())
    share = np.clip((scores - low) / (high - low), 0, 1) if high > low else np.zeros_like(scores)
    alpha = (255 * _HEAT_ALPHA * share**2).astype(np.uint8).reshape(rows, cols)
    return Image.fromarray(alpha).resize((width, height), Image.Resampling.BOX)


def _with_caption(picture: Image.Image, overlay: Overlay) -> Image.Image:
    lines: list[tuple[str, str | tuple[int, int, int]]] = [
        *zip(overlay.caption, ("black", "dimgray"), strict=True),
        *(
            (f"{rank}  {note}", _BEST if rank == 1 else _OTHER)
            for rank, note in enumerate(overlay.notes, 1)
        ),
    ]
    band = _LINE * len(lines) + 6
    framed = Image.new("RGB", (picture.width, picture.height + band), "white")
    framed.paste(picture, (0, band))
    pen = ImageDraw.Draw(framed)
    font = ImageFont.load_default(size=15)
    for line, (text, colour) in enumerate(lines):
        shown = "".join(c if c.isprintable() else " " for c in text[:_LONGEST_CAPTION])
        cut = len(text) > _LONGEST_CAPTION
        while shown and pen.textlength(shown + "…" * cut, font=font) > picture.width - 16:
            shown, cut = shown[:-1], True
        shown += "…" * cut
        pen.text((8, 4 + _LINE * line), shown, fill=colour, font=font)
    pen.line([(0, band - 1), (framed.width, band - 1)], fill="lightgray")
    return framed


def _unchanged(document: DocumentOverlays) -> str:
    """Return a path that still holds the document's bytes."""
    problem = "there is no source"
    for path in document.paths:
        try:
            if sha256_of(path)[0] == document.doc_id:
                return path
            problem = f"{path}: has changed since it was ingested; ingest it again"
        except SourceError as error:
            problem = str(error)
    raise PictureError(problem)
