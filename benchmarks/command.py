"""The installed command line, run as users do, in processes of its own."""

from __future__ import annotations

import sys
from pathlib import Path

PATCHLIGHT = Path(sys.executable).with_name("patchlight")
"""The command of this environment."""
