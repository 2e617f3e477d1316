"""Pages: which ones a query may look at, how they are ranked, and in which order they come.

What stands above may import it. It does not know places: regions are grounding's, on its floor.
"""
