"""Guards what requests refuse, and what they make of what is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from patchlight.storage.records import VectorType
from patchlight.tasks.common.errors import UsageError
from patchlight.tasks.ingest.retrying import ReadAs
from patchlight.tasks.requests.evaluate import EvaluateRequest
from patchlight.tasks.requests.fields import Request, made, option_name
from patchlight.tasks.requests.ingest import IngestRequest, RetryRequest
from patchlight.tasks.requests.query import AskRequest, QueryRequest

GIVEN: dict[type[Request], dict[str, Any]] = {
    IngestRequest: {"source": ["a.pdf"], "db": "db"},
    QueryRequest: {"file": "q.jsonl", "db": "db", "out": "out"},
    AskRequest: {"query": "where?", "db": "db"},
    EvaluateRequest: {"dataset": "set", "db": "db", "out": "out"},
    RetryRequest: {"db": "db"},
}
WITH_OUT = (QueryRequest, AskRequest, EvaluateRequest)


@pytest.mark.parametrize(
    ("model", "values", "problem"),
    [
        (IngestRequest, {"dpi": 49}, "dpi 49: input should be greater than or equal to 50"),
        (IngestRequest, {"dpi": 1201}, "dpi 1201"),
        (IngestRequest, {"pool": 65}, "pool 65: input should be less than or equal to 64"),
        (IngestRequest, {"visual_tokens": 63}, "visual_tokens 63"),
        (IngestRequest, {"vectors": "float8"}, "vectors 'float8': input should be 'float16'"),
        (IngestRequest, {"workers": 0}, "workers 0"),
        (IngestRequest, {"source": "a.pdf"}, "source 'a.pdf': input should be a valid list"),
        (IngestRequest, {"kinds": ["line"]}, "kinds ['line']: extra inputs"),
        (QueryRequest, {"kind": ["line", "letter"]}, "kind.1 'letter'"),
        (QueryRequest, {"top_pages": 0, "top_regions": 0}, "; top_regions 0"),
        (EvaluateRequest, {"pictures": 61}, "pictures 61"),
        (RetryRequest, {"category": ["bad luck"]}, "category.0 'bad luck'"),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(
    model: type[Request], values: dict[str, Any], problem: str
) -> None:
    with pytest.raises(UsageError) as raised:
        made(model, {**GIVEN[model], **values})
    assert problem in str(raised.value)


def test_messages_call_a_field_as_the_reader_does() -> None:
    with pytest.raises(UsageError, match=r"^--out: field required$"):
        made(QueryRequest, {"file": "q.jsonl", "db": "db"}, option_name)


@pytest.mark.parametrize("model", WITH_OUT)
@pytest.mark.parametrize(
    "out", ["s3://bucket/results", "s3:/x", "GS://b", "file://results", "http://a/b"]
)
def test_results_go_to_a_local_folder(model: type[Request], out: str) -> None:
    """The folder ``s3:`` would be made here, and the results be looked for elsewhere."""
    with pytest.raises(UsageError, match="results go to a local folder today"):
        made(model, {**GIVEN[model], "out": out})


PATHS = [
    (IngestRequest, "source"),
    (QueryRequest, "file"),
    (EvaluateRequest, "dataset"),
    *((model, "out") for model in WITH_OUT),
    *((model, "passwords") for model in GIVEN),
]
NAMES = [
    *((model, name, "a path") for model, name in PATHS),
    *((model, "db", "a database") for model in GIVEN),
    *((model, "encoder", "an encoder") for model in GIVEN if model is not RetryRequest),
    *((model, "doc", "a document") for model in (AskRequest, RetryRequest)),
    *((model, "where", "a condition") for model in (QueryRequest, AskRequest)),
    (IngestRequest, "lang", "a language"),
    (QueryRequest, "run_id", "an id"),
]


@pytest.mark.parametrize(("model", "name", "what"), NAMES)
@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("", "be empty"),
        ("  \t", "be blank"),
        ("a\0b", "hold a NUL character"),
        ("file:///a%00b", "hold a NUL character"),
    ],
)
def test_what_names_nothing_is_refused(
    model: type[Request],
    name: str,
    what: str,
    value: str,
    problem: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A variable that is not set must not mean the folder one is in, nor another database."""
    monkeypatch.setenv("PATCHLIGHT_DB", "theirs")
    given = ["a.pdf", value] if name == "source" else value
    with pytest.raises(UsageError) as raised:
        made(model, {**GIVEN[model], name: given}, option_name)
    assert str(raised.value) == f"{option_name(name)} {given!r}: {what} must not {problem}"


