"""How rows get into tables of the monitoring database: new ones inserted, known ones brought up to date."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from parsl.monitoring import schema

if TYPE_CHECKING:
    from sqlalchemy import Connection, MetaData


class Upserts:
    """Adds rows to tables, by statements that are made once.

    Args:
        metadata: the description of the tables.
    """

    def __init__(self, metadata: MetaData) -> None:
        self._metadata = metadata
        self._statements: dict[tuple[str, str], Any] = {}

    def __call__(self, connection: Connection, table: str, rows: Sequence[Sequence[Any]]) -> None:
        """Insert rows; where there is one of that key, its columns take the new values that are not None.

        In the tables of sums the new values are added to those that are there.
        """
        if not rows:
            return
        dialect = connection.dialect.name
        statement = self._statements.get((dialect, table))
        if statement is None:
            statement = self._statements[dialect, table] = self._statement(connection, table)
        if dialect == "sqlite":
            # Compiled once, and given to the driver as it is: that is most of the speed.
            connection.exec_driver_sql(statement, [tuple(row) for row in rows])
        else:
            names = schema.columns(table)
            connection.execute(statement, [dict(zip(names, map(_no_nul, row), strict=True)) for row in rows])

    def _statement(self, connection: Connection, table: str) -> Any:
        sa = schema.sqlalchemy()
        from sqlalchemy.dialects import postgresql, sqlite

        target = self._metadata.tables[table]
        insert = (sqlite if connection.dialect.name == "sqlite" else postgresql).insert(target)
        keys = [c for c in target.c if c.primary_key]
        if keys:
            names = [c.name for c in target.c if not c.primary_key]
            join = _added if table in schema.SUMS else lambda _name, new, old: sa.func.coalesce(new, old)
            values = {name: join(name, insert.excluded[name], target.c[name]) for name in names}
            insert = (
                insert.on_conflict_do_update(index_elements=keys, set_=values)
                if values
                else insert.on_conflict_do_nothing(index_elements=keys)
            )
        if connection.dialect.name != "sqlite":
            return insert
        return str(insert.compile(dialect=connection.dialect, column_keys=schema.columns(table)))


def _added(name: str, new: Any, old: Any) -> Any:
    """Add up what was counted; the longest stays the longest."""
    if name in schema.LARGEST:
        return schema.sqlalchemy().case((new > old, new), else_=old)
    return old + new


def _no_nul(value: Any) -> Any:
    """Escape the one character that PostgreSQL's texts cannot hold."""
    return value.replace("\0", "\\0") if isinstance(value, str) and "\0" in value else value
