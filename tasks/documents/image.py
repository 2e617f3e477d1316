"""Image files as documents, by Pillow: PNG, JPEG, WebP, and TIFF with its pages."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, TiffImagePlugin

from patchlight.tasks.common.errors import (
    CorruptSource,
    Stage,
    TooLarge,
)
from patchlight.tasks.common.limits import Limits
from patchlight.tasks.common.pageobjects import PageObjects
from patchlight.tasks.documents import imagebombs
from patchlight.tasks.documents.protocol import (
    POINTS_PER_INCH,
    OpenDocument,
    PageShape,
    Pixels,
    check_pixels,
)
from patchlight.tasks.documents.textlayer import TextLayer
from patchlight.tasks.sandbox import stagewatch

_PILLOW_FORMATS = {
    "image/png": "PNG",
    "image/jpeg": "JPEG",
    "image/tiff": "TIFF",
    "image/webp": "WEBP",
}
_DAMAGED_IMAGE = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    OverflowError,
    struct.error,
    zlib.error,
)
"""What Pillow raises for damaged bytes, by format and place of the damage."""

_BITS = {"1": 1, "L": 8, "P": 8, "LA": 16, "PA": 16, "I;16": 16, "I;16B": 16, "RGB": 24}
_MOST_BITS = 32
"""Bits of a pixel by Pillow's mode, and for all other modes."""

_DEFAULT_IMAGE_DPI = 150.0
_PLAUSIBLE_DPI = (50.0, 1200.0)


_NEW_SUBFILE, _OLD_SUBFILE = 254, 255
_NO_PAGE = 1 | 4
"""Bits of TIFF's NewSubfileType: a smaller version of another frame, a mask of one."""
_OLD_PREVIEW = 2
"""The same in SubfileType, which it replaced. Source: TIFF 6.0, section 8."""

_LIGHT = 200
"""Levels of 255 of writing that is not seen on white."""
_MOSTLY = 0.9
_CLEAR = 0.2
"""Share of an image that is transparent where it is a ground for what is not."""


class _ImageFile:
    def __init__(self, path: str, media_type: str, image: Image.Image, limits: Limits) -> None:
        self.media_type = media_type
        self._path = path
        self._limits = limits
        self._image = image
        self._last: tuple[int, Image.Image] | None = None
        # Only TIFF frames are pages; the others' frames are an animation.
        self._frames = _pages_of(image) if media_type == "image/tiff" else [0]
        self.page_count = len(self._frames)

    def _frame(self, page: int) -> Image.Image:
        """Return a page's pixels, upright; the last page is kept, as for a PDF."""
        if self._last is None or self._last[0] != page:
            stagewatch.enter(Stage.RENDER)
            place = f"{self._path}, page {page}"
            self._last = None  # it may be the very image that is moved on now
            try:
                self._image.seek(self._frames[page - 1])
                self._check_size(place)
                # Loads the frame, so that damaged data shows here; a photo is turned upright.
                self._image.load()
                turned = self._image.getexif().get(ExifTags.Base.Orientation, 1) != 1
                # A copy of a large image may be more than a page may take.
                frame = ImageOps.exif_transpose(self._image) if turned else self._image
                self._last = page, frame
            except Image.DecompressionBombError as error:
                raise _bomb(place, self._limits) from error
            except _DAMAGED_IMAGE as error:
                raise CorruptSource(
                    f"{place}: the image is damaged ({error}); save it again", Stage.RENDER
                ) from error
        return self._last[1]

    def _check_size(self, place: str) -> None:
        """Refuse a frame that is too large, before it is unpacked.

        Raises:
            TooLarge: it is.
        """
        width, height = self._image.size
        check_pixels(place, width, height, self._limits)
        unpacked = width * height * _BITS.get(self._image.mode, _MOST_BITS) // 8
        packed = Path(self._path).stat().st_size
        what = f"{place}: an image of {width:,} x {height:,} pixels"
        imagebombs.check_unpacked(unpacked, packed, self._limits, what)

    def shape(self, page: int) -> PageShape:
        frame = self._frame(page)
        across, down = _dpi_of(frame)
        return PageShape(
            frame.width * POINTS_PER_INCH / across,
            frame.height * POINTS_PER_INCH / down,
            0,
            max(across, down),
            frame.size,
        )

    def text_layer(self, page: int) -> TextLayer | None:
        return None

    def objects(self, page: int) -> PageObjects:
        return PageObjects()

    def render(self, page: int, dpi: float, *, gray: bool) -> Pixels:
        frame = _flatten(self._frame(page))
        across, down = _dpi_of(frame)
        size = (
            max(1, round(frame.width * dpi / across)),
            max(1, round(frame.height * dpi / down)),
        )
        check_pixels(f"{self._path}, page {page}", *size, self._limits)
        frame = frame.convert("L" if gray else "RGB")
        if size != frame.size:
            frame = frame.resize(size, Image.Resampling.LANCZOS)
        return np.asarray(frame)


