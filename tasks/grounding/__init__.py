"""Places: from the patches of a found page to the regions or spans of it that answer.

What stands above may import it. It does not know how a page was found, nor which pages there are;
all of it is pure but ``places``, which reads from a snapshot.
"""
