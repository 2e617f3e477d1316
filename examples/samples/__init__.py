"""The sample documents of the demo: each module writes one of them."""
