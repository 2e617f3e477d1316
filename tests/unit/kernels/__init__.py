"""Tests of what all kernels keep to."""
