"""Calling functions in a process that may hang, crash or fill its memory, and can be killed.

Whatever opens documents may import it. It does not know what it runs: which module a process
imports first is the caller's choice, and no name of a reader, a page or a library is in it.
"""
