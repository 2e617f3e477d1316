"""What every room may need: errors, settings, limits, logs, text that is safe to show, runs.

Flows and every other room of tasks/ may import it. It does not know any of them; below it is only
storage.
"""
