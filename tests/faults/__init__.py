"""Proof that an ingest killed anywhere, and started again, ends as one that was left alone.

``python -m tests.faults.run`` is the command; docs/faults.md describes it.
"""
