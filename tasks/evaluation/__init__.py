"""Measuring answers against human evidence: readers, metrics, baselines and reports.

The floors above it may import it. It does not know how answers are made: it is handed them, and
asks the same questions that a person would.
"""
