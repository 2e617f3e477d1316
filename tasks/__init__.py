"""Computation: kernels, adapters to libraries, and the Ray and Prefect units that run them."""
