"""Guards the rooms, the floors and the places of libraries that ``tests/house.py`` lists."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

from tests import house

ROOT = Path(__file__).parent.parent
LAYERS = ("flows", "tasks", "storage")


def modules() -> list[Path]:
    return sorted(path for layer in LAYERS for path in (ROOT / layer).rglob("*.py"))


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def dotted(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {dotted(path): path for path in modules()}


@cache
def imports(path: Path) -> tuple[str, ...]:
    """Names of modules that a file imports, anywhere in it; of our packages the very module."""
    return tuple(_imports(path))


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (_ours(alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = _ours(node.module or "")
            for alias in node.names:
                inside = f"{module}.{alias.name}"
                yield inside if inside in MODULES else module


def _ours(name: str) -> str:
    """Name of a module as its place says it, without the one name that all are imported under."""
    return name.removeprefix("patchlight.")


def room_of(name: str) -> str | None:
    """The room that a module of ours is in; None for a library's."""
    for room in (room for floor in house.FLOORS for room in floor):
        dots = room.replace("/", ".")
        if name == dots or name.startswith(f"{dots}."):
            return room
    return None


FLOOR_OF = {room: number for number, floor in enumerate(house.FLOORS) for room in floor}


def is_in(path: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch(path, pattern) for pattern in patterns)


def test_every_module_is_in_a_room() -> None:
    """A new folder needs a floor; beside the rooms there is only the package itself."""
    homeless = [name for name in MODULES if room_of(name) is None]
    assert homeless == ["tasks"]


def test_every_room_says_what_it_is() -> None:
    """What is in it, who may import it, and what it does not know."""
    for room in FLOOR_OF:
        text = ast.get_docstring(ast.parse((ROOT / room / "__init__.py").read_text("utf-8")))
        assert text and len(text.splitlines()) >= 3, f"{room}/__init__.py says too little"


@pytest.mark.parametrize("path", modules(), ids=relative)
def test_imports_go_down_only(path: Path) -> None:
    mine = room_of(dotted(path))
    if mine is None:
        return
    for name in imports(path):
        other = room_of(name)
        if other is not None and other != mine:
            below = FLOOR_OF[other] > FLOOR_OF[mine]
            assert below, f"{relative(path)} imports {name}, which stands beside it or above"


@pytest.mark.parametrize("path", modules(), ids=relative)
def test_our_modules_are_imported_under_one_name(path: Path) -> None:
    """``import tasks`` may find a file of the user's; see tests/integration/test_names.py."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        bare = [name for name in names if name.split(".")[0] in LAYERS]
        assert not bare, f"{relative(path)} imports {bare}"


def test_no_circle_between_modules() -> None:
    """Wherever in a file the import stands: two modules that need each other are one."""
    arrows = {
        name: {found for found in imports(path) if found in MODULES and found != name}
        for name, path in MODULES.items()
    }
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join([*way[way.index(name) :], name])
        if name not in done:
            for other in sorted(arrows[name]):
                visit(other, (*way, name))
            done.add(name)

    for name in arrows:
        visit(name, ())


def test_a_public_class_has_a_name_of_its_own() -> None:
    """One word for one thing: who reads a name need not ask which of two is meant."""
    places: dict[str, list[str]] = defaultdict(list)
    for path in modules():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(relative(path))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


@cache
def pure() -> list[Path]:
    return [
        path
        for path in modules()
        if is_in(relative(path), house.PURE) and not is_in(relative(path), house.NOT_PURE)
    ]


@pytest.mark.parametrize("path", pure(), ids=relative)
def test_pure_modules_import_only_what_is_pure(path: Path) -> None:
    allowed = {dotted(other) for other in pure()} | set(house.PURE_FROM_BELOW)
    foreign = [
        name
        for name in imports(path)
        if name.split(".")[0] not in {*sys.stdlib_module_names, *house.PURE_LIBRARIES}
        and name not in allowed
    ]
    assert not foreign, f"{relative(path)} imports {foreign}"


def test_lists_name_what_is_there() -> None:
    """A pattern that matches nothing guards nothing."""
    patterns = {*house.PURE, *house.NOT_PURE, *house.ENVIRONMENT, *house.OPENS_DOCUMENTS}
    patterns |= {place for places in house.LIBRARIES.values() for place in places}
    paths = [relative(path) for path in modules()]
    dead = [p for p in sorted(patterns) if not any(fnmatch(path, p) for path in paths)]
    assert not dead


@pytest.mark.parametrize("library", house.LIBRARIES)
def test_a_library_is_imported_in_its_places_only(library: str) -> None:
    users = {relative(p) for p in modules() if library in {n.split(".")[0] for n in imports(p)}}
    strangers = sorted(user for user in users if not is_in(user, house.LIBRARIES[library]))
    assert not strangers
    unused = [p for p in house.LIBRARIES[library] if not any(fnmatch(user, p) for user in users)]
    assert not unused, f"{unused} need {library} no more: take them off the list"


def test_documents_are_opened_only_where_that_can_be_killed() -> None:
    """PDFium, Pillow and Tesseract hang and crash; see tasks/sandbox."""
    for path in modules():
        text = path.read_text(encoding="utf-8")
        if re.search(r"\b(open_document|read_words)\(", text):
            assert is_in(relative(path), house.OPENS_DOCUMENTS), relative(path)
        direct = re.findall(r"(?<!call\()\bsandboxwork\.[a-z_]+\(", text)
        assert not direct, f"{relative(path)} calls {direct} in its own process"


def test_files_in_flows_shadow_no_top_level_module() -> None:
    """Prefect puts flows/ first on the path when it loads an entrypoint by its file."""
    for path in (ROOT / "flows").glob("*.py"):
        if path.stem in {"__init__", "__main__"}:
            continue
        assert path.stem not in sys.stdlib_module_names
        found = importlib.util.find_spec(path.stem)
        # Prefect may have put flows/ on the path in this very process.
        assert found is None or found.origin == str(path), f"{path.name} shadows {found}"


def test_environment_is_read_in_settings_only() -> None:
    """Elsewhere it may be set for child processes, in the adapters that start them."""
    users = {relative(p) for p in modules() if "os.environ" in p.read_text(encoding="utf-8")}
    assert users <= set(house.ENVIRONMENT)


def test_modules_stay_readable() -> None:
    """Long modules are not read in one sitting."""
    for path in modules():
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= house.LONGEST, f"{relative(path)} has {lines} lines"


@pytest.mark.parametrize("path", modules(), ids=relative)
def test_every_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
