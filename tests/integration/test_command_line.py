"""The command line: exit codes, what goes to stdout, and what is not started for it."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from patchlight.storage.database import Database
from patchlight.storage.errors import ExitCode
from tests.integration.conftest import EXAMPLES, run
from tests.storage_examples import ENCODER

SAMPLES = str(EXAMPLES / "documents")


def test_ingest_again_says_that_nothing_is_to_do(
    sample_db: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("ingest", str(EXAMPLES / "documents"), "--db", sample_db) == ExitCode.OK
    printed = capsys.readouterr().out
    assert "nothing to do" in printed
    assert "pages already there      13" in printed


def test_failures_give_their_code_and_are_told(
    engines: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    db = str(tmp_path / "db")
    (tmp_path / "bad.pdf").write_text("text")
    shutil.copy(EXAMPLES / "documents" / "two-column-paper.pdf", tmp_path / "good.pdf")
    assert run("ingest", str(tmp_path / "bad.pdf"), "--db", db) == ExitCode.BAD_INPUT
    assert run("ingest", str(tmp_path), "--db", db, "--json") == ExitCode.DONE_WITH_FAILURES
    printed = capsys.readouterr().out
    report = json.loads(printed[printed.index("{") :])
    assert report["documents_added"] == 1 and "bad.pdf" in report["failures"][0]
    assert run("status", "--db", db) == ExitCode.OK
    printed = capsys.readouterr().out
    assert "1 complete" in printed and "corrupt" in printed and "schema version" in printed


def test_query_codes(engines: None, sample_db: str, tmp_path: Path) -> None:
    good = '{"query_id": "a", "query": "harbour"}\n'
    out = str(tmp_path / "out")

    def query(text: str, name: str = "q.jsonl", *more: str) -> int:
        (tmp_path / name).write_text(text)
        return run("query", str(tmp_path / name), "--db", sample_db, "--out", out, *more)

    assert query(good) == ExitCode.OK
    assert query(good + "not json\n") == ExitCode.DONE_WITH_FAILURES
    before = (Path(out) / "summary.json").read_text()
    assert query("not json\n") == ExitCode.BAD_INPUT
    assert (Path(out) / "summary.json").read_text() == before  # files change only on success
    assert query("") == ExitCode.BAD_INPUT
    assert query("qid,query\n1,harbour\n", "q.csv") == ExitCode.BAD_INPUT
    assert query('query_id,query,pages\n1,harbour,"1, 2"\n', "r.csv") == ExitCode.OK
    assert query(good, "q.txt") == ExitCode.BAD_INPUT
    assert query(good, "q.jsonl", "--select", "best") == ExitCode.USAGE
    assert query(good, "q.jsonl", "--top-pages", "0") == ExitCode.USAGE
    assert query(good, "q.jsonl", "--region-tokens", "some") == ExitCode.USAGE
    assert query(good, "q.jsonl", "--where", "colour = 'red'") == ExitCode.USAGE


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["ingest", "nowhere", "--db", "new"], ExitCode.BAD_INPUT),
        (["ingest", SAMPLES, "--db", "new", "--encoder", "none-such"], ExitCode.USAGE),
        (["ingest", SAMPLES, "--db", "new", "--lang", "xx"], ExitCode.USAGE),
        (["ingest", ".", "--db", "new"], ExitCode.BAD_INPUT),
        (["ingest", "--colour"], ExitCode.USAGE),
        (["query", "nowhere.jsonl", "--db", "new", "--out", "out"], ExitCode.BAD_INPUT),
        (["query", "nowhere.jsonl", "--db", "new", "--out", "s3://bucket/out"], ExitCode.USAGE),
        (["ask", "where?", "--db", "nowhere"], ExitCode.DATABASE),
        (["status", "--db", "nowhere"], ExitCode.DATABASE),
        (["sql", "SELECT 1", "--db", "nowhere"], ExitCode.DATABASE),
        (["ask", "where?"], ExitCode.USAGE),
        (["ask", "where\udce9?", "--db", "nowhere"], ExitCode.USAGE),
        (["ingest", SAMPLES, "--db", "new\udce9"], ExitCode.USAGE),
        (["retry", "--db", "nowhere"], ExitCode.DATABASE),
        (["evaluate", "nowhere", "--db", "new", "--out", "out"], ExitCode.BAD_INPUT),
        (["evaluate", SAMPLES, "--db", "new", "--out", "out"], ExitCode.BAD_INPUT),
        (
            ["evaluate", SAMPLES, "--db", "new", "--out", "out", "--setting", "a=--kind b"],
            ExitCode.USAGE,
        ),
        (["failures", "--db", "nowhere", "--category", "none"], ExitCode.USAGE),
        (["delete", "a.pdf", "--db", "nowhere", "--yes"], ExitCode.DATABASE),
        (["dance"], ExitCode.USAGE),
    ],
    ids=lambda value: (
        value.name if isinstance(value, ExitCode) else " ".join(value[:1] + value[2:])
    ),
)
def test_mistakes_are_told_before_any_engine_starts(
    arguments: list[str], code: ExitCode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PATCHLIGHT_DB", raising=False)
    assert run(*arguments) == code
    assert not (tmp_path / "new").exists()


def test_a_database_of_another_encoder_is_refused(tmp_path: Path) -> None:
    from patchlight.storage.records import EncoderIdentity

    Database.create_or_open(tmp_path / "db", EncoderIdentity("other", "abc", 8))
    arguments = ("--db", str(tmp_path / "db"))
    documents = str(EXAMPLES / "documents")
    assert run("ingest", documents, *arguments, "--encoder", "text-patch") == ExitCode.DATABASE
    assert run("ingest", documents, *arguments) == ExitCode.USAGE  # there is no encoder 'other'


def test_sql_prints_rows_and_cannot_write(
    sample_db: str, capsys: pytest.CaptureFixture[str]
) -> None:
    select = "SELECT page_count FROM documents ORDER BY page_count"
    rows = [{"page_count": n} for n in (2, 3, 8)]
    assert run("sql", select, "--db", sample_db, "--format", "jsonl") == ExitCode.OK
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == rows
    assert run("sql", select, "--db", sample_db, "--format", "json") == ExitCode.OK
    assert json.loads(capsys.readouterr().out) == rows
    assert run("sql", select, "--db", sample_db, "--format", "csv") == ExitCode.OK
    assert capsys.readouterr().out.splitlines() == ["page_count", "2", "3", "8"]
    assert run("sql", "DROP TABLE pages", "--db", sample_db) == ExitCode.USAGE
    assert run("sql", select, "--db", sample_db) == ExitCode.OK


def test_sql_comes_from_a_file_or_stdin(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    db = Database.create_or_open(tmp_path / "db", ENCODER).uri
    file = tmp_path / "q.sql"
    file.write_text("-- two; in order\nSELECT ';' AS a;\nSELECT 2 AS b;\n")
    assert run("sql", "--file", str(file), "--db", db) == ExitCode.OK
    assert capsys.readouterr().out == "a\n─\n;\n\nb\n─\n2\n"
    file.write_text("SELECT 1 AS a; SELECT nope; SELECT 3")
    assert run("sql", "--file", str(file), "--db", db) == ExitCode.USAGE
    printed = capsys.readouterr()
    assert printed.out.startswith("a\n─\n1\n") and "statement 2 of 3: 'SELECT nope'" in printed.err
    assert run("sql", "--file", str(file), "--db", db, "--format", "csv") == ExitCode.USAGE
    assert "3 statements: csv holds the rows of one" in capsys.readouterr().err
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"SELECT 4 AS d;")))
    assert run("sql", "-", "--db", db, "--format", "csv") == ExitCode.OK
    assert capsys.readouterr().out.splitlines() == ["d", "4"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], ExitCode.USAGE, "one of them"),
        (["SELECT 1", "--file", "q.sql"], ExitCode.USAGE, "one of them"),
        ([" ; "], ExitCode.USAGE, "no SQL statement"),
        (["--file", "nowhere.sql"], ExitCode.BAD_INPUT, "nowhere.sql"),
        (["--file", "."], ExitCode.BAD_INPUT, "cannot be read"),
        (["--file", "latin.sql"], ExitCode.BAD_INPUT, "UTF-8"),
        (["SELECT 1", "--format", "parquet"], ExitCode.USAGE, "--out FILE"),
        (["SELECT 1", "--raw"], ExitCode.USAGE, "--raw is for CSV"),
        (["SELECT 1", "--out", "no/x.csv"], ExitCode.USAGE, "cannot be written"),
        (["SELECT 1", "--out", "/dev/null"], ExitCode.USAGE, "is no file"),
        (["SELECT 1", "--format", "xlsx"], ExitCode.USAGE, "xlsx"),
        (["SELECT 1", "--out", "x.xlsx"], ExitCode.USAGE, "its suffix names no form"),
    ],
)
def test_sql_that_cannot_be_asked_says_why(
    arguments: list[str],
    code: ExitCode,
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Database.create_or_open("db", ENCODER)
    Path("latin.sql").write_bytes(b"SELECT '\xe9'")
    assert run("sql", *arguments, "--db", "db") == code
    assert said in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["db", "latin.sql"]


def test_rows_go_to_a_file_by_its_suffix(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    db = Database.create_or_open(tmp_path / "db", ENCODER).uri
    query = "SELECT a.n, b.n, '=1' AS t FROM (SELECT 1 AS n) a, (SELECT 2 AS n) b"
    for suffix in ("csv", "json", "jsonl", "parquet"):
        assert run("sql", query, "--db", db, "--out", str(tmp_path / f"x.{suffix}")) == 0
        printed = capsys.readouterr()
        assert not printed.out and "'n' is 'n_2'" in printed.err and suffix in printed.err
    row = {"n": 1, "n_2": 2, "t": "=1"}
    assert (tmp_path / "x.csv").read_text().splitlines() == ["n,n_2,t", "1,2,'=1"]
    assert json.loads((tmp_path / "x.json").read_text()) == [row]
    assert json.loads((tmp_path / "x.jsonl").read_text()) == row
    assert pq.read_table(tmp_path / "x.parquet").to_pylist() == [row]
    arguments = ("--db", db, "--out", str(tmp_path / "x.csv"))
    # A file that is there stays until the new one is whole.
    assert run("sql", "SELECT 1/0 AS n", *arguments) == ExitCode.USAGE
    assert len((tmp_path / "x.csv").read_text().splitlines()) == 2
    assert run("sql", query, *arguments, "--raw") == ExitCode.OK
    assert (tmp_path / "x.csv").read_text().splitlines()[1] == "1,2,=1"


@pytest.mark.parametrize(
    "query",
    [
        "WITH RECURSIVE t(n) AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t) SELECT max(n) FROM t",
        # Computed in one go, without a look at the signals.
        "SELECT count(*) FROM range(1, 10000000) a, range(1, 10000000) b "
        "WHERE a.value * b.value = 7",
    ],
    ids=["recursion", "join"],
)
def test_a_query_that_never_ends_can_be_stopped(tmp_path: Path, query: str) -> None:
    """Only a process of its own can be sent what Ctrl-C sends."""
    db, temporary = tmp_path / "db", tmp_path / "tmp"
    Database.create_or_open(db, ENCODER)
    temporary.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "patchlight", "sql", query, "--db", str(db)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    try:
        while not list(temporary.iterdir()):  # the query's own folder: it has begun
            assert process.poll() is None
            time.sleep(0.1)
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == ExitCode.INTERRUPTED
    assert said == "interrupted; what was committed stays\n"
    assert not list(temporary.iterdir())


def test_ask_starts_neither_ray_nor_prefect(sample_db: str, tmp_path: Path) -> None:
    """In a process of its own: importing them alone takes longer than the answer."""
    script = (
        "import sys\n"
        "from patchlight.flows.__main__ import _run, app\n"
        "code = _run(lambda: app(sys.argv[1:], standalone_mode=False))\n"
        "heavy = {'ray', 'prefect', 'lancedb', 'torch', 'datafusion'} & set(sys.modules)\n"
        "sys.exit(code if not heavy else f'imported {heavy}')\n"
    )
    question = "who succeeded the harbour master?"
    done = subprocess.run(
        [sys.executable, "-c", script, "ask", question, "--db", sample_db,
         "--overlays", "--out", str(tmp_path), "--timing"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "harbour-annual-report.pdf, page 8" in done.stdout
    # The score of a region, and the words that carried it.
    assert re.search(r"\(0\.\d{3}: (\S+ 0\.\d\d, )*succeeded 0\.\d\d", done.stdout)
    assert "reading vectors" in done.stderr and "imports" in done.stderr
    assert len(list((tmp_path / "overlays").glob("*.png"))) == done.stdout.count("picture:") == 3


@pytest.mark.parametrize(
    ("to", "code"), [("> /dev/full", ExitCode.USAGE), (">&-", ExitCode.OK), ("| true", ExitCode.OK)]
)
def test_results_that_cannot_be_printed(sample_db: str, to: str, code: ExitCode) -> None:
    """A reader that leaves, or none, changes nothing; a full disk is said, as no fault of ours."""
    command = f"{sys.executable} -m patchlight status --db {sample_db} {to}"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    said = "error: standard output cannot be written (No space left on device); what the command"
    assert done.stderr.startswith(said) if code else not done.stderr
