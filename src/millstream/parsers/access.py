r"""Access logs of web servers: common, combined, and combined with the virtual host before or more behind.

| shape | example |
|---|---|
| common | `10.0.0.1 - ann [10/Oct/2026:13:55:36 +0200] "GET /a HTTP/1.1" 200 2326` |
| combined | the same and `"https://example.com/" "Mozilla/5.0"` |
| virtual host | `example.com:443 10.0.0.1 - ...` |
| anything behind | the rest of the line, such as `"203.0.113.9" 0.012`, as it is |

A server writes what a client sends: quotes and backslashes come escaped (`\"`, `\\`), other bytes as `\x16`. Fields
hold the text with that undone; bytes that are not UTF-8 stay as `\xNN`. `raw` is always the line as it was.

Most lines have no backslash: they are read column by column, all at once. The others are read one by one, by an
expression that knows escapes; what that does not match either is kept whole, with the time of the line before it.

Source: httpd.apache.org/docs/2.4/mod/mod_log_config.html; nginx.org/en/docs/http/ngx_http_log_module.html.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Final

import msgspec

from millstream.parsers.pattern import MATCHED, Pattern
from millstream.parsers.system_event import text_of
from millstream.parsers.texts import columns_of

if TYPE_CHECKING:
    import polars as pl

_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_CLOCK: Final = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
_TIME: Final = rf"[0-3][0-9]/(?:{'|'.join(_MONTHS)})/[12][0-9]{{3}}:{_CLOCK} [+-][01][0-9][0-5][0-9]"
_TIME_PARTS: Final = re.compile(r"(\d\d)/(\w{3})/(\d{4}):(\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)", re.ASCII)
_NUMBERS: Final = r"(?P<status>[0-9]{3}) (?P<body_bytes>[0-9]{1,18}|-)"

_REQUEST: Final = Pattern(r"(?P<http_method>[A-Z]{3,20}) (?P<url>[^ ]+) (?P<http_version>HTTP/[0-9.]{1,5})")
_REST: Final = (
    rf" (?P<ident>[^ \\]+) (?P<user>[^ \[\\\"]+) \[(?P<time>{_TIME})\] "
    rf'"(?P<request>[^"\\]*)" {_NUMBERS}'
    r'(?: "(?P<referrer>[^"\\]*)" "(?P<user_agent>[^"\\]*)"(?: (?P<extra>[^\\]+))?)?'
)
# At each character there is one way to go on: with that the regex engine of Polars needs no more than one pass, a third
# of the time. So requests are taken apart afterwards, and lines with a virtual host have an expression of their own.
_PLAIN: Final = (
    Pattern(r"(?P<source_ip>[^ \\]+)" + _REST),
    Pattern(r"(?P<vhost>[^ \\]+) (?P<source_ip>[^- \\][^ \\]*)" + _REST),
)
"""A line without a backslash. Where a name has a space, `10.0.0.1 - ann lee`, the dash is no client behind a host."""

_ESCAPED: Final = re.compile(
    rf"(?:(?P<vhost>[^ ]+) (?=[^ -]))?(?P<source_ip>[^ ]+) (?P<ident>[^ ]+) (?P<user>[^\[]*?) \[(?P<time>{_TIME})\] "
    rf'"(?P<request>(?:[^"\\]|\\.)*)" {_NUMBERS}'
    r'(?: "(?P<referrer>(?:[^"\\]|\\.)*)" "(?P<user_agent>(?:[^"\\]|\\.)*)")?(?: (?P<extra>.+))?',
    re.DOTALL,
)
_ESCAPE: Final = re.compile(rb"\\(?:x([0-9A-Fa-f]{2})|(.))", re.DOTALL)
_CONTROL: Final = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v", b"b": b"\b", b"f": b"\f", b"a": b"\a"}


class AccessEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One request, as a web server logged it."""

    time: datetime
    """When the server logged it, in UTC."""
    source_ip: str | None = None
    """Who asked: an address, or a name where the server looks names up."""
    ident: str | None = None
    user: str | None = None
    http_method: str | None = None
    url: str | None = None
    http_version: str | None = None
    request: str | None = None
    """What was asked, where that was no request line."""
    status: int | None = None
    body_bytes: int | None = None
    referrer: str | None = None
    user_agent: str | None = None
    vhost: str | None = None
    extra: str | None = None
    """What the line has behind the known fields."""
    parsed: bool = True
    """False for a line of another shape; it is in `raw`."""
    raw: str = ""
    """The line as it was, without its line end. Bytes that are not UTF-8 are shown as `\\xNN`."""
    raw_bytes: bytes | None = None
    """The exact bytes of a line that is not UTF-8; None for all others, where `raw` is exact."""


