"""Documents and functions that hang, crash or fill the memory of whatever reads them.

The functions are for a process that can be killed; none may be called in the one that tests.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from patchlight.tasks.common.errors import Stage
from patchlight.tasks.sandbox import stagewatch
from tests.fixtures import raw_pdf

SIZE = 612, 792
"""Points of every page."""


class Pdf:
    """A PDF of hand-written objects; ``add`` returns what another object calls one by."""

    def __init__(self) -> None:
        self._objects = ["", ""]  # the catalog and the page tree come last
        self._kids: list[str] = []
        self._font = self.add("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>")

    def add(self, body: str) -> str:
        self._objects.append(body)
        return f"{len(self._objects)} 0 R"

    def stream(self, entries: str, data: str | bytes = "") -> str:
        text = data if isinstance(data, str) else data.decode("latin-1")
        return self.add(f"<< {entries} /Length {len(text)} >>\nstream\n{text}\nendstream")

    def page(self, content: str = "", resources: str = "", entries: str = "") -> None:
        self._kids.append(
            self.add(
                f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {SIZE[0]} {SIZE[1]}] {entries} "
                f"/Contents {self.stream('', content)} "
                f"/Resources << /Font << /F1 {self._font} >> {resources} >> >>"
            )
        )

    def text_page(self, text: str) -> None:
        self.page(f"BT /F1 14 Tf 72 700 Td ({text}) Tj ET")

    def save(self, path: Path, catalog: str = "") -> str:
        self._objects[0] = f"<< /Type /Catalog /Pages 2 0 R {catalog} >>"
        kids = " ".join(self._kids)
        self._objects[1] = f"<< /Type /Pages /Kids [{kids}] /Count {len(self._kids)} >>"
        path.write_bytes(raw_pdf(*self._objects))
        return str(path)


def nested_forms(pdf: Pdf, leaf: str = "0 0 m 1 1 l S", levels: int = 10) -> None:
    """A page of ten forms that hold ten forms each, and so on: opening it takes hours.

    The memory it takes grows slowly; with ``q Q`` for a leaf quickly.
    """
    form = "/Type /XObject /Subtype /Form /BBox [0 0 612 792]"
    inner = pdf.stream(form, leaf)
    for _ in range(levels - 1):
        inner = pdf.stream(f"{form} /Resources << /XObject << /F {inner} >> >>", "/F Do " * 10)
    pdf.page("/F Do", f"/XObject << /F {inner} >>")


def endless_tiles(pdf: Pdf) -> None:
    """A page filled with a pattern in steps of a thousandth of a point: drawing takes hours."""
    tile = pdf.stream(
        "/Type /Pattern /PatternType 1 /PaintType 1 /TilingType 1 /BBox [0 0 5 5] "
        "/XStep .001 /YStep .001 /Resources << >>",
        "1 0 0 rg 0 0 5 5 re f",
    )
    pdf.page("/Pattern cs /P scn 0 0 612 792 re f", f"/Pattern << /P {tile} >>")


def picture(pdf: Pdf, side: int, *, layers: int = 1, entries: str = "") -> str:
    """A black picture, side x side pixels of gray, compressed once or more often."""
    packer = zlib.compressobj(9)
    row = bytes(side)
    data = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    for _ in range(layers - 1):
        data = zlib.compress(data, 9)
    filters = "/FlateDecode " * layers
    return pdf.stream(
        f"/Type /XObject /Subtype /Image /Width {side} /Height {side} /ColorSpace /DeviceGray "
        f"/BitsPerComponent 8 /Filter [{filters}] {entries}",
        data,
    )


def picture_page(pdf: Pdf, side: int, *, layers: int = 1) -> None:
    """A page filled with one picture."""
    found = picture(pdf, side, layers=layers)
    pdf.page("612 0 0 792 0 0 cm /I Do", f"/XObject << /I {found} >>")


def masked_page(pdf: Pdf, side: int) -> None:
    """A page filled with a small picture under a huge mask: drawing it takes a byte a pixel."""
    mask = picture(pdf, side)
    found = picture(pdf, 100, entries=f"/SMask {mask}")
    pdf.page("612 0 0 792 0 0 cm /I Do", f"/XObject << /I {found} >>")


def png_bomb(path: Path, width: int, height: int, rows: int | None = None) -> str:
    """A black PNG of 24 bits a pixel; complete and small, or cut off after some rows."""
    packer = zlib.compressobj(9)
    row = bytes(1 + 3 * width)
    data = b"".join(packer.compress(row) for _ in range(rows or height)) + packer.flush()

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )
    return str(path)


def tesseract(path: Path, *lines: str) -> str:
    """A shell script in the place of Tesseract; it writes its process id to ``<path>.pids``."""
    version = '[ "$1" = --version ] && echo tesseract 5.5.0 && exit'
    path.write_text("\n".join(["#!/bin/sh", version, f"echo $$ >> '{path}.pids'", *lines, ""]))
    path.chmod(0o755)
    return str(path)


def noted(file: str) -> None:
    """Write this process's id to a file."""
    with open(file, "a", encoding="ascii") as notes:  # noqa: PTH123 - as short as it gets
        notes.write(f"{os.getpid()}\n")


