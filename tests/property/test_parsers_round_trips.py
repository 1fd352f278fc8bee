"""What is written in a format is what is read of it: parse(format(x)) == x."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from millstream.parsers.event_parser import EventParser
from millstream.parsers.formats import FORMATS
from millstream.parsers.levels import severity_of_status
from millstream.parsers.log_event import LogEvent
from millstream.parsers.times import parse_time

NOW = datetime(2026, 3, 7, 12, 0, tzinfo=UTC)
# Hypothesis wants its bounds without a zone, and adds it.
_FIRST, _LAST, _YEAR_AGO, _TODAY = (
    datetime.fromisoformat(day) for day in ("1999-01-01", "2068-01-01", "2025-03-09", "2026-03-07")
)

moments = st.datetimes(_FIRST, _LAST, timezones=st.just(UTC))
seconds = moments.map(lambda moment: moment.replace(microsecond=0))
past = st.datetimes(_YEAR_AGO, _TODAY, timezones=st.just(UTC)).map(lambda moment: moment.replace(microsecond=0))
zones = st.integers(-12 * 4, 14 * 4).map(lambda quarters: timezone(timedelta(minutes=15 * quarters)))
words = st.text(st.sampled_from("abcxyzäöü019"), min_size=1, max_size=8)
names = st.text(st.sampled_from("abcdefghij"), min_size=1, max_size=8)
texts = st.lists(words, min_size=1, max_size=6).map(" ".join)
values = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=12)
addresses = st.ip_addresses(v=4).map(str)
ports = st.integers(1, 65535)
paths = st.lists(words, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))
methods = st.sampled_from(["GET", "POST", "PUT", "DELETE"])
statuses = st.integers(100, 599)
sizes = st.integers(0, 10**12)
loggers = st.lists(names, min_size=2, max_size=4).map(".".join)
levels = st.sampled_from(
    [("DEBUG", "debug"), ("INFO", "info"), ("WARN", "warning"), ("ERROR", "err"), ("FATAL", "crit")]
)


def one(name: str, *lines: str) -> LogEvent:
    """Return the event of the last of some lines."""
    parser = FORMATS[name].parser("x")
    assert isinstance(parser, EventParser)
    return parser.events([line.encode() for line in lines], now=NOW)[-1]


@given(moments, zones)
def test_time_with_a_zone_is_read_as_it_was_written(moment: datetime, zone: timezone) -> None:
    local = moment.astimezone(zone)
    for text in (
        local.isoformat(),
        local.strftime("%Y-%m-%d %H:%M:%S.%f %z"),
        local.strftime("%Y/%m/%d %H:%M:%S,%f%z"),
        local.strftime("%Y%m%dT%H%M%S.%f%z"),
        local.strftime("%Y-%jT%H:%M:%S.%f%z"),
        str(moment.timestamp()) if moment.year < 2001 else f"{int(moment.timestamp() * 10**6 + 0.5)}",
    ):
        assume(moment.timestamp() > 10**9)
        found = parse_time(text, now=NOW, zone=UTC)
        assert found is not None
        assert abs(found - moment) <= timedelta(microseconds=1)


@given(seconds, zones)
def test_second_with_a_zone_is_read_as_it_was_written(moment: datetime, zone: timezone) -> None:
    local = moment.astimezone(zone)
    for text in (
        local.strftime("%d/%b/%Y:%H:%M:%S %z"),
        local.strftime("%a, %d %b %Y %H:%M:%S %z"),
        local.strftime("%d-%b-%Y %H:%M:%S %z"),
        local.strftime("%m/%d/%Y %I:%M:%S %p %z"),
        local.strftime("%d.%m.%Y %H:%M:%S %z"),
        local.strftime("%b %d, %Y %I:%M:%S %p %z"),
        local.strftime("%a %b %d %H:%M:%S %z %Y"),
    ):
        assert parse_time(text, now=NOW, zone=UTC) == moment, text


@given(past)
def test_time_without_a_year_is_in_the_last_twelve_months(moment: datetime) -> None:
    assume((moment.month, moment.day) != (2, 29))
    assert parse_time(moment.strftime("%b %e %H:%M:%S"), now=NOW, zone=UTC) == moment


@given(moments, levels, loggers, texts, st.integers(1, 10**6))
def test_line_of_an_application_is_read_as_it_was_written(
    moment: datetime, level: tuple[str, str], logger: str, text: str, pid: int
) -> None:
    word, severity = level
    milliseconds = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    at = milliseconds.isoformat(sep=" ", timespec="milliseconds").replace("+00:00", "")
    expected: dict[str, Any] = {"time": milliseconds, "severity": severity, "program": logger, "message": text}
    for line, more in (
        (f"{at}Z [main] {word:5} {logger} - {text}", {"fields": {"thread": "main"}}),
        (f"{at} +0000 - {logger} - {word} - {text}", {}),
        (f"{at}Z {word:>5} {pid} --- [main] {logger} : {text}", {"pid": pid, "fields": {"thread": "main"}}),
        (f"{at} UTC {pid} {word} {logger}: {text}", {"pid": pid}),
    ):
        event = one("application", line)
        assert {name: getattr(event, name) for name in {**expected, **more}} == {**expected, **more}, line


@given(moments, addresses, ports, methods, paths, statuses, sizes)
def test_request_of_a_proxy_is_read_as_it_was_written(
    moment: datetime, address: str, port: int, method: str, path: str, status: int, size: int
) -> None:
    at = moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
    envoy = f'[{at}] "{method} {path} HTTP/2" {status} - 1 {size} 22 10 "{address}" "ua" "id" "shop" "b:80"'
    alb = (
        f'http {at} app/lb/1 {address}:{port} - 0 0 0 {status} {status} 1 {size} "{method} {path} HTTP/1.1" '
        f'"ua" - - arn '
        f'"t" "-" "-" 0 {at} "f" "-" "-"'
    )
    squid = (
        f"{int(moment.timestamp())}.000 7 {address} TCP_MISS/{status} {size} {method} {path} - HIER_NONE/- text/html"
    )
    for line, exact in ((envoy, True), (alb, True), (squid, False)):
        assume(10**9 < moment.timestamp() < 9 * 10**9)
        event = one("proxy", line)
        fields = event.fields or {}
        assert event.time == (moment if exact else moment.replace(microsecond=0))
        assert (event.source_ip, event.severity) == (address, severity_of_status(status))
        assert (fields["http_method"], fields["url"], fields["status"]) == (method, path, status)
        assert fields["body_bytes"] == size


@given(seconds, addresses, ports, methods, paths, statuses, sizes, names)
def test_request_of_haproxy_is_read_as_it_was_written(
    moment: datetime, address: str, port: int, method: str, path: str, status: int, size: int, server: str
) -> None:
    event = one(
        "haproxy",
        f"<134>{moment.isoformat()} lb haproxy[7]: {address}:{port} [01/Mar/2026:10:00:00.123] web shop/{server} "
        f'1/2/3/4/10 {status} {size} - - ---- 1/1/1/1/0 0/0 "{method} {path} HTTP/1.1"',
    )
    fields = event.fields or {}
    assert (event.time, event.source_ip, event.source_port, event.pid) == (moment, address, port, 7)
    assert (fields["http_method"], fields["url"], fields["status"]) == (method, path, status)
    assert (fields["server"], fields["body_bytes"], fields["duration_ms"]) == (server, size, 10)


@given(moments, st.sampled_from(["stdout", "stderr"]), st.booleans(), texts)
def test_line_of_a_container_is_read_as_it_was_written(moment: datetime, stream: str, whole: bool, text: str) -> None:
    at = moment.isoformat(timespec="microseconds").replace("+00:00", "000Z")
    partial = {} if whole else {"partial": True}
    docker = json.dumps({"log": text + "\n" * whole, "stream": stream, "time": at})
    for line in (f"{at} {stream} {'F' if whole else 'P'} {text}", docker):
        event = one("container", line)
        assert (event.time, event.message, event.fields) == (moment, text, {"stream": stream, **partial})


@given(moments, st.sampled_from("\t,;|"), st.lists(values, min_size=2, max_size=5), texts)
def test_row_of_a_table_is_read_as_it_was_written(moment: datetime, mark: str, cells: list[str], text: str) -> None:
    columns = [f"column_{number}" for number in range(len(cells))]
    written = io.StringIO()
    csv.writer(written, delimiter=mark, lineterminator="\n").writerows(
        [["time", "message", *columns], [moment.isoformat(), text, *cells]]
    )
    head, row = written.getvalue().split("\n")[:2]
    event = one("csv", head, row)
    said = {name: value for name, value in zip(columns, cells, strict=True) if value}
    assert (event.time, event.message, event.fields or {}) == (moment, text, said)


@given(moments, addresses, ports, st.sampled_from("TF"), names)
def test_line_of_zeek_is_read_as_it_was_written(moment: datetime, address: str, port: int, ok: str, uid: str) -> None:
    head = ("#path\tssh", "#fields\tts\tuid\tid.orig_h\tid.orig_p\tauth_success\tclient")
    event = one("zeek", *head, f"{moment.timestamp():.6f}\t{uid}\t{address}\t{port}\t{ok}\t-")
    assume(moment.timestamp() > 10**9)
    assert abs(event.time - moment) <= timedelta(microseconds=1)
    assert (event.source_ip, event.source_port, event.session, event.success) == (address, port, uid, ok == "T")


@given(moments, addresses, methods, paths, statuses, sizes, texts)
def test_ltsv_is_read_as_it_was_written(
    moment: datetime, address: str, method: str, path: str, status: int, size: int, agent: str
) -> None:
    request = f"host:{address}\treq:{method} {path} HTTP/2\tstatus:{status}\tsize:{size}\tua:{agent}"
    event = one("ltsv", f"time:{moment.isoformat()}\t{request}")
    assert (event.time, event.source_ip, event.severity) == (moment, address, severity_of_status(status))
    assert event.fields == {
        "http_method": method, "url": path, "http_version": "HTTP/2", "status": status, "body_bytes": size,
        "user_agent": agent,
    }  # fmt: skip


@given(moments, names, texts, st.text(st.sampled_from('ab ,;:="\\'), max_size=9))
def test_pairs_are_read_as_they_were_written(moment: datetime, user: str, text: str, odd: str) -> None:
    quoted = odd.replace("\\", "\\\\").replace('"', '\\"')
    event = one("pairs", f'time: "{moment.isoformat()}", user={user}; message: {text}, odd = "{quoted}"')
    assert (event.time, event.user, event.message) == (moment, user, text)
    assert event.fields == {"odd": odd}
