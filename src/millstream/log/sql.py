"""SQL over topics."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from millstream.errors import UsageError

_READS = re.compile(r"(\s|--[^\n]*\n|\()*(select|with|show|explain)\b", re.IGNORECASE)
"""Polars would also accept DROP and DELETE, which change its view of a topic and nothing else."""
_FUNCTION: Final = re.compile(r"unsupported function '(\w+)'")
_COLUMN: Final = re.compile(r'unable to find column "([^"]+)"')

_ZONES: Final = re.compile(r"Datetime\(.*'UTC'\).*Datetime\('\S+'\)$|Datetime\('\S+'\) and .*'UTC'\)$")
"""Polars compares no time that has a zone with one that has none."""
_NOW: Final = re.compile(
    r"""('[^']*'|"[^"]*"|--[^\n]*|/\*.*?\*/)"""  # left as it is
    r"""|\b(now\s*\(\s*\)|current_timestamp\b(?:\s*\(\s*\))?)|\bcurrent_date\b(?:\s*\(\s*\))?""",
    re.IGNORECASE | re.DOTALL,
)

if TYPE_CHECKING:
    import polars as pl


def run_sql(query: str, tables: Mapping[str, Callable[[], pl.LazyFrame]], *, now: datetime) -> pl.DataFrame:
    """Answer a query; of the tables, only those are made whose names stand in it.

    Args:
        now: What `now()` and `current_timestamp` are, and in UTC the day of `current_date`. All times of a log are in
            UTC, and Polars would take the machine's zone and leave it out.

    Raises:
        UsageError: The query is wrong, or names a table or column that does not exist; lists those that do.
    """
    import polars as pl

    if not _READS.match(query):
        raise UsageError("only queries that read work here: begin with SELECT, WITH, SHOW or EXPLAIN")
    frames = {name: make() for name, make in tables.items() if name in query}
    try:
        with pl.SQLContext(frames=frames) as context:
            return context.execute(_with_now(query, now), eager=False).collect(engine="streaming")
    except (pl.exceptions.SQLInterfaceError, pl.exceptions.SQLSyntaxError) as error:
        known = ", ".join(sorted(tables)) or "none yet"
        hint = _word_of_sql(str(error), frames)
        raise UsageError(f"the query does not work: {_reason(error)}{hint}; tables: {known}") from error
    except pl.exceptions.ColumnNotFoundError as error:
        columns = {name: ", ".join(frame.collect_schema().names()) for name, frame in frames.items()}
        listed = "; ".join(f"{name}: {names}" for name, names in columns.items())
        missing = _COLUMN.search(str(error))
        name = repr(missing[1]) if missing else _reason(error)
        raise UsageError(f"there is no column {name}; there are {listed}") from error
    except pl.exceptions.PolarsError as error:
        reason = _reason(error)
        hint = "; times have a zone here: write TIMESTAMPTZ '2026-01-31T12:00:00Z'" if _ZONES.search(reason) else ""
        raise UsageError(f"the query does not work: {reason}{hint}") from error


def _with_now(query: str, now: datetime) -> str:
    moment = now.astimezone(UTC)

    def replaced(found: re.Match[str]) -> str:
        if found[1] is not None:
            return found[1]
        return f"DATE '{moment:%Y-%m-%d}'" if found[2] is None else f"TIMESTAMPTZ '{moment:%Y-%m-%dT%H:%M:%S.%fZ}'"

    return _NOW.sub(replaced, query)


def _reason(error: Exception) -> str:
    """Return what Polars says, without the plan that it shows below."""
    return str(error).partition("\n")[0]


def _word_of_sql(said: str, frames: Mapping[str, pl.LazyFrame]) -> str:
    """Return what to do where a column is called as a function of SQL is."""
    found = _FUNCTION.search(said)
    if found is None or not any(found[1] in frame.collect_schema().names() for frame in frames.values()):
        return ""
    return f'; the column of that name is meant by "{found[1]}" in double quotes'
