"""The picture of the rooms: packages, what they import of each other, circles, lengths of modules.

    python -m benchmarks.rooms [--root CHECKOUT]

Reads imports and lines as text and runs nothing of what it looks at, so that ``--root`` may name
another state of the project, e.g. one that ``git worktree add /tmp/before COMMIT`` made. A room is
a folder with Python files in it. An arrow is a pair of rooms one of which imports the other.
"""

from __future__ import annotations

import argparse
import ast
import statistics
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

LAYERS = ("flows", "tasks", "storage")


@dataclass(frozen=True, slots=True)
class House:
    """What is where, and what imports what.

    Attributes:
        lines: module -> its number of lines.
        arrows: module -> modules of the project that it imports.
        room: module -> its folder.
    """

    lines: dict[str, int]
    arrows: dict[str, set[str]]
    room: dict[str, str]

    @classmethod
    def read(cls, root: Path) -> House:
        """Read the files of a checkout."""
        files = {}
        for layer in LAYERS:
            for path in sorted((root / layer).rglob("*.py")):
                parts = path.relative_to(root).with_suffix("").parts
                name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
                files[name] = path
        return cls(
            {name: len(path.read_text("utf-8").splitlines()) for name, path in files.items()},
            {name: _imported(path, files) - {name} for name, path in files.items()},
            {name: path.parent.relative_to(root).as_posix() for name, path in files.items()},
        )

    def rooms(self) -> dict[str, set[str]]:
        """Room -> rooms that its modules import."""
        found: dict[str, set[str]] = {room: set() for room in self.room.values()}
        for name, others in self.arrows.items():
            found[self.room[name]] |= {self.room[other] for other in others}
        return {room: others - {room} for room, others in found.items()}


def _imported(path: Path, files: dict[str, Path]) -> set[str]:
    """Modules of the project that a file imports, wherever in it, by their own names."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.removeprefix("patchlight.") for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            base = node.module.removeprefix("patchlight.")
            inside = {f"{base}.{alias.name}" for alias in node.names}
            found |= {name if name in files else base for name in inside}
    return found & files.keys()


def circles(arrows: dict[str, set[str]]) -> list[list[str]]:
    """Groups of two and more that reach each other, by Tarjan's algorithm."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in sorted(arrows[name]):
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            at = stack.index(name)
            group, stack[at:] = stack[at:], []
            if len(group) > 1:
                groups.append(sorted(group))

    for name in sorted(arrows):
        if name not in index:
            visit(name)
    return groups


def depth(arrows: dict[str, set[str]]) -> dict[str, int]:
    """How far above the ground each stands: 0 imports nothing; a circle counts as it is met."""
    known: dict[str, int] = {}

    def of(name: str, way: frozenset[str]) -> int:
        if name not in known:
            below = [of(other, way | {name}) for other in arrows[name] if other not in way]
            known[name] = 1 + max(below, default=-1)
        return known[name]

    for name in arrows:
        of(name, frozenset())
    return known


def picture(house: House) -> str:
    """Say what there is, room by room, highest first, and what stands out."""
    rooms = house.rooms()
    inside: dict[str, list[str]] = defaultdict(list)
    for name, room in house.room.items():
        if not name.endswith("__init__"):
            inside[room].append(name)
    height = depth(rooms)
    lines = []
    for room in sorted(rooms, key=lambda r: (-height[r], r)):
        size = sum(house.lines[name] for name in inside[room])
        below = ", ".join(sorted(rooms[room])) or "nothing"
        lines.append(f"{height[room]:>3}  {room}: {len(inside[room])} modules, {size} lines")
        lines.append(f"       imports {below}")
    largest = max(inside, key=lambda room: len(inside[room]))
    lengths = sorted(house.lines.values())
    ninth = statistics.quantiles(lengths, n=10)[-1]
    between = sum(len(others) for others in rooms.values())
    return "\n".join(
        [
            *lines,
            "",
            f"rooms: {len(rooms)}; largest: {largest} with {len(inside[largest])} modules",
            f"arrows between rooms: {between}; between modules: "
            f"{sum(len(others) for others in house.arrows.values())}",
            f"circles of rooms: {circles(rooms) or 'none'}",
            f"circles of modules: {circles(house.arrows) or 'none'}",
            f"floors of modules: {max(depth(house.arrows).values()) + 1}",
            f"lines of a module: median {statistics.median(lengths):.0f}, "
            f"90th percentile {ninth:.0f}, most {lengths[-1]}",
        ]
    )


def main() -> None:
    """Print the picture of a checkout."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--root", type=Path, default=Path(__file__).parent.parent)
    print(picture(House.read(parser.parse_args().root)))


if __name__ == "__main__":
    main()
