"""Property tests of tasks/evaluation."""
