"""Tests of ingest: planning, taking, finishing, mending."""
