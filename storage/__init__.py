"""What lasts: records, table schemas, and reading and writing them in LanceDB."""
