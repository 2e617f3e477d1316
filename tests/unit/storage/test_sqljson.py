"""JSON in SQL: the same text gives what DuckDB 2.0.1 gave for it, when these rows were written."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchlight.storage import sqljson

TEXT = (
    '{"a":{"b":[1,2.50,"x",null,true,{"c":"d"}]},"k.x":1,"n":null,'
    '"big":12345678901234567890123,"f":1e3,"s":"h\\u00e9\\"q","":5,"dup":1,"dup":2,'
    '"x~y":3,"a/b":4,"a b":6,"q\\"q":7}'
)

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("path", "as_json", "as_text"),
    [
        ("$.a.b[0]", "1", "1"),
        ("$.a.b[1]", "2.5", "2.5"),
        ("$.a.b[2]", '"x"', "x"),
        ("$.a.b[3]", "null", None),
        ("$.a.b[4]", "true", "true"),
        ("$.a.b[5]", '{"c":"d"}', '{"c":"d"}'),
        ("$.a.b[-1]", '{"c":"d"}', '{"c":"d"}'),
        ("$.a.b[#-1]", '{"c":"d"}', '{"c":"d"}'),
        ("$.a.b[9]", None, None),
        ("$.a.b", '[1,2.5,"x",null,true,{"c":"d"}]', '[1,2.5,"x",null,true,{"c":"d"}]'),
        ("a", '{"b":[1,2.5,"x",null,true,{"c":"d"}]}', '{"b":[1,2.5,"x",null,true,{"c":"d"}]}'),
        ("$.zz", None, None),
        ("$.n", "null", None),
        ("$.big", "12345678901234567890123", "12345678901234567890123"),
        ("$.f", "1000.0", "1000.0"),
        ("$.s", '"hé\\"q"', 'hé"q'),
        ('$."k.x"', "1", "1"),
        ("/a/b/0", "1", "1"),
        ("/a/b/-1", None, None),
        ("/k.x", "1", "1"),
        ("k.x", "1", "1"),
        ("/", "5", "5"),
        ("$.dup", "1", "1"),
        ("0", None, None),
        ("a.b", None, None),
        ("[0]", None, None),
        ("/x~0y", "3", "3"),
        ("/a~1b", "4", "4"),
        ("$.a b", "6", "6"),
        ('$."q\\"q"', "7", "7"),
        ("$.A", None, None),
        ("$[0]", None, None),
    ],
)
def test_paths_find_what_duckdb_finds(path: str, as_json: str | None, as_text: str | None) -> None:
    assert sqljson.extract(TEXT, path) == as_json
    assert sqljson.extract_string(TEXT, path) == as_text
    assert sqljson.exists(TEXT, path) is (as_json is not None)


@pytest.mark.parametrize("path", ["$.", "$['a']", '$["a"]', "$.a.b[", "$a", "$[ 0 ]", "$.a[#1]"])
def test_a_path_that_is_none_is_an_error(path: str) -> None:
    with pytest.raises(sqljson.JsonProblem, match="JSON path"):
        sqljson.extract(TEXT, path)


@pytest.mark.parametrize("path", ["$.a.b[*]", "$.*", "$..b"])
def test_a_path_of_several_values_says_what_to_do(path: str) -> None:
    with pytest.raises(sqljson.JsonProblem, match="name one"):
        sqljson.extract(TEXT, path)


@pytest.mark.parametrize(
    ("text", "length", "keys", "kind"),
    [
        ("[1,2,3]", 3, [], "ARRAY"),
        ("{}", 0, [], "OBJECT"),
        ('{"b":1,"a":2}', 0, ["b", "a"], "OBJECT"),
        ("1", 0, [], "UBIGINT"),
        ("-1", 0, [], "BIGINT"),
        ("1.5", 0, [], "DOUBLE"),
        ("null", 0, [], "NULL"),
        ("true", 0, [], "BOOLEAN"),
        ('"x"', 0, [], "VARCHAR"),
    ],
)
def test_lengths_keys_and_types(text: str, length: int, keys: list[str], kind: str) -> None:
    assert sqljson.array_length(text) == length
    assert sqljson.keys(text) == keys
    assert sqljson.type_of(text) == kind
    assert sqljson.valid(text)


@pytest.mark.parametrize("text", ["not json", "", "[1", '"\\ud800"', "[" * 100_000])
def test_what_is_no_json_is_an_error_that_says_how_to_go_on(text: str) -> None:
    with pytest.raises(sqljson.JsonProblem, match="json_valid") as caught:
        sqljson.extract(text, "$.a")
    assert len(str(caught.value)) < 300
    assert not sqljson.valid(text)


@given(VALUES)
def test_the_whole_is_what_was_written(value: object) -> None:
    found = sqljson.extract(json.dumps({"v": value}), "$.v")
    assert found is not None and json.loads(found) == value


def test_equal_rows_are_worked_on_once() -> None:
    called: list[str] = []

    def note(text: str, path: str) -> str:
        called.append(text)
        return text + path

    texts, paths = ["a", "b", None, "a"], ["1", "1", "1", "1"]
    assert sqljson.each_once(note, texts, paths) == ["a1", "b1", None, "a1"]
    assert called == ["a", "b"]
