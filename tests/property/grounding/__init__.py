"""Property tests of tasks/grounding."""
