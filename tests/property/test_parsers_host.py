"""Records of logins and devices with any values in them: each becomes an event, and a row."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from millstream.parsers.formats import FORMATS

NOW = datetime(2026, 4, 7, 12, 0, tzinfo=UTC)

plain = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=12)
words = st.sampled_from(
    ["wtmp", "btmp", "utmp", "wtmpdb", "user_process", "dead_process", "run_level", "boot_time", "~", "{", "date",
     "runlevel", "203.0.113.9", ":0", "web.example via mosh [7]", "2026-03-01T10:00:00Z", "add", "remove", "usb", "1-2"]
)  # fmt: skip
values = st.recursive(
    plain | words, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3)
)
names = st.sampled_from(
    ["type", "pid", "line", "id", "user", "host", "address", "session", "exit", "time", "decides", "login", "service",
     "row", "bytes", "device_event", "place", "usb", "properties", "vendor_id", "product_id", "serial"]
)  # fmt: skip
records = st.dictionaries(names, values, max_size=12)


@given(records, st.sampled_from(["logins", "devices"]), values)
def test_any_record_is_an_event_and_a_row(record: dict[str, Any], name: str, first: Any) -> None:
    start = {"login_file": first} if name == "logins" else {"device_event": first}
    line = msgspec.json.encode({**start, **{key: value for key, value in record.items() if key not in start}})
    [event] = FORMATS[name].parser("x").events([line], now=NOW)
    assert event.raw == line.decode()
    frame = FORMATS[name].parser("x").columns([line], now=NOW)
    assert frame["message"].to_list() == [event.message]
