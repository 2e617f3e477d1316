"""Prefect flows and the command line, nothing else."""

import time

STARTED = time.perf_counter()
"""When this process began to load patchlight; what comes before is Python's own start."""
