"""Lines of many records, each an event: of the OpenTelemetry Collector, of AWS CloudTrail."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from millstream import App
from millstream.cli.application import run
from millstream.clock import SystemClock
from millstream.logs.reparse import Reparser, Reparsing
from millstream.parsers.log_event import LogEvent
from millstream.sources.batches import BATCH_BYTES_MAX, records_of
from millstream.sources.files import FileSource
from millstream.sources.line_split import LINE_BYTES_MAX, READ_LINES_MAX
from millstream.sources.record_split import split_with_records
from millstream.sources.stream_lines import StreamLines
from millstream.sources.system import follow_system
from millstream.sources.tail import READ_BYTES, FileTail


def record(text: str, second: int = 0) -> dict[str, Any]:
    return {"timeUnixNano": str((1772359200 + second) * 10**9), "severityNumber": 17, "body": {"stringValue": text}}


def batch(*texts: str, service: str = "shop") -> bytes:
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]}
    scope = {"scope": {"name": "till"}, "logRecords": [record(text, second) for second, text in enumerate(texts)]}
    return msgspec.json.encode({"resourceLogs": [{"resource": resource, "scopeLogs": [scope]}]}) + b"\n"


def events_of(path: Path, **settings: Any) -> list[LogEvent]:
    with App("memory://") as app:
        source = FileSource([path], lines_first=None, follow=False, **settings)
        with follow_system(app, "logs", sources=[source]) as follower:
            follower.join()
        topic = app.topic("logs", LogEvent, time="time")
        events = [one.value for one in topic.read()]
        Reparser(app.log, "logs", Reparsing(to="again")).run()
        assert [one.value for one in app.topic("again", LogEvent, time="time").read()] == events
    return events


@pytest.mark.parametrize("format", ["otlp", "auto"])
def test_each_record_of_a_line_is_an_event_and_can_be_read_again(tmp_path: Path, format: str) -> None:
    path = tmp_path / "logs.json"
    path.write_bytes(batch("one", "two", "three") + batch("four", service="mail") + b"no batch\n")
    *events, other = events_of(path, format=format)
    assert [event.message for event in events] == ["one", "two", "three", "four"]
    assert [event.program for event in events] == ["shop", "shop", "shop", "mail"]
    assert [event.time.second for event in events] == [0, 1, 2, 0]
    assert {event.format for event in events} == {"otlp"}
    assert events[3].raw.encode() + b"\n" == batch("four", service="mail")
    assert other.message == "no batch"


def test_a_batch_larger_than_a_line_and_a_reading_is_read(tmp_path: Path) -> None:
    path = tmp_path / "logs.json"
    count = 8192
    path.write_bytes(b"before\n" + batch(*(f"{n} {'x' * 300}" for n in range(count))) + b"after\n")
    assert path.stat().st_size > 2 * READ_BYTES
    tail = FileTail(path, None, lines_first=None, clock=SystemClock(), note=print, split=split_with_records)
    found: list[bytes] = []
    while (reading := tail.read()) is not None:
        found += [line.data for line in reading.lines]
    tail.close()
    assert (found[0], len(found), found[-1]) == (b"before", count + 2, b"after")
    assert [int(json.loads(line)["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]["body"]["stringValue"].split()[0])
            for line in found[1:-1]] == list(range(count))  # fmt: skip


def test_a_batch_that_is_not_complete_waits() -> None:
    data = batch("one", "two")
    for size in range(len(data)):
        assert split_with_records(b"a\n" + data[:size]) == ([b"a"], 2)
    lines, consumed = split_with_records(b"a\n" + data + b"b")
    assert (len(lines), consumed) == (3, 2 + len(data))


def test_what_is_too_long_is_cut_as_any_line() -> None:
    data = b'{"resourceLogs":' + b"x" * BATCH_BYTES_MAX
    lines, consumed = split_with_records(data)
    assert (len(lines[0]), b"".join(lines)) == (LINE_BYTES_MAX, data[:consumed])


def test_a_reading_ends_behind_the_batch_that_fills_it() -> None:
    data = batch("one", "two") * READ_LINES_MAX
    lines, consumed = split_with_records(data)
    assert (len(lines), consumed) == (READ_LINES_MAX, len(data) // 2)


@pytest.mark.parametrize(
    "line",
    [
        b'{"resourceLogs":1}',
        b'{"resourceLogs":[]}',
        b'{"resourceLogs":[{"scopeLogs":[7]}]}',
        b'{"resourceLogs"',
        b'{"Records":[{"eventVersion":"1"},7]}',
        b'{"Records":[{"event":1}],"more":2}',
        b'{"Records":[{"event":1}',
        b'{"Records":[{"event":1}],"Records":7}',
        b"{}",
    ],
)
def test_what_is_no_batch_stays_a_line(line: bytes) -> None:
    assert records_of(line) == [line]


def test_batches_come_through_pipes() -> None:
    lines = StreamLines("stdin", split_with_records, quiet_us=None, now_us=lambda: 0)
    data = batch("one", "two" * 200_000, "three")
    found = [line for place in range(0, len(data), 65536) for line in lines.add(data[place : place + 65536])]
    assert len(found) == 3


def test_a_file_of_batches_is_put(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("logs.json").write_bytes(batch("one", "two") + batch("three"))
    assert run(["put", "logs", "--file", "logs.json", "--format", "auto", "--json"]) == 0
    said = capsys.readouterr()
    assert "is read as otlp" in said.err
    assert '"lines":2,"stored":3,' in said.out


def trail(*names: str) -> bytes:
    of = {"eventVersion": "1.08", "eventSource": "signin.amazonaws.com", "eventTime": "2026-03-01T10:00:00Z"}
    records = [of | {"eventName": name, "userIdentity": {"userName": "ann"}} for name in names]
    return json.dumps({"Records": records}, separators=(",", ":")).encode()


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("names", [("ConsoleLogin",), ("ConsoleLogin", "CreateUser")])
def test_a_file_of_cloudtrail_has_its_records(tmp_path: Path, suffix: str, names: tuple[str, ...]) -> None:
    data = trail(*names)  # it has no line end
    path = tmp_path / f"trail.json{suffix}"
    path.write_bytes(gzip.compress(data) if suffix else data)
    events = events_of(path, format="auto", end_after="1s")
    assert [event.message for event in events] == list(names)
    assert {(event.user, event.program, event.time.hour) for event in events} == {("ann", "signin.amazonaws.com", 10)}


def test_a_batch_between_lines_is_found() -> None:
    data = b"a\n" + trail("x", "y") + b"\nb\n" + batch("one", "two") + b'{"Records":[1]}\n'
    lines, consumed = split_with_records(data)
    assert (len(lines), lines[0], lines[3], lines[-1], consumed) == (7, b"a", b"b", b'{"Records":[1]}', len(data))