@contextmanager
def open_image(path: str, media_type: str, limits: Limits) -> Iterator[OpenDocument]:
    """Open an image file, whose type is known by its bytes.

    Raises:
        CorruptSource: the bytes are damaged.
        TooLarge: it has too many pixels.
    """
    Image.MAX_IMAGE_PIXELS = limits.max_pixels  # Pillow refuses twice as many, unread
    try:
        image = Image.open(path, formats=[_PILLOW_FORMATS[media_type]])
    except Image.DecompressionBombError as error:
        raise _bomb(path, limits) from error
    except _DAMAGED_IMAGE as error:
        raise CorruptSource(f"{path}: the image is damaged ({error}); save it again") from error
    with image:
        try:
            document = _ImageFile(path, media_type, image, limits)
        except Image.DecompressionBombError as error:
            raise _bomb(path, limits) from error
        except _DAMAGED_IMAGE as error:  # counting the frames of a TIFF reads all their headers
            raise CorruptSource(f"{path}: the image is damaged ({error}); save it again") from error
        yield document


def _pages_of(image: Image.Image) -> list[int]:
    """The frames of a TIFF that are pages: no previews and masks, unless there is nothing else."""
    count = getattr(image, "n_frames", 1)
    pages = []
    for frame in range(count):
        image.seek(frame)
        tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
        if not (tags.get(_NEW_SUBFILE, 0) & _NO_PAGE or tags.get(_OLD_SUBFILE) == _OLD_PREVIEW):
            pages.append(frame)
    image.seek(0)
    return pages or list(range(count))


def _bomb(where: str, limits: Limits) -> TooLarge:
    return TooLarge(
        f"{where}: the image has more than the limit of {limits.max_pixels:,} pixels; scale it "
        "down, or raise PATCHLIGHT_MAX_PIXELS"
    )


def _dpi_of(image: Image.Image) -> tuple[float, float]:
    """Resolution the file states, across and down, where it is plausible; faxes have two."""
    stated = image.info.get("dpi", (0.0, 0.0))
    low, high = _PLAUSIBLE_DPI
    across, down = float(stated[0]), float(stated[1])
    if not (low <= across <= high and low <= down <= high):
        return _DEFAULT_IMAGE_DPI, _DEFAULT_IMAGE_DPI
    return (across, across) if abs(across - down) < 1 else (across, down)


def _flatten(image: Image.Image) -> Image.Image:
    """Lay a transparent image on white, as a viewer shows it; keep 16-bit gray readable.

    Light writing on a transparent ground is made for a dark one, and is laid on black.
    """
    if image.mode.startswith("I;16") or image.mode in {"I", "F"}:
        values = np.asarray(image, dtype=np.float32)
        known = np.isfinite(values)
        values = np.where(known, values, values.max(where=known, initial=0.0))
        low, high = float(values.min()), float(values.max())
        scaled = (values - low) * (255.0 / (high - low)) if high > low else values * 0 + 255.0
        flat = Image.fromarray(scaled.astype(np.uint8))
    elif "A" in image.getbands() or "transparency" in image.info:
        rgba = image.convert("RGBA")
        flat = Image.new("RGB", rgba.size, "black" if _is_light_on_clear(rgba) else "white")
        flat.paste(rgba, mask=rgba.getchannel("A"))
    else:
        return image
    flat.info["dpi"] = image.info.get("dpi", (0.0, 0.0))
    return flat


def _is_light_on_clear(rgba: Image.Image) -> bool:
    """Whether an image is light writing on a transparent ground."""
    seen = np.asarray(rgba.getchannel("A")) >= 128
    if not seen.any() or 1 - seen.mean() < _CLEAR:
        return False
    levels = np.asarray(rgba.convert("RGB").convert("L"))[seen]
    return bool((levels >= _LIGHT).mean() >= _MOSTLY)