def test_an_ingest_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^source \[\]: name a path, or several$"):
        made(IngestRequest, {"source": [], "db": "db"})


@pytest.mark.parametrize("run_id", ["a/b", "a\nb", "a\x1b[31m", "a\x85b", "a\u2028b", "\udce9"])
def test_an_id_of_a_run_is_one_word_of_a_line(run_id: str) -> None:
    """Ids of rows are parted by slashes, and logs by ends of lines."""
    with pytest.raises(UsageError, match=r"^run_id .*: an id must not hold '/', line breaks or"):
        made(QueryRequest, {**GIVEN[QueryRequest], "run_id": run_id})


def test_an_id_of_a_run_has_an_end() -> None:
    longest = "é" * 200
    request = made(QueryRequest, {**GIVEN[QueryRequest], "run_id": longest})
    assert request.run_id == longest
    with pytest.raises(UsageError, match=r"^run_id .*: an id must not be longer than 200 char"):
        made(QueryRequest, {**GIVEN[QueryRequest], "run_id": f"{longest}!"})


@pytest.mark.parametrize("run_id", [None, "monthly", "2026-12 Größe: all", "a.b_c"])
def test_usual_ids_of_runs_are_taken_as_they_are(run_id: str | None) -> None:
    assert made(QueryRequest, {**GIVEN[QueryRequest], "run_id": run_id}).run_id == run_id


def test_messages_say_what_is_wrong_without_the_word_of_a_library() -> None:
    for out in ("", "s3://bucket/results", "file://[x/a"):
        with pytest.raises(UsageError) as raised:
            made(AskRequest, {**GIVEN[AskRequest], "out": out}, option_name)
        assert str(raised.value).startswith(f"--out {out!r}: ")
        assert "value error" not in str(raised.value).lower()


@pytest.mark.parametrize(
    ("out", "folder"),
    [("a/b", "a/b"), ("a:b", "a:b"), ("file:///a/b%20c", "/a/b c"), ("file://localhost/a", "/a")],
)
def test_a_folder_is_a_path_or_a_file_uri(out: str, folder: str) -> None:
    for model in WITH_OUT:
        assert made(model, {**GIVEN[model], "out": out}).model_dump()["out"] == folder


@pytest.mark.parametrize("model", GIVEN)
def test_the_settings_name_the_database_where_nothing_else_does(
    model: type[Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PATCHLIGHT_DB", raising=False)
    values = {name: value for name, value in GIVEN[model].items() if name != "db"}
    for setting in (None, "", " "):
        if setting is not None:
            monkeypatch.setenv("PATCHLIGHT_DB", setting)
        for given in (values, {**values, "db": None}):
            with pytest.raises(UsageError, match="no database named"):
                made(model, given)
    monkeypatch.setenv("PATCHLIGHT_DB", "theirs")
    assert made(model, values).model_dump()["db"] == "theirs"
    assert made(model, GIVEN[model]).model_dump()["db"] == "db"


def test_file_names_that_are_not_unicode_become_what_means_the_same(tmp_path: Path) -> None:
    odd = str(tmp_path / "a\udce9.pdf")
    Path(odd).write_bytes(b"")
    request = made(IngestRequest, {"source": [odd, "b.pdf"], "db": "db"})
    assert request.source == [f"{tmp_path.as_uri()}/a%E9.pdf", "b.pdf"]
    assert made(RetryRequest, {"doc": "c\udce9", "db": "db"}).doc == r"c\udce9"


def test_values_come_as_json_has_them() -> None:
    request = made(IngestRequest, {**GIVEN[IngestRequest], "vectors": "int8", "dpi": 300})
    assert (request.vectors, request.dpi) == (VectorType.INT8, 300)


def test_a_run_that_does_not_say_how_it_read_did_as_usual() -> None:
    usual, request = ReadAs(), made(IngestRequest, GIVEN[IngestRequest])
    assert (usual.ocr, usual.lang, usual.dpi) == (request.ocr, request.lang, request.dpi)
