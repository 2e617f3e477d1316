"""What can be asked for: a model for each flow, with every option's name, type, range and help.

The command line, the flows' parameters and the preflight checks take options from here, and may
import it; packages that do the work may not. It does not know typer, Prefect or Ray.
"""
