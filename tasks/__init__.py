"""Computation, in rooms: ``tests/house.py`` lists them floor by floor.

Flows may import it, and it imports storage. It does not know flows or the command line.
"""
