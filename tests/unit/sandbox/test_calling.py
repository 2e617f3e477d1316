"""The process that reads documents: what it survives, what it costs those around it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from patchlight.tasks.common.errors import (
    Category,
    CorruptSource,
    Fault,
    OcrDied,
    OcrFailed,
    OcrTimeout,
    OutOfMemory,
    PageTimeout,
    Stage,
    WorkerDied,
    fault_of,
)
from patchlight.tasks.common.limits import Limits
from patchlight.tasks.common.modes import LayoutMode, OcrMode
from patchlight.tasks.reading import sandboxwork
from patchlight.tasks.reading.pages import ReadOptions
from patchlight.tasks.reading.sandboxwork import Where
from patchlight.tasks.sandbox import parent
from patchlight.tasks.sandbox.calling import Sandbox
from tests import fixtures, poison

PLAIN = Limits(page_memory_mb=300)
QUICK = Limits(page_timeout_s=1)
"""For what hangs: what is well may take longer on a busy machine."""

OPTIONS = ReadOptions(
    OcrMode.NEVER, "eng", 100, "", 60, image_pixels=500_000, layout=LayoutMode.NEVER, limits=PLAIN
)


@pytest.fixture
def notes(tmp_path: Path) -> str:
    """A file for the ids of processes that a call was made in."""
    return str(tmp_path / "pids")


def gone(pid: int, within_s: float = 5) -> bool:
    """Whether a process has ended, or does so soon."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize("how", [poison.abort, poison.leave])
def test_a_crash_is_tried_once_more_in_a_fresh_process(
    sandbox: Sandbox, notes: str, how: Callable[[str], object]
) -> None:
    with pytest.raises(WorkerDied, match=r"^a\.pdf, page 3: .*opening.* died") as caught:
        sandbox.call(how, notes, label="a.pdf, page 3", limits=PLAIN)
    assert caught.value.category is Category.CRASHED and caught.value.retryable
    first, second = poison.pids(notes)
    assert first != second and gone(first) and gone(second)
    assert sandbox.call(os.getpid, label="b.pdf", limits=PLAIN) not in (first, second)


@pytest.mark.parametrize("how", [poison.sleep, poison.hold])
def test_what_hangs_is_killed_and_tried_once_more(
    sandbox: Sandbox, notes: str, how: Callable[[str], object]
) -> None:
    with pytest.raises(PageTimeout) as caught:
        sandbox.call(how, notes, label="a.pdf, page 3", limits=QUICK)
    assert fault_of(caught.value, Stage.WORDS) == Fault(
        Stage.OPEN,
        Category.TIMEOUT,
        True,
        "a.pdf, page 3: opening it took longer than 1 s and was stopped; raise "
        "PATCHLIGHT_PAGE_TIMEOUT_S, or save the file again in a simpler form",
    )
    first, second = poison.pids(notes)
    assert first != second and gone(first) and gone(second)


@pytest.mark.parametrize("how", [poison.hog, poison.ask_too_much])
def test_what_fills_the_memory_is_killed_and_tried_once_more(
    sandbox: Sandbox, notes: str, how: Callable[[str], object]
) -> None:
    with pytest.raises(OutOfMemory, match=r"300 MiB .*PATCHLIGHT_PAGE_MEMORY_MB") as caught:
        sandbox.call(how, notes, label="a.pdf, page 3", limits=PLAIN)
    assert caught.value.category is Category.OUT_OF_MEMORY and caught.value.retryable
    first, second = poison.pids(notes)
    assert first != second and gone(first) and gone(second)


def test_what_goes_well_the_second_time_is_no_failure(sandbox: Sandbox, notes: str) -> None:
    last = sandbox.call(poison.abort_once, notes, label="a.pdf", limits=PLAIN)
    assert len(poison.pids(notes)) == 2 and poison.pids(notes)[-1] == last


def test_the_error_says_at_which_stage_the_process_died(sandbox: Sandbox) -> None:
    with pytest.raises(WorkerDied) as caught:
        sandbox.call(poison.segfault_while_drawing, label="a.pdf", limits=PLAIN)
    assert caught.value.stage is Stage.RENDER and "SIGSEGV" in str(caught.value)


def test_one_process_serves_many_calls(sandbox: Sandbox) -> None:
    served = {sandbox.call(os.getpid, label="a.pdf", limits=PLAIN) for _ in range(20)}
    assert len(served) == 1 and os.getpid() not in served


