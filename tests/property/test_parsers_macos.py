"""Entries of the unified log: what is written is read, in every style; nothing is too odd."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from millstream.parsers.event_parser import EventParser
from millstream.parsers.formats import FORMATS
from millstream.parsers.macos import macos_reader
from millstream.parsers.macos_messages import TABLES

NOW = datetime(2026, 4, 7, 12, 0, tzinfo=UTC)

times = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)).flatmap(  # noqa: DTZ001
    lambda moment: st.integers(-12 * 4, 14 * 4).map(
        lambda quarters: moment.replace(tzinfo=timezone(timedelta(minutes=15 * quarters)))
    )
)
programs = st.sampled_from(sorted({name for table in TABLES for name in table.programs} | {"sshd", "sudo", "x y"}))
starts = st.sampled_from(sorted({one.start for table in TABLES for one in table.shapes}))
messages = st.builds("{}{}".format, starts, st.text(max_size=60)) | st.text(max_size=60)
pids = st.integers(0, 2**31 - 1)


@given(times, programs, messages, pids)
def test_entry_that_is_written_is_read(time: datetime, program: str, message: str, pid: int) -> None:
    written = time.strftime("%Y-%m-%d %H:%M:%S.%f%z")
    entry = {"timestamp": written, "eventMessage": message, "processImagePath": f"/a/{program}", "processID": pid}
    read = macos_reader(UTC)
    found = read(json.dumps(entry), NOW)
    assert found is not None
    assert (found["time"], found["program"], found["pid"], found["message"]) == (time, program, pid, message)
    styles = (
        f"{written}  localhost {program}[{pid}]: (lib) [a.b:c] {message}",
        f"{written} 0x1a       Info        0x0                  {pid:<6} 0    {program}: (lib) [a.b:c] {message}",
        f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f} I  {program}[{pid}:1a] (lib) [a.b:c] {message}",
    )
    for line in styles:
        other = read(line, NOW)
        assert other is not None, line
        assert (other["time"], other["program"], other["pid"], other["message"]) == (time, program, pid, message)
        assert {name: other.get(name) for name in ("kind", "action", "user")} == {
            name: found.get(name) for name in ("kind", "action", "user")
        }


pieces = st.sampled_from(
    ["{", '"timestamp":', '"2026-03-01 11:00:00.123456+0100"', ",", '"eventMessage":', '"x"', '"processImagePath":',
     "7", "null", "}", "2026-03-01 11:00:00.123456+0100 ", " localhost ", "sudo[7]: ", "0x1a ",
     "Default ", "(", ")", "[", "]", ":", " Df "]
)  # fmt: skip


texts = st.lists(pieces | st.text(max_size=5), max_size=20).map("".join)


@given(texts | st.binary(max_size=30).map(lambda data: data.decode("latin-1")))
def test_no_line_is_too_odd(text: str) -> None:
    parser = FORMATS["macos"].parser("x")
    assert isinstance(parser, EventParser)
    [event] = parser.events([text.encode("utf-8", "surrogatepass")], now=NOW)
    assert event.time is not None
