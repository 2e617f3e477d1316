"""One page, from its file to words, regions and a picture; and pages in shards.

What stands above may import it. It does not know Ray, nor the database: it is told what is stored.
"""