def test_calls_from_many_threads_wait_for_each_other(sandbox: Sandbox) -> None:
    answers: list[int] = []

    def ask(number: int) -> None:
        answers.append(sandbox.call(abs, -number, label="a.pdf", limits=PLAIN))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == list(range(20))


def test_a_process_outlives_the_thread_that_first_needed_it(sandbox: Sandbox) -> None:
    """The kernel would end it with the thread that started it."""
    served: list[int] = []

    def ask() -> None:
        served.append(sandbox.call(os.getpid, label="a.pdf", limits=PLAIN))

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    time.sleep(0.1)
    ask()
    assert served[0] == served[1]


def test_a_process_that_has_grown_is_replaced_between_calls(sandbox: Sandbox) -> None:
    """So that no page pays for what was read before it."""
    first = sandbox.call(os.getpid, label="a.pdf", limits=PLAIN)
    assert sandbox.call(os.getpid, label="a.pdf", limits=replace(PLAIN, page_memory_mb=40)) != first


def test_without_a_sandbox_calls_are_made_here() -> None:
    sandbox, here = Sandbox(), replace(PLAIN, sandbox=False)
    assert sandbox.call(os.getpid, label="a.pdf", limits=here) == os.getpid()
    assert sandbox.pid() is None


def test_noise_on_the_outputs_does_not_reach_the_answers(
    sandbox: Sandbox, capfd: pytest.CaptureFixture[str]
) -> None:
    pid = sandbox.call(poison.chatter, label="a.pdf", limits=PLAIN)
    assert sandbox.call(os.getpid, label="a.pdf", limits=PLAIN) == pid
    assert capfd.readouterr() == ("", "")


def test_large_results_come_back_whole(sandbox: Sandbox) -> None:
    array = sandbox.call(poison.array, 64, label="a.pdf", limits=PLAIN)
    assert np.array_equal(array, poison.array(64))


def test_exceptions_keep_their_type(sandbox: Sandbox) -> None:
    error = CorruptSource("a.pdf: damaged", Stage.RENDER)
    with pytest.raises(CorruptSource, match=r"a\.pdf: damaged") as caught:
        sandbox.call(poison.raise_it, error, label="a.pdf", limits=PLAIN)
    assert caught.value.stage is Stage.RENDER
    pid = sandbox.pid()
    with pytest.raises(KeyError, match="a key"):
        sandbox.call(poison.raise_it, KeyError("a key"), label="a.pdf", limits=PLAIN)
    with pytest.raises(RuntimeError, match="Unpicklable: 1 and 2"):
        sandbox.call(poison.raise_unpicklable, label="a.pdf", limits=PLAIN)
    assert sandbox.pid() == pid, "an exception is no reason for another process"


