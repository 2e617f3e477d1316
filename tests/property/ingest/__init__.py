"""Property tests of tasks/ingest."""
