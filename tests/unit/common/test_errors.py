"""The tree of errors is drawn as it is, and documented."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from patchlight.storage.errors import ExitCode, PatchlightError
from patchlight.tasks.common import errors
from patchlight.tasks.common.errors import SourceError

ROOT = Path(__file__).parent.parent.parent.parent
BESIDE = {"Death", "Unusable", "NotHad", "Elsewhere", "JsonProblem", "TypeProblem"}
"""Exceptions that never leave their package."""

Line = tuple[int, str, str, str]
"""Depth, name, exit code and category of a class."""


def existing(error: type[PatchlightError] = PatchlightError, depth: int = 0) -> Iterator[Line]:
    """The classes as they are, each before those that derive from it."""
    category = error.category.value if issubclass(error, SourceError) else ""
    yield depth, error.__name__, error.exit_code.name, category
    for child in error.__subclasses__():
        yield from existing(child, depth + 1)


def drawn() -> list[Line]:
    """The tree as the docstring draws it."""
    lines = re.findall(r"^    ( *)(\w+) +([A-Z_]+) *(\w*)$", errors.__doc__ or "", re.MULTILINE)
    return [
        (len(indent) // 2, name, code, "" if depth == 0 else category)
        for depth, (indent, name, code, category) in enumerate(lines)
    ]


def test_the_tree_is_drawn_as_it_is() -> None:
    assert sorted(drawn()) == sorted(existing())
    parents: list[str] = []
    for depth, name, _, _ in drawn():
        parents[depth:] = [name]
        parent = next((c for c in classes() if c.__name__ == name), PatchlightError).__base__
        assert depth == 0 or (parent is not None and parent.__name__ == parents[depth - 1])


def classes(error: type[PatchlightError] = PatchlightError) -> Iterator[type[PatchlightError]]:
    """All classes of the tree."""
    yield error
    for child in error.__subclasses__():
        yield from classes(child)


def test_no_other_exception_is_defined_anywhere() -> None:
    """Found without importing: some modules need a GPU's libraries."""
    bases = {
        node.name: {base.id for base in node.bases if isinstance(base, ast.Name)}
        for layer in ("storage", "tasks", "flows")
        for path in (ROOT / layer).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    }
    found = {"Exception", "BaseException", "ValueError", "RuntimeError", "OSError"}
    while more := {name for name in bases.keys() - found if bases[name] & found}:
        found |= more
    assert found & bases.keys() == {name for _, name, _, _ in existing()} | BESIDE


@pytest.mark.parametrize("error", list(classes()), ids=lambda error: error.__name__)
def test_it_is_documented(error: type[PatchlightError]) -> None:
    text = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    if issubclass(error, SourceError):
        assert f"| `{error.category.value}` |" in text
        retryable = re.search(rf"\| `{error.category.value}` \|.*\| (yes|no) \|", text)
        assert (retryable and (retryable[1] == "yes") is error.retryable) or error is SourceError
        return
    assert f"`{error.__name__}`" in text
    row = re.search(rf"^\|.*`{error.__name__}`.*\| (\d+) \|", text, re.MULTILINE)
    assert row is None or ExitCode(int(row[1])) is error.exit_code
