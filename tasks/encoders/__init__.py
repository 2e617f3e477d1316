"""Page and query encoders behind one protocol: the embedded one, and the ColVision models.

Everything above may import it. It does not know where it runs (Ray's workers or this process), nor
what becomes of its vectors.
"""
