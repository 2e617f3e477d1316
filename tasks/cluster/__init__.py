"""The Ray side: starting or joining a cluster, what runs on its workers, and waiting for it.

Flows, admin and orchestration may import it. It does not know Prefect, nor what a run is: it is
handed shards and blocks, and hands back rows and places. No other room knows Ray.
"""
