"""Property tests of storage."""
