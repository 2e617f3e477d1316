"""Proof that a machine's wrong wall clock changes nothing that a database holds or a query returns.

``python -m tests.clocks.run`` is the command; docs/decisions/0018-order-and-clocks.md has what it
showed.
"""
