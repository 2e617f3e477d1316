r"""Functions on JSON in texts, for SQL, by the names and the rules that DuckDB has for them.

Pure: texts in, texts out. A path is ``$.key."odd key"[0][-1]``, or a JSON pointer ``/key/0``; any
other text is the name of a key. What is not there is None, JSON that is none an error.

>>> extract('{"a": {"b": ["x", 2.50]}}', "$.a.b[1]")
'2.5'
>>> extract_string('{"a": {"b": ["x", 2.50]}}', "$.a.b[0]")
'x'
>>> extract('{"a": {"b": ["x", 2.50]}}', "/a/b/0")
'"x"'
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import Any, TypeVar

_Result = TypeVar("_Result")

_STEP = re.compile(
    r"""\.(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<key>[^."\[\]*]+))"""
    r"""|\[(?P<from_end>\#)?(?P<index>-?\d+)\]""",
    re.DOTALL,
)
_INDEX = re.compile(r"[0-9]{1,9}")
_WANTS_ALL = re.compile(r"\[\*\]|\.\*|\.\.")
_HALF = re.compile(r"\\ud[89a-f]", re.IGNORECASE)
"""What may be half a character, which no column can hold."""
_MISSING = object()
_SHOWN = 60


class JsonProblem(ValueError):
    """A text is no JSON, or a path is none."""


def extract(text: str, path: str) -> str | None:
    """The JSON at a path, or None where there is nothing.

    Raises:
        JsonProblem: the text is no JSON, or the path is none.
    """
    found = _at(text, path)
    return None if found is _MISSING else _written(found)


def extract_string(text: str, path: str) -> str | None:
    """The value at a path as a text, a JSON string without its quotes; None also for ``null``.

    Raises:
        JsonProblem: the text is no JSON, or the path is none.
    """
    found = _at(text, path)
    if found is _MISSING or found is None:
        return None
    return found if isinstance(found, str) else _written(found)


def exists(text: str, path: str) -> bool:
    """Whether there is something at a path, be it ``null``.

    Raises:
        JsonProblem: the text is no JSON, or the path is none.
    """
    return _at(text, path) is not _MISSING


def array_length(text: str) -> int:
    """Number of elements; 0 of what is no array.

    Raises:
        JsonProblem: the text is no JSON.
    """
    value = _read(text)
    return len(value) if isinstance(value, list) else 0


def keys(text: str) -> list[str]:
    """Keys in their order; none of what is no object.

    Raises:
        JsonProblem: the text is no JSON.
    """
    value = _read(text)
    return list(value) if isinstance(value, dict) else []


def type_of(text: str) -> str:
    """What a JSON text is, by DuckDB's names: ``OBJECT``, ``ARRAY``, ``VARCHAR`` and so on.

    Raises:
        JsonProblem: the text is no JSON.
    """
    value = _read(text)
    if isinstance(value, int) and not isinstance(value, bool):
        return "UBIGINT" if value >= 0 else "BIGINT"
    return _TYPES[type(value)]


def valid(text: str) -> bool:
    """Whether a text is JSON."""
    try:
        _read(text)
    except JsonProblem:
        return False
    return True


_TYPES: dict[type, str] = {
    dict: "OBJECT",
    list: "ARRAY",
    str: "VARCHAR",
    float: "DOUBLE",
    bool: "BOOLEAN",
    type(None): "NULL",
}


def each_once(function: Callable[..., _Result], *columns: list[Any]) -> list[_Result | None]:
    """Call a function for each row, but once only for rows that are equal.

    Args:
        function: of one value a column.
        columns: lists of one length.

    Returns:
        What it returned; None where any value is None.
    """
    known: dict[Hashable, _Result] = {}
    found: list[_Result | None] = []
    for row in zip(*columns, strict=True):
        if None in row:
            found.append(None)
            continue
        if row not in known:
            known[row] = function(*row)
        found.append(known[row])
    return found


def _at(text: str, path: str) -> Any:
    value = _read(text)
    for step in _steps(path):
        if isinstance(value, dict) and isinstance(step, str):
            value = value.get(step, _MISSING)
        elif isinstance(value, list) and isinstance(step, int):
            value = value[step] if -len(value) <= step < len(value) else _MISSING
        elif isinstance(value, list) and path.startswith("/") and _INDEX.fullmatch(str(step)):
            value = value[int(step)] if int(step) < len(value) else _MISSING
        else:
            return _MISSING
    return value


@lru_cache(maxsize=256)
def _steps(path: str) -> tuple[str | int, ...]:
    """Keys and indices of a path."""
    if path.startswith("/"):
        return tuple(key.replace("~1", "/").replace("~0", "~") for key in path[1:].split("/"))
    if not path.startswith("$"):
        return (path,) if path else ()
    if _WANTS_ALL.search(re.sub(r'"(?:[^"\\]|\\.)*"', "", path)):
        raise JsonProblem(
            f"JSON path {path!r} stands for several values; name one, e.g. '$[' || i || ']' for "
            "each i of range(0, json_array_length(...))."
        )
    steps: list[str | int] = []
    at = 1
    while at < len(path):
        step = _STEP.match(path, at)
        if not step:
            raise JsonProblem(
                f"JSON path {path!r} is wrong near {path[at:]!r}; a path is like '$.key[0]'."
            )
        if step["index"] is not None:
            number = int(step["index"])
            if step["from_end"] and number >= 0:
                raise JsonProblem(f"JSON path {path!r}: the last element is [#-1], or [-1].")
            steps.append(number)
        elif step["quoted"] is not None:
            steps.append(re.sub(r"\\(.)", r"\1", step["quoted"], flags=re.DOTALL))
        else:
            steps.append(step["key"])
        at = step.end()
    return tuple(steps)


def _read(text: str) -> Any:
    try:
        value = json.loads(text, object_pairs_hook=_first_wins)
        if _HALF.search(text):
            _written(value).encode()
        return value
    except (ValueError, RecursionError) as error:
        shown = text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
        raise JsonProblem(
            f"malformed JSON {shown!r} ({error}); CASE WHEN json_valid(x) THEN ... END leaves it "
            "out."
        ) from error


def _first_wins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; of keys that repeat the first counts."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        found.setdefault(key, value)
    return found


def _written(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
