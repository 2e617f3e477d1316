"""Calling functions in a process that may hang, crash or fill its memory, and can be killed.

Whatever opens documents may import it. It does not know what it runs: which module a process
imports first is the caller's choice, and no reader's name is in it. It does know that the work may
be at a file or a page, and that Tesseract, whose time counts apart, may be at work for it.
"""
