"""The writes that everything else is made of: upserts by key, and deletes."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from patchlight.storage.database import Database
from patchlight.storage.engine import connect, engine_errors, one_of, some_at_a_time
from patchlight.storage.locks import writing
from patchlight.storage.schema import KEYS, Table, schema_of


class Writer:
    """Writes rows to the tables of a database. Threads may share one.

    Each write is one commit: when it returns it is durable, and killed before that it did not
    happen. Each raises `StorageUnavailable` when the database cannot be written.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection = connect(database.uri)

    def upsert(self, table: Table, rows: pa.Table) -> None:
        """Store rows in place of those with the same keys; of a key twice the last one wins."""
        rows = _last_of_each(rows, KEYS[table])
        if rows.num_rows:
            self._merge(table, rows, None, insert=True)

    def append(self, table: Table, rows: pa.Table) -> None:
        """Store rows beside those that are there, whatever their keys.

        For rows that nothing refers to yet: one that failed may have stored them.
        """
        if rows.num_rows:
            with writing(self._database.uri), engine_errors(self._database.uri, table):
                self._connection.open_table(table.value).add(rows)

    def replace_all(self, table: Table, batches: Iterable[pa.RecordBatch]) -> None:
        """Store rows in place of all that are there, in one commit; one batch is in memory."""
        schema = schema_of(table, dim=1)
        rows = pa.RecordBatchReader.from_batches(schema, batches)
        with writing(self._database.uri), engine_errors(self._database.uri, table):
            self._connection.create_table(table.value, rows, schema=schema, mode="overwrite")

    def upsert_where(self, table: Table, rows: pa.Table, condition: str) -> int:
        """Store rows whose keys are new, and those whose stored row fulfils a condition.

        Args:
            table: where to.
            rows: of distinct keys.
            condition: SQL on ``target.<column>``, as stored, and ``source.<column>``, as given.

        Returns:
            How many were stored.
        """
        return self._merge(table, rows, condition, insert=True)

    def update_where(self, table: Table, rows: pa.Table, condition: str) -> int:
        """Store rows whose stored row fulfils a condition; see `upsert_where`."""
        return self._merge(table, rows, condition, insert=False)

    def delete(self, table: Table, condition: str) -> int:
        """Remove the rows that fulfil a SQL condition; returns how many there were."""
        dataset = self._database.table(table)
        with engine_errors(self._database.uri, table):
            if not dataset.count_rows(condition):  # a delete of nothing would make a version too
                return 0
            with writing(self._database.uri):
                result = self._connection.open_table(table.value).delete(condition)
        return int(result.num_deleted_rows)

    def delete_keys(self, table: Table, keys: Iterable[str]) -> None:
        """Remove rows by key; keys that are not there are ignored."""
        for some in some_at_a_time(keys):
            self.delete(table, one_of(KEYS[table], some))

    def _merge(self, table: Table, rows: pa.Table, condition: str | None, *, insert: bool) -> int:
        with writing(self._database.uri), engine_errors(self._database.uri, table):
            merge = self._connection.open_table(table.value).merge_insert(KEYS[table])
            merge = merge.when_matched_update_all(where=condition)
            if insert:
                merge = merge.when_not_matched_insert_all()
            result = merge.execute(rows)
        return int(result.num_updated_rows + result.num_inserted_rows)


def _last_of_each(rows: pa.Table, key: str) -> pa.Table:
    """The rows without those whose key a later row has too."""
    last = {value: position for position, value in enumerate(rows[key].to_pylist())}
    return rows if len(last) == rows.num_rows else rows.take(sorted(last.values()))
