"""Access logs of web servers as events of the one schema, beside logins and services.

The parts of a request are in `fields`, by the names of `AccessEvent` and of all other access logs: `status`,
`http_method`, `url`, `http_version`, `body_bytes`, `referrer`, `user_agent`, `vhost`, `ident`, `extra`, those that the
line has. `access` makes columns of them instead: take that where requests are all there is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from millstream.parsers.access import AccessParser, parse_line
from millstream.parsers.log_event import LogEvent
from millstream.parsers.system_event import text_of

if TYPE_CHECKING:
    import polars as pl

FIELDS: Final = (
    "status",
    "http_method",
    "url",
    "http_version",
    "body_bytes",
    "referrer",
    "user_agent",
    "vhost",
    "ident",
    "extra",
)
"""Of an `AccessEvent`, that have no field in a `LogEvent`."""
_NULL: Final = r',"[a-z_]+":null'
"""A field without a value, in compact JSON whose first field has one: inside a text a quote is escaped."""
_SPACE: Final = " \t\r\n"


class WebParser:
    """Parses the lines of one access log, in order."""

    format = "web"

    def __init__(self, source: str) -> None:
        self._source = source
        self._access = AccessParser()
        self._time_before: datetime | None = None

    def fits(self, line: bytes, *, now: datetime) -> bool:
        """Return whether a line is of this format."""
        return self._access.fits(line, now=now)

    def events(self, lines: Sequence[bytes], *, now: datetime) -> list[LogEvent]:
        """Return the event of each line, in their order. Never fails on a line."""
        return [self._event(line, now) for line in lines]

    def _event(self, line: bytes, now: datetime) -> LogEvent:
        text, exact = text_of(line)
        found = parse_line(text)
        if found is not None:
            self._time_before = found["time"]
        return LogEvent(
            time=self._time_before or now.astimezone(UTC),
            source=self._source,
            message=text.strip(_SPACE) if found is None else _message(found),
            source_ip=None if found is None else found["source_ip"],
            user=None if found is None else found["user"],
            raw=text,
            raw_bytes=exact,
            fields=None if found is None else _fields(found),
            format=self.format,
        )

    def columns(self, lines: Sequence[bytes], *, now: datetime) -> pl.DataFrame:
        """Return what `events` does as columns."""
        import polars as pl

        from millstream.parsers.event_parser import event_columns

        self._access.continue_from(self._time_before)
        found = self._access.columns(lines, now=now)
        if len(found):
            parsed = found.filter("parsed")
            if len(parsed):
                self._time_before = parsed["time"][-1]
        empty = event_columns([])
        request = pl.coalesce(
            pl.concat_str("http_method", "url", "http_version", separator=" "), "request", pl.lit("-")
        )
        fields = pl.struct(FIELDS)
        said = {
            "source": pl.lit(self._source),
            "message": pl.when("parsed")
            .then(pl.concat_str(request, pl.lit(" "), "status"))
            .otherwise(pl.col("raw").str.strip_chars(_SPACE)),
            "fields": pl.when("parsed").then(fields.struct.json_encode().str.replace_all(_NULL, "")),
            "format": pl.lit(self.format),
        }
        own = {name: pl.col(name) for name in ("time", "source_ip", "user", "raw", "raw_bytes")}
        return found.select(
            ({**said, **own}[name] if name in said or name in own else pl.lit(None)).cast(kind).alias(name)
            for name, kind in empty.schema.items()
        )


def _message(found: Mapping[str, Any]) -> str:
    method, url, version = (found[name] for name in ("http_method", "url", "http_version"))
    request = f"{method} {url} {version}" if method is not None else found["request"]
    return f"{'-' if request is None else request} {found['status']}"


def _fields(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: found[name] for name in FIELDS if found[name] is not None}
