"""Documents that are read in the process for it, by the functions that workers call."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import numpy as np
import psutil
import pytest
from reportlab.pdfgen.canvas import Canvas

from patchlight.storage.records import Source
from patchlight.tasks.cluster import work
from patchlight.tasks.common.errors import (
    Category,
    Stage,
)
from patchlight.tasks.common.limits import Limits
from patchlight.tasks.common.modes import LayoutMode, OcrMode
from patchlight.tasks.documents import ocr
from patchlight.tasks.documents.sources import SourceFile, to_uri
from patchlight.tasks.reading import messages, sandboxwork
from patchlight.tasks.reading.pages import ReadOptions
from patchlight.tasks.reading.sandboxwork import Where
from patchlight.tasks.reading.shardplan import InspectedFile, Shard, ShardPart
from patchlight.tasks.sandbox.calling import Sandbox
from tests import fixtures, poison
from tests.poison import Pdf

PLAIN = Limits(page_memory_mb=300)

LIMITS = {
    Category.TIMEOUT: Limits(page_timeout_s=2, page_memory_mb=16_384),
    Category.OUT_OF_MEMORY: Limits(page_memory_mb=200),
}
"""By what a page must run into; so low only there that no busy machine makes it the other."""

OPTIONS = ReadOptions(
    OcrMode.NEVER, "eng", 100, "", 60, image_pixels=500_000, layout=LayoutMode.NEVER, limits=PLAIN
)


def inspected(path: str, pages: int, password: str | None = None) -> InspectedFile:
    file = SourceFile(Source(to_uri(path), Path(path).name), path)
    found = work.inspect_file(file, password, PLAIN)
    assert isinstance(found, InspectedFile), found
    assert found.page_count == pages
    return found


def shard_of(path: str, pages: int) -> Shard:
    return Shard(0, (ShardPart(inspected(path, pages), tuple(range(1, pages + 1))),))


def with_poison(path: Path, poisoned: str, pages: int = 5) -> str:
    """A document of text pages, and one that is poison in their middle."""
    pdf = Pdf()
    for page in range(1, pages + 1):
        if page != pages // 2 + 1:
            pdf.text_page(f"Page {page}")
        elif poisoned == "time to open":
            poison.nested_forms(pdf)
        elif poisoned == "memory to open":
            poison.nested_forms(pdf, leaf="q Q " * 20)
        elif poisoned == "time to draw":
            poison.endless_tiles(pdf)
        elif poisoned == "memory to draw":
            poison.masked_page(pdf, 16_000)
    return pdf.save(path)


@pytest.mark.parametrize(
    ("poisoned", "category", "stage"),
    [
        ("time to open", Category.TIMEOUT, Stage.OPEN),
        ("memory to open", Category.OUT_OF_MEMORY, Stage.OPEN),
    ],
)
def test_one_poisoned_page_of_many_is_one_fault(
    tmp_path: Path, poisoned: str, category: Category, stage: Stage
) -> None:
    shard = shard_of(with_poison(tmp_path / "a.pdf", poisoned, pages=60), 60)
    result = work.read_shard(shard, replace(OPTIONS, limits=LIMITS[category]))
    assert [page.page for page in result.pages] == [*range(1, 31), *range(32, 61)]
    assert all(page.regions.texts[1] == str(page.page) for page in result.pages)
    [(doc_id, page)] = result.faults
    assert page == 31
    fault = result.faults[doc_id, page]
    assert (fault.category, fault.stage, fault.retryable) == (category, stage, True)
    assert fault.message.startswith("a.pdf, page 31: ")


@pytest.mark.parametrize(
    ("poisoned", "category"),
    [("time to draw", Category.TIMEOUT), ("memory to draw", Category.OUT_OF_MEMORY)],
)
def test_a_page_that_cannot_be_drawn_can_be_read(
    tmp_path: Path, poisoned: str, category: Category
) -> None:
    """And the pages beside it are drawn."""
    shard = shard_of(with_poison(tmp_path / "a.pdf", poisoned), 5)
    assert len(work.read_shard(shard, OPTIONS).pages) == 5
    drawn = work.render_shard(shard, replace(OPTIONS, limits=LIMITS[category]))
    assert [page for _, page in drawn.pages] == [1, 2, 4, 5]
    [fault] = drawn.faults.values()
    assert (fault.category, fault.stage) == (category, Stage.RENDER)


def test_the_layout_model_does_without_a_page_that_cannot_be_drawn(tmp_path: Path) -> None:
    pdf = Pdf()
    for page in range(1, 6):
        if page == 3:
            found = poison.picture(pdf, 30_000)
            pdf.page("612 0 0 792 0 0 cm /I Do", f"/XObject << /I {found} >>")
        else:
            pdf.text_page(f"Page {page}")
    shard = shard_of(pdf.save(tmp_path / "a.pdf"), 5)
    options = replace(OPTIONS, layout=LayoutMode.AUTO, limits=Limits(page_memory_mb=450))
    made = {page.page: page.regions_made for page in work.read_shard(shard, options).pages}
    assert [page for page in made if "not drawn" in made[page]] == [3] and len(made) == 5


def test_a_file_that_kills_what_opens_it_is_a_fault_of_opening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = fixtures.make_pdf(tmp_path / "a.pdf", fixtures.prose)
    monkeypatch.setattr(sandboxwork, "inspect", poison.abort_on)
    file = SourceFile(Source(to_uri(path), "a.pdf"), path)
    found = work.inspect_file(file, None, PLAIN)
    assert isinstance(found, messages.InspectionFault)
    assert found.fault.stage is Stage.OPEN and found.fault.category is Category.CRASHED
    assert found.fault.message.startswith("a.pdf: ") and len(found.doc_id) == 64


def test_pages_are_read_the_same_inside_and_outside(tmp_path: Path) -> None:
    def draw(canvas: Canvas) -> None:
        fixtures.prose(canvas)
        canvas.showPage()
        fixtures.draw_image(canvas, fixtures.scan(["Plain scan"]), (0, 0, 612, 792))

    shard = shard_of(fixtures.make_pdf(tmp_path / "a.pdf", draw), 2)
    inside = replace(
        OPTIONS,
        ocr=OcrMode.AUTO,
        tesseract=ocr.find_tesseract(None),
        limits=Limits(),
    )
    outside = replace(inside, limits=Limits(sandbox=False))
    read = [work.read_shard(shard, how) for how in (inside, outside)]
    untimed = [
        replace(one, pages=tuple(replace(p, words_ms=None, regions_ms=None) for p in one.pages))
        for one in read
    ]
    assert untimed[0] == untimed[1]
    assert all(p.words_ms and p.regions_ms for one in read for p in one.pages)
    here, there = work.render_shard(shard, inside), work.render_shard(shard, outside)
    assert here.labels == there.labels and list(here.pages) == list(there.pages)
    for key in here.pages:
        one, other = here.pages[key].image, there.pages[key].image
        assert one is not None and other is not None and np.array_equal(one, other)


def test_a_file_that_changes_between_two_pages_is_opened_anew(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    path = fixtures.make_text_pdf(tmp_path / "a.pdf", ["One"])
    assert sandbox.call(sandboxwork.inspect, Where(path), label="a", limits=PLAIN).page_count == 1
    fixtures.make_text_pdf(tmp_path / "a.pdf", ["One", "Two"])
    assert sandbox.call(sandboxwork.inspect, Where(path), label="a", limits=PLAIN).page_count == 2


def test_passwords_are_shown_nowhere(tmp_path: Path) -> None:
    path = fixtures.make_pdf(tmp_path / "a.pdf", fixtures.prose, password="harbour-7")
    file = inspected(path, 1, "harbour-7")
    sandbox = Sandbox()
    where = Where(path, "harbour-7", PLAIN)
    assert sandbox.call(sandboxwork.inspect, where, label="a.pdf", limits=PLAIN).page_count == 1
    process = psutil.Process(sandbox.pid())
    shown = [repr(where), repr(file), *process.cmdline(), *process.environ().values()]
    sandbox.close()
    assert not any("harbour-7" in text for text in shown)


class Visits(BaseHTTPRequestHandler):
    """Notes that somebody came."""

    seen: ClassVar[list[str]] = []

    def handle(self) -> None:
        self.seen.append(str(self.client_address))


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    Visits.seen.clear()
    server = HTTPServer(("127.0.0.1", 0), Visits)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def calling_home(path: Path, url: str) -> str:
    """A PDF that refers to a server wherever the format allows it, and in all its actions."""
    pdf = Pdf()
    file = f"<< /Type /Filespec /FS /URL /F ({url}/file.pdf) >>"
    actions = [
        f"<< /S /URI /URI ({url}/uri) >>",
        f"<< /S /GoToR /F {file} /D [0 /Fit] >>",
        f"<< /S /GoToE /F {file} /D [0 /Fit] >>",
        f"<< /S /Launch /F {file} >>",
        f"<< /S /ImportData /F {file} >>",
        f"<< /S /SubmitForm /F {file} /Flags 4 >>",
        f"<< /S /JavaScript /JS (this.submitForm\\('{url}/s'\\);) >>",
    ]
    annotations = " ".join(
        pdf.add(f"<< /Type /Annot /Subtype /Link /Rect [0 0 612 792] /A {a} /AA << /PO {a} >> >>")
        for a in actions
    )
    external = pdf.stream(
        "/Type /XObject /Subtype /Image /Width 8 /Height 8 /ColorSpace /DeviceGray "
        f"/BitsPerComponent 8 /F {file}"
    )
    other = pdf.stream(
        f"/Type /XObject /Subtype /Form /BBox [0 0 9 9] /Ref << /F {file} /Page 0 >>",
        "0 0 9 9 re f",
    )
    profile = f"/F {file}"
    icc = pdf.stream(f"/N 3 {profile}")
    xfa = pdf.stream(
        "",
        "<xdp:xdp xmlns:xdp='http://ns.adobe.com/xdp/'><template><subform><event "
        f"activity='initialize'><submit target='{url}/xfa'/></event></subform></template>"
        "</xdp:xdp>",
    )
    # The first page asks for everything as it is opened.
    opened = " ".join(f"/{name} {a}" for name, a in zip(("O", "C"), actions[5:], strict=True))
    pdf.page(
        "q 100 0 0 100 0 0 cm /I Do Q /G Do /C cs 1 0 0 scn 0 0 9 9 re f BT (Hello) Tj ET",
        f"/XObject << /I {external} /G {other} >> /ColorSpace << /C [/ICCBased {icc}] >>",
        f"/Annots [{annotations}] /AA << {opened} >>",
    )
    catalog = f"/OpenAction {actions[6]} /URI << /Base ({url}/base) >> /AcroForm << /XFA {xfa} >>"
    return pdf.save(path, catalog)


def test_a_document_reaches_no_server(tmp_path: Path, server: HTTPServer) -> None:
    url = f"http://127.0.0.1:{server.server_address[1]}"
    shard = shard_of(calling_home(tmp_path / "a.pdf", url), 1)
    options = replace(OPTIONS, ocr=OcrMode.ALWAYS, tesseract=ocr.find_tesseract(None))
    assert len(work.read_shard(shard, options).pages) == 1
    assert len(work.render_shard(shard, options).pages) == 1
    time.sleep(0.1)
    assert Visits.seen == []


def test_what_reads_documents_opens_no_connection(sandbox: Sandbox, server: HTTPServer) -> None:
    port = server.server_address[1]
    with pytest.raises(PermissionError, match="may open no connections"):
        sandbox.call(poison.connect, port, label="a.pdf", limits=PLAIN)
    with pytest.raises(PermissionError, match="getaddrinfo"):
        sandbox.call(poison.look_up, "example.com", label="a.pdf", limits=PLAIN)
    assert Visits.seen == []
