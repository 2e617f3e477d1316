"""Measuring answers against human evidence: readers, metrics, baselines and reports."""
