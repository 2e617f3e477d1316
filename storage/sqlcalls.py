"""Functions that a statement calls for rows, made in Python while the engine does not run.

The engine asks for the table of a call while it plans, on a thread of its own. What is raised
there loses its type, Ctrl-C is not seen, and the engine can be asked nothing. So a statement is
planned to learn what it calls, then the rows are made, and then it is planned anew.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Protocol

import pyarrow as pa
from datafusion import Expr, SessionContext, Table, udtf

from patchlight.storage.errors import SqlError

_Call = tuple[tuple[type, object], ...]
"""The values of a call, each with its type: 1 and true are equal in Python."""


class RowsFunction(Protocol):
    """What makes the rows of a call."""

    @property
    def schema(self) -> pa.Schema:
        """That of all its rows, whatever it is called with."""

    def __call__(self, *values: object) -> pa.Table:
        """Make the rows.

        Args:
            values: what it is called with: text, int, float, bool, bytes, None for NULL, ...

        Raises:
            SqlError: it is not to be called with these.
        """


class TableCalls:
    """A function of a session's statements, and what it was called with so far.

    Args:
        context: the session.
        name: of the function.
        rows: makes its rows.
    """

    def __init__(self, context: SessionContext, name: str, rows: RowsFunction) -> None:
        self._context, self._name, self._rows = context, name, rows
        self._numbers = count(1)
        self._nothing = self._table(rows.schema.empty_table())
        self._tables: dict[_Call, Table] = {}
        self._noted: list[_Call | SqlError] = []

    def spell(self, name: str) -> None:
        """Let statements call the function, by its name as they spell it: case counts there."""
        self._context.register_udtf(udtf(self._of_call, name))

    def make_rows(self, plan: Callable[[], object]) -> None:
        """Make the rows that a statement calls for; those made before are kept.

        Args:
            plan: plans the statement.

        Raises:
            SqlError: the function is called with something that is no value, or that is another
                whenever the statement is planned, such as the time.
            Exception: what the function raises.
        """
        self._noted.clear()
        plan()
        for call in dict.fromkeys(self._noted):
            if isinstance(call, SqlError):
                raise call
            rows = self._rows(*(value for _, value in call))
            self._tables[call] = self._table(rows)
        if self._noted:
            self._check_same(plan)

    def _check_same(self, plan: Callable[[], object]) -> None:
        """Refuse values that change: their rows would be looked for in vain, and be none."""
        self._noted.clear()
        plan()
        if self._noted:
            raise SqlError(
                f"{self._name}: a value is another each time it is looked at, as now() is. Write "
                "it as a text or a number."
            )

    def _of_call(self, *expressions: Expr) -> Table:
        """The table of a call, for the engine; one without rows where they were not made yet."""
        try:
            call = tuple(map(self._value, expressions))
        except SqlError as error:
            self._noted.append(error)
            return self._nothing
        if call not in self._tables:
            self._noted.append(call)
        return self._tables.get(call, self._nothing)

    def _value(self, expression: Expr) -> tuple[type, object]:
        try:
            value = expression.python_value().as_py()
        except Exception as error:  # plain, of what is no literal, and of literals Arrow lacks
            raise SqlError(
                f"{self._name}: {expression.canonical_name()} is not a value. It takes values, "
                "such as 'text' and 5, and no columns, parameters or subqueries."
            ) from error
        return type(value), value

    def _table(self, rows: pa.Table) -> Table:
        """Rows for the engine, which would keep them under a name that everybody sees."""
        name = f"{self._name} {next(self._numbers)}"
        table = Table(self._context.from_arrow(rows, name))
        self._context.deregister_table(name)
        return table
