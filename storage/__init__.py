"""What lasts: records, table schemas, and reading and writing them in LanceDB.

Every package may import it, and it imports none of them: it knows no Ray, no Prefect, no
encoder and no file of a document. Only here are LanceDB and DataFusion imported.
"""
