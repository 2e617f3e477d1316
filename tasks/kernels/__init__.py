"""Arrays in, arrays out: boxes and grids, late interaction, propagation, pooling of vectors.

Everything above may import it. It does not know documents, databases or settings: only NumPy,
SciPy, records and the errors of ``common``.
"""