def pids(file: str | Path) -> list[int]:
    """Read the process ids in a file."""
    path = Path(file)
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def abort(file: str) -> NoReturn:
    noted(file)
    os.abort()


def leave(file: str) -> NoReturn:
    noted(file)
    os._exit(3)


def sleep(file: str, seconds: float = 60) -> None:
    noted(file)
    time.sleep(seconds)


def hold(file: str, seconds: int = 60) -> None:
    """Hang in a library that does not let Python run meanwhile, so that no handler does."""
    noted(file)
    ctypes.PyDLL(None).sleep(seconds)


def hog(file: str) -> None:
    """Take memory, a little at a time, and keep it."""
    noted(file)
    kept = []
    while True:
        kept.append(b"x" * (8 << 20))
        time.sleep(0.001)


def ask_too_much(file: str) -> int:
    """Ask for more memory at once than there is room for."""
    noted(file)
    return len(bytearray(1 << 40))


def hog_in_tesseract(file: str) -> None:
    """Have another program take the memory, as Tesseract would."""
    code = "import time\nx = []\nwhile True: x.append(b'x' * (4 << 20)); time.sleep(.01)"
    with stagewatch.in_tesseract(60):
        other = subprocess.Popen([sys.executable, "-c", code])
        Path(file).write_text(f"{os.getpid()}\n{other.pid}\n")
        other.wait()


def wait_for_tesseract(file: str, seconds: float) -> None:
    """Spend time in OCR, and nowhere else."""
    noted(file)
    with stagewatch.in_tesseract(60):
        time.sleep(seconds)


def sleep_in_tesseract(file: str, timeout_s: int = 60) -> None:
    """Wait for another program that does not end, as for Tesseract."""
    with stagewatch.in_tesseract(timeout_s):
        other = subprocess.Popen(["sleep", "60"])
        Path(file).write_text(f"{os.getpid()}\n{other.pid}\n")
        other.wait()


def abort_once(file: str) -> int:
    """Die the first time, and go well the second."""
    first = not Path(file).exists()
    noted(file)
    if first:
        os.abort()
    return os.getpid()


def segfault_while_drawing() -> None:
    stagewatch.enter(Stage.RENDER)
    os.kill(os.getpid(), signal.SIGSEGV)
    time.sleep(60)


def abort_on(where: object) -> NoReturn:
    """Die over a file."""
    os.abort()


def chatter() -> int:
    """Write to both outputs, as libraries do that know of no protocol."""
    for output in (1, 2):
        os.write(output, b"\0\1\2 warning: \xff" * 10_000)
    print("and once more", flush=True)
    return os.getpid()


def array(megabytes: int) -> NDArray[np.uint8]:
    return np.arange(megabytes << 20, dtype=np.uint8)


def raise_it(error: Exception) -> NoReturn:
    raise error


class Unpicklable(Exception):
    """Cannot cross: its constructor wants what it does not keep."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def raise_unpicklable() -> NoReturn:
    raise Unpicklable(1, 2)


TEXT = "Dear Mrs Harker, the \x1b[31mpayment"
"""What stands in a document, and in the message of an error about it."""


def reveal(*_: object) -> NoReturn:
    """Stands for a fault of ours whose message has text of the document."""
    raise RuntimeError(TEXT)


def environment() -> dict[str, str]:
    return dict(os.environ)


def connect(port: int) -> None:
    import socket

    socket.create_connection(("127.0.0.1", port), timeout=5)


def look_up(name: str) -> None:
    import socket

    socket.getaddrinfo(name, 80)
