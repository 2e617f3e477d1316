"""Property tests of tasks/kernels."""
