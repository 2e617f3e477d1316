"""From a file of queries to answers: what is asked, from what, and the files that result.

Flows, admin, orchestration, cluster and evaluation may import it. It does not know Ray or Prefect:
ranking and grounding are done by whoever has it.
"""
