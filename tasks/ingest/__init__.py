"""An ingest run: what it takes into work, what it does of it, what became of it; and mending.

May be imported by the packages above it: cluster, evaluation, admin, orchestration, and flows.
Does not know Ray or Prefect: it is handed what processes a shard (``ingestrun.ShardProcessor``).
"""
