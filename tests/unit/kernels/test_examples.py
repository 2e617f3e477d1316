"""Guards that every kernel shows by an example what it does; pytest runs the examples."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

KERNELS = sorted((Path(__file__).parents[3] / "tasks" / "kernels").glob("[!_]*.py"))


@pytest.mark.parametrize("path", KERNELS, ids=lambda path: path.stem)
def test_every_public_function_has_an_example(path: Path) -> None:
    module = ast.parse(path.read_text(encoding="utf-8"))
    bare = [
        node.name
        for node in module.body
        if isinstance(node, ast.FunctionDef)
        and not node.name.startswith("_")
        and ">>> " not in (ast.get_docstring(node) or "")
    ]
    assert not bare, f"{path.name}: {', '.join(bare)} without an example"


def test_there_are_kernels() -> None:
    assert {path.stem for path in KERNELS} >= {"geometry", "maxsim", "propagation", "pooling"}