def test_temporary_files_go_with_tesseract_or_with_the_process(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """Pytesseract leaves its pictures behind when it is killed."""
    seen = tmp_path / "seen"
    note = f"dirname $2 >> '{seen}'; ls -ld $(dirname $2) >> '{seen}'; ls $1* >> '{seen}'"
    path = fixtures.make_pdf(tmp_path / "a.pdf", fixtures.prose)
    for name, end, error in (("a", "exit 1", OcrFailed), ("b", "kill -SEGV $PPID", WorkerDied)):
        program = poison.tesseract(tmp_path / name, note, end)
        with pytest.raises(error):
            read(sandbox, path, replace(OPTIONS, ocr=OcrMode.ALWAYS, tesseract=program))
    folders = seen.read_text().splitlines()[::3]
    assert len(folders) == 3 and all("patchlight-" in folder for folder in folders)
    assert all(line.startswith("drwx------") for line in seen.read_text().splitlines()[1::3])
    assert not any(Path(folder).exists() for folder in folders)


def test_an_idle_process_has_no_folder(sandbox: Sandbox) -> None:
    """Ray kills the processes of a worker that ends, and nobody is left to remove one."""
    folder = sandbox.call(poison.environment, label="a.pdf", limits=PLAIN)["TMPDIR"]
    assert not Path(folder).exists()


def test_what_is_set_for_the_process_does_not_reach_tesseract(sandbox: Sandbox) -> None:
    there = sandbox.call(poison.environment, label="a.pdf", limits=PLAIN)
    assert not set(parent.MALLOC) & set(there)
    assert (there["OMP_NUM_THREADS"], there["PATH"]) == ("1", os.environ["PATH"])


PARENT = """
import sys, threading
from patchlight.tasks.common.limits import Limits
from patchlight.tasks.sandbox.calling import Sandbox
from tests import poison
sandbox, limits = Sandbox(), Limits()
folder = sandbox.call(poison.environment, label="a", limits=limits)["TMPDIR"]
print(sandbox.pid(), folder, flush=True)
if sys.argv[1] != "idle":
    sandbox.call(getattr(poison, sys.argv[1]), sys.argv[2], label="a", limits=limits)
sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("doing", "end"),
    [
        ("idle", None),
        ("idle", signal.SIGKILL),
        ("sleep", signal.SIGKILL),
        ("hold", signal.SIGKILL),
        ("sleep_in_tesseract", signal.SIGKILL),
    ],
)
def test_nothing_outlives_the_parent(notes: str, doing: str, end: signal.Signals | None) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, doing, notes],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout and parent.stdin
    child, folder = parent.stdout.readline().split()
    expected = {"idle": 0, "sleep_in_tesseract": 2}.get(doing, 1)
    while len(poison.pids(notes)) < expected:
        time.sleep(0.01)
    time.sleep(0.05)
    if end is None:
        parent.stdin.close()
    else:
        parent.send_signal(end)
    parent.wait(timeout=10)
    assert all(gone(pid) for pid in [int(child), *poison.pids(notes)])
    assert not Path(folder).exists()
    parent.stdout.close()
    parent.stdin.close()


def test_ocr_has_a_time_limit_of_its_own(sandbox: Sandbox, notes: str) -> None:
    """A page may be longer in Tesseract than in PDFium."""
    sandbox.call(os.getpid, label="a.pdf", limits=PLAIN)
    sandbox.call(poison.wait_for_tesseract, notes, 1.5, label="a.pdf", limits=QUICK)
    assert len(poison.pids(notes)) == 1


def test_that_tesseract_fails_is_no_reason_to_try_again(sandbox: Sandbox, tmp_path: Path) -> None:
    failing = poison.tesseract(tmp_path / "tesseract", "exit 1")
    path = fixtures.make_pdf(tmp_path / "a.pdf", fixtures.prose)
    with pytest.raises(OcrFailed):
        read(sandbox, path, replace(OPTIONS, ocr=OcrMode.ALWAYS, tesseract=failing))
    assert len(poison.pids(failing + ".pids")) == 1


def read(sandbox: Sandbox, path: str, options: ReadOptions) -> object:
    where = Where(path, None, options.limits)
    args = where, "d", 1, options, "a.pdf"
    return sandbox.call(sandboxwork.read_page, *args, label="a.pdf, page 1", limits=options.limits)


@pytest.mark.parametrize(
    ("script", "error", "message"),
    [
        ("kill -SEGV $$", OcrDied, "signal 11"),
        ("exec sleep 60", OcrTimeout, "PATCHLIGHT_OCR_TIMEOUT_S"),
        ("echo std::bad_alloc >&2; kill -ABRT $$", OutOfMemory, "PATCHLIGHT_PAGE_MEMORY_MB"),
    ],
)
def test_the_death_of_tesseract_is_tried_once_more_in_a_fresh_process(
    sandbox: Sandbox, tmp_path: Path, script: str, error: type[Exception], message: str
) -> None:
    parents = f"echo $PPID >> '{tmp_path}/parents'"
    dying = poison.tesseract(tmp_path / "tesseract", parents, script)
    path = fixtures.make_pdf(tmp_path / "a.pdf", fixtures.prose)
    options = replace(OPTIONS, ocr=OcrMode.ALWAYS, tesseract=dying, ocr_timeout_s=1)
    with pytest.raises(error, match=rf"a\.pdf, page 1: Tesseract.*{message}"):
        read(sandbox, path, options)
    assert len(poison.pids(dying + ".pids")) == 2
    assert len(set(poison.pids(tmp_path / "parents"))) == 2
    assert all(gone(pid) for pid in poison.pids(dying + ".pids"))


def test_a_tesseract_that_cannot_be_ended_is_ended_with_its_group(
    sandbox: Sandbox, notes: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parent, "_OCR_GRACE_S", 0)
    with pytest.raises(OcrTimeout, match="PATCHLIGHT_OCR_TIMEOUT_S"):
        sandbox.call(poison.sleep_in_tesseract, notes, 1, label="a.pdf", limits=PLAIN)
    assert all(gone(pid) for pid in poison.pids(notes))


def test_the_memory_of_tesseract_counts(sandbox: Sandbox, notes: str) -> None:
    with pytest.raises(OutOfMemory, match=r"a\.pdf: Tesseract took more than 300 MiB"):
        sandbox.call(poison.hog_in_tesseract, notes, label="a.pdf", limits=PLAIN)
    assert all(gone(pid) for pid in poison.pids(notes))
