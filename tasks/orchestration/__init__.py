"""The Prefect side: units of work as tasks with names and retries, and the temporary server.

Flows may import it. The tasks run on threads and only wait for Ray's workers; they do not know how
a page is read or scored. No other room knows Prefect.
"""
