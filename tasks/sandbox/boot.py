"""A small program of its own: it starts ``tasks.sandbox.child`` on its parent's import path.

It is started by its path, with ``-P``, so it can import nothing of ours before it has that path:
``boot.py <connection> <shared memory> <parent> <preload> <path> ...``.
"""

from __future__ import annotations

import sys

_OWN_ARGUMENTS = 5
"""The program, and what ``tasks.sandbox.child.main`` takes; entries of the path follow."""


def main() -> None:
    """Take over the path, and serve the parent until it goes away."""
    sys.path[:] = sys.argv[_OWN_ARGUMENTS:]
    from patchlight.tasks.sandbox.child import main as serve

    serve()


if __name__ == "__main__":
    main()
