"""SQL over topics."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from millstream.errors import UsageError

_READS = re.compile(r"(\s|--[^\n]*\n|\()*(select|with|show|explain)\b", re.IGNORECASE)
"""Polars would also accept DROP and DELETE, which change its view of a topic and nothing else."""

if TYPE_CHECKING:
    import polars as pl


def run_sql(query: str, tables: Mapping[str, Callable[[], pl.LazyFrame]]) -> pl.DataFrame:
    """Answer a query; of the tables, only those are made whose names stand in it.

    Raises:
        UsageError: The query is wrong, or names a table or column that does not exist; lists those that do.
    """
    import polars as pl

    if not _READS.match(query):
        raise UsageError("only queries that read work here: begin with SELECT, WITH, SHOW or EXPLAIN")
    frames = {name: make() for name, make in tables.items() if name in query}
    try:
        with pl.SQLContext(frames=frames) as context:
            return context.execute(query, eager=False).collect(engine="streaming")
    except (pl.exceptions.SQLInterfaceError, pl.exceptions.SQLSyntaxError) as error:
        known = ", ".join(sorted(tables)) or "none yet"
        raise UsageError(f"the query does not work: {error}; tables: {known}") from error
    except pl.exceptions.ColumnNotFoundError as error:
        columns = {name: ", ".join(frame.collect_schema().names()) for name, frame in frames.items()}
        listed = "; ".join(f"{name}: {names}" for name, names in columns.items())
        raise UsageError(f"there is no column {error}; there are {listed}") from error
    except pl.exceptions.PolarsError as error:
        raise UsageError(f"the query does not work: {error}") from error
