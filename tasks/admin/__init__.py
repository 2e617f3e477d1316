"""What a person who keeps a database asks: status, doctor, failures, checks before a run.

Flows and the command line may import it. It changes no document and does not know Prefect.
Nothing below knows of it.
"""
