"""Property tests of tasks/retrieval."""
