"""How long a question takes that is asked on its own, in a fresh process.

Run from the repository's root::

    python -m benchmarks.ask "how deep is the berth?" --db DB

Runs ``patchlight ask QUESTION --db DB --timing`` once to warm the file cache, then five times,
and prints the medians of the wall time and of the parts that the command names. The parts leave
out starting Python and what is imported before the command itself.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import time

from benchmarks.command import PATCHLIGHT

_PART = re.compile(r"^\s*(\d+\.\d+) s  (.+)$", re.MULTILINE)


def ask(question: str, db: str) -> dict[str, float]:
    """Ask once; return step -> seconds, the whole process among them.

    Raises:
        SystemExit: the command failed.
    """
    start = time.perf_counter()
    done = subprocess.run(
        [str(PATCHLIGHT), "ask", question, "--db", db, "--timing"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    wall = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"patchlight ask ended with {done.returncode}:\n{done.stderr}")
    parts = {name: float(seconds) for seconds, name in _PART.findall(done.stderr)}
    return {"the whole process": wall, **parts}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("question")
    parser.add_argument("--db", required=True, help="the database")
    parser.add_argument("--runs", type=int, default=5, help="runs after the first one")
    args = parser.parse_args()
    ask(args.question, args.db)
    runs = [ask(args.question, args.db) for _ in range(args.runs)]
    print(f"medians of {len(runs)} runs (lowest to highest), after 1 to warm up")
    for name in runs[0]:
        values = [run[name] for run in runs]
        spread = f"({min(values):.3f} to {max(values):.3f})"
        print(f"{statistics.median(values):7.3f} s  {spread:18}{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
