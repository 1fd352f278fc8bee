"""LTSV: labels and values with tabs between them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from millstream.parsers.choose import choose_format
from millstream.parsers.formats import FORMATS
from millstream.parsers.log_event import LogEvent

NOW = datetime(2026, 3, 7, 12, tzinfo=UTC)
REQUEST = (
    "time:[01/Mar/2026:11:00:00 +0100]\thost:203.0.113.9\tuser:ann\treq:GET /a?b=c HTTP/1.1\tstatus:503\tsize:12"
    "\treferer:-\tua:curl/8: x\tvhost:example.com\treqtime:0.03"
)


def event(line: str) -> LogEvent:
    [found] = FORMATS["ltsv"].parser("access.ltsv").events([line.encode()], now=NOW)  # type: ignore[attr-defined]
    assert isinstance(found, LogEvent)
    assert found.raw == line
    return found


def test_a_request_is_told_as_in_other_access_logs() -> None:
    found = event(REQUEST)
    assert found.time == datetime(2026, 3, 1, 10, tzinfo=UTC)
    assert (found.message, found.severity, found.user) == ("GET /a?b=c 503", "err", "ann")
    assert (found.source_ip, found.host) == ("203.0.113.9", None)
    assert found.fields == {
        "http_method": "GET", "url": "/a?b=c", "http_version": "HTTP/1.1", "status": 503, "body_bytes": 12,
        "user_agent": "curl/8: x", "vhost": "example.com", "reqtime": "0.03",
    }  # fmt: skip
    assert choose_format([REQUEST.encode()]) == "ltsv"


def test_parts_of_a_request_may_have_labels_of_their_own() -> None:
    found = event("time:2026-03-01T10:00:00Z\thost:[2001:db8::1]:443\tmethod:POST\turi:/b\tstatus:200\tsize:many")
    assert (found.message, found.source_ip, found.source_port) == ("POST /b 200", "2001:db8::1", 443)
    assert found.fields == {"http_method": "POST", "url": "/b", "status": 200, "body_bytes": "many"}


def test_what_is_no_request_is_names_and_values() -> None:
    found = event("time:2026-03-01T10:00:00Z\tlevel:warn\tmsg:late: by far\thost:web\tstatus:odd\tempty:")
    assert (found.severity, found.message, found.host, found.source_ip) == ("warning", "late: by far", "web", None)
    assert found.fields == {"status": "odd"}


@pytest.mark.parametrize("line", ["time:2026-03-01T10:00:00Z", "a line\twith tabs", "a:1\t10:00:00", "a:1\t:b", ""])
def test_any_other_line_is_a_message(line: str) -> None:
    found = event(line)
    assert (found.message, found.fields) == (line, None)
