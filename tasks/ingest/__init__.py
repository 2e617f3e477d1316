"""An ingest run: what it takes into work, what it does of it, what became of it; and mending.

The floors above it may import it. It does not know Ray or Prefect: it is handed what processes
a shard (``ingestrun.ShardProcessor``).
"""
