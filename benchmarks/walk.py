"""The way of a page and of a query: the modules passed, in order, and how often it goes back up.

    python -m benchmarks.walk DOCUMENT [--root CHECKOUT] [--python PYTHON]

Runs the command line of a checkout on one document, ``ingest`` and then ``ask``, with every process
of it watched: the flow's, Ray's workers, the process that opens documents. A module is passed when
the first of its functions is called. A call goes up when the module called stands higher in the
imports than the one that calls: a callback, or a base that knows what is built on it. ``--root``
may name another state of the project (see ``benchmarks.rooms``), which needs no change for it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from benchmarks.rooms import House, depth

_QUESTION = "what is this about?"

_WATCH = Path(__file__).with_name("watchcalls.py")


def run(root: Path, python: str, document: Path, work: Path) -> dict[str, list[dict[str, object]]]:
    """Run both commands, and return what each process of them passed."""
    # Python imports a module of this name in every process, before anything else.
    (work / "sitecustomize.py").write_text(_WATCH.read_text("utf-8"), "utf-8")
    database = str(work / "db")
    commands = {
        "a page in ingest": ["ingest", str(document), "--db", database, "--workers", "1"],
        "a query": ["ask", _QUESTION, "--db", database],
    }
    found = {}
    for number, (name, command) in enumerate(commands.items()):
        notes = work / f"notes-{number}"
        notes.mkdir()
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(work), str(root)]),
            "PATCHLIGHT_WALK": str(notes),
            "PATCHLIGHT_WALK_ROOT": str(root.resolve()),
        }
        start = "from flows.__main__ import main; main()"
        if (root / "patchlight").is_dir():
            start = "from patchlight.flows.__main__ import main; main()"
        subprocess.run(
            [python, "-c", start, *command],
            cwd=work,
            env=environment,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        found[name] = [json.loads(path.read_text("utf-8")) for path in sorted(notes.iterdir())]
    return found


def told(processes: Iterable[dict[str, object]], house: House) -> str:
    """Say which modules were passed in order, and which calls went up."""
    height = depth(house.arrows)
    first: dict[str, float] = {}
    calls: set[tuple[str, str]] = set()
    for process in processes:
        for name, moment in dict(process["first"]).items():  # type: ignore[call-overload]
            if name in height:
                first[name] = min(moment, first.get(name, moment))
        calls |= {(str(a), str(b)) for a, b in process["calls"]}  # type: ignore[attr-defined]
    order = sorted(first, key=first.__getitem__)
    up = sorted((a, b) for a, b in calls if {a, b} <= height.keys() and height[b] > height[a])
    names = [name.removeprefix("tasks.") for name in order]
    other_rooms = sum(house.room[a] != house.room[b] for a, b in up)
    return "\n".join(
        [
            f"{len(order)} modules: " + " > ".join(names),
            f"goes up {len(up)} times, {other_rooms} of them into another room: "
            + "; ".join(f"{a} -> {b}" for a, b in up),
        ]
    )


def main() -> None:
    """Print both ways."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("document", type=Path)
    parser.add_argument("--root", type=Path, default=Path(__file__).parent.parent)
    parser.add_argument("--python", default=sys.executable)
    args = parser.parse_args()
    house = House.read(args.root)
    with tempfile.TemporaryDirectory() as work:
        found = run(args.root, args.python, args.document.resolve(), Path(work))
    for name, processes in found.items():
        print(f"{name}\n{told(processes, house)}\n")


if __name__ == "__main__":
    main()
