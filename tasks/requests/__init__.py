"""What can be asked for: a model for each flow, with every option's name, type, range and help.

Flows and the rooms on the floors above it may import it: the command line, the flows' parameters,
retries and the checks before a run. Packages that do the work, which stand below it, may not. It
does not know typer, Prefect or Ray.
"""
