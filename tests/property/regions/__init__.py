"""Property tests of tasks/regions."""