class AccessParser:
    """Parses the lines of one access log, in order."""

    def __init__(self) -> None:
        self._time_before: datetime | None = None

    def continue_from(self, time: datetime | None) -> None:
        """Take a time as that of the line before the next; None leaves it."""
        self._time_before = time or self._time_before

    def columns(self, lines: Sequence[bytes], *, now: datetime) -> pl.DataFrame:
        """Return the columns of `AccessEvent`, a row for each line, in their order. Never fails on a line.

        Args:
            now: The time of reading, for lines of another shape at the beginning.
        """
        import polars as pl

        raw, raw_bytes = columns_of(lines)
        found, odd = _split(raw)
        if len(odd):
            rows = [_parse_odd(text) for text in raw.gather(odd)]
            slow = pl.DataFrame(rows, schema=found.schema, orient="row")
            found = found.with_columns(_put(found[name], odd, slow[name]) for name in found.columns)
        before = self._time_before or now.astimezone(UTC)
        found = found.with_columns(pl.col("time").forward_fill().fill_null(before))
        if len(found):
            self._time_before = found["time"][-1]
        return found.with_columns(raw, raw_bytes)

    def fits(self, line: bytes, *, now: datetime) -> bool:
        """Return whether a line is of this format."""
        return parse_line(text_of(line)[0]) is not None


def parse_line(text: str) -> dict[str, Any] | None:
    """Return the fields of one line by the exact expression, or None where it has another shape.

    What `AccessParser` says of a line is what this says; it is only faster.
    """
    match = _ESCAPED.fullmatch(text)
    time = _moment(match["time"]) if match else None
    if match is None or time is None:
        return None
    fields: dict[str, Any] = {
        name: None if value is None else _unescaped(value) for name, value in match.groupdict().items()
    }
    for name in ("source_ip", "ident", "user", "referrer", "user_agent", "request"):
        if fields[name] == "-":
            fields[name] = None
    request = _REQUEST.match(match["request"])
    fields |= {"time": time, "http_method": None, "url": None, "http_version": None}
    if request is not None:
        fields |= {name: _unescaped(part or "") for name, part in request.items()} | {"request": None}
    fields["status"] = int(fields["status"])
    fields["body_bytes"] = None if fields["body_bytes"] == "-" else int(fields["body_bytes"])
    return fields


_COLUMNS: Final = (
    "time", "source_ip", "ident", "user", "http_method", "url", "http_version", "request", "status", "body_bytes",
    "referrer", "user_agent", "vhost", "extra",
)  # fmt: skip


def _split(raw: pl.Series) -> tuple[pl.DataFrame, pl.Series]:
    """Return the fields of lines (null for those that no fast expression matches), and where those are."""
    import polars as pl

    plain, with_vhost = _PLAIN
    found = plain.extract(raw).with_columns(vhost=pl.lit(None, pl.String))
    left = found[MATCHED].is_null().arg_true()
    if len(left):
        more = with_vhost.extract(raw.gather(left)).select(found.columns)
        found = found.with_columns(_put(found[name], left, more[name]) for name in found.columns)
    request = _REQUEST.extract(found["request"])
    found = found.hstack(request.rename({MATCHED: "_request"})).select(
        pl.col("time").str.to_datetime("%d/%b/%Y:%H:%M:%S %z", time_unit="us", strict=False),
        *(_or_null(name) for name in ("source_ip", "ident", "user")),
        *_REQUEST.names,
        pl.when(pl.col("_request").is_null() & (pl.col("request") != "-")).then("request").alias("request"),
        pl.col("status").cast(pl.Int64),
        pl.col("body_bytes").cast(pl.Int64, strict=False),
        _or_null("referrer"),
        _or_null("user_agent"),
        "vhost",
        "extra",
        parsed=pl.col(MATCHED).is_not_null(),
    )
    return found, found["time"].is_null().arg_true()


def _put(column: pl.Series, rows: pl.Series, values: pl.Series) -> pl.Series:
    """Return a column with values in place of those of some rows."""
    return values if len(rows) == len(column) else column.scatter(rows, values)


def _parse_odd(text: str) -> tuple[Any, ...]:
    fields = parse_line(text)
    if fields is None:
        return (*[None] * len(_COLUMNS), False)
    return (*(fields[name] for name in _COLUMNS), True)


def _or_null(name: str) -> pl.Expr:
    import polars as pl

    return pl.when(pl.col(name) != "-").then(pl.col(name)).alias(name)


def _moment(text: str) -> datetime | None:
    """Return a time in UTC; None for one that does not exist, such as a 31 February."""
    match = _TIME_PARTS.fullmatch(text)
    if match is None:
        return None
    day, month, year, hour, minute, second, sign, hours, minutes = match.groups()
    away = timedelta(hours=int(hours), minutes=int(minutes)) * (-1 if sign == "-" else 1)
    place = _MONTHS.index(month) + 1
    try:
        moment = datetime(int(year), place, int(day), int(hour), int(minute), int(second), tzinfo=timezone(away))
        return moment.astimezone(UTC)
    except ValueError:
        return None


def _unescaped(text: str) -> str:
    if "\\" not in text:
        return text

    def one(match: re.Match[bytes]) -> bytes:
        if match[1] is not None:
            return bytes([int(match[1], 16)])
        return _CONTROL.get(match[2], match[2])

    return _ESCAPE.sub(one, text.encode()).decode(errors="backslashreplace")
