"""Channels of the Windows event log, against a stand-in for the operating system: nothing here ran on Windows."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.waiting import until
from tests.windows_events import as_xml

from millstream import App
from millstream.parsers.log_event import LogEvent
from millstream.parsers.windows_record import read_record
from millstream.sources.system import follow_system, system_sources
from millstream.sources.windows import CHANNELS, READING_EVENTS, WindowsSource, one_line
from millstream.sources.windows_api import (
    ACCESS_DENIED,
    CHANNEL_NOT_FOUND,
    RESULT_STALE,
    EventLogError,
    RenderedEvent,
    Subscription,
)

SERVICE_AWAY = 1722


def bookmark(channel: str, number: int) -> str:
    return (
        f"<BookmarkList>\r\n  <Bookmark Channel='{channel}' RecordId='{number}' IsCurrent='true'/>\r\n</BookmarkList>"
    )


def number_of(text: str) -> int:
    return int(text.partition("RecordId='")[2].partition("'")[0])


class Windows:
    """The event log of a machine: channels of numbered events."""

    def __init__(self) -> None:
        self.channels: dict[str, list[int]] = {}
        self.refusals: dict[str, int] = {}
        """Channel -> the code with which everything is refused."""
        self.next_number: dict[str, int] = {}
        self.open = 0
        self.news = threading.Event()

    def write(self, channel: str, count: int = 1) -> None:
        start = self.next_number.get(channel, 1)
        self.next_number[channel] = start + count
        self.channels.setdefault(channel, []).extend(range(start, start + count))
        self.news.set()

    def check(self, channel: str) -> None:
        code = self.refusals.get(channel) or (0 if channel in self.channels else CHANNEL_NOT_FOUND)
        if code:
            raise EventLogError(code, "The system says no.")

    def event(self, channel: str, number: int) -> RenderedEvent:
        values = {"TargetUserName": "ann", "LogonType": 2}
        return RenderedEvent(
            as_xml(4624, values, channel=channel, record_id=number).decode(), bookmark(channel, number)
        )

    def newest(self, channel: str, count_max: int) -> list[RenderedEvent]:
        self.check(channel)
        return [self.event(channel, number) for number in self.channels[channel][-count_max:]]

    def subscribe(self, channel: str, bookmark: str | None) -> Subscription:
        self.check(channel)
        if bookmark is not None and number_of(bookmark) not in self.channels[channel]:
            raise EventLogError(RESULT_STALE, "The query result is stale.")
        return _Subscription(self, channel, 0 if bookmark is None else number_of(bookmark))

    def oldest(self, channel: str) -> int | None:
        return self.channels[channel][0] if self.channels.get(channel) else None

    def wait(self, subscriptions: Sequence[Subscription], seconds: float) -> None:
        self.news.wait(seconds)
        self.news.clear()


class _Subscription:
    def __init__(self, windows: Windows, channel: str, last: int) -> None:
        self._windows, self._channel, self._last = windows, channel, last
        windows.open += 1

    def take(self, count_max: int) -> list[RenderedEvent]:
        self._windows.check(self._channel)
        found = [number for number in self._windows.channels[self._channel] if number > self._last][:count_max]
        self._last = found[-1] if found else self._last
        return [self._windows.event(self._channel, number) for number in found]

    def close(self) -> None:
        self._windows.open -= 1


class Reader:
    """Reads what there is, again and again, from the positions of the reading before."""

    def __init__(self, windows: Windows, *channels: str, events_first: int = 200) -> None:
        self.source = WindowsSource(channels, events_first=events_first, follow=False, logs=lambda: windows)
        self.positions: dict[bytes, bytes] = {}
        self.notes: list[str] = []

    def numbers(self) -> list[int]:
        found = []
        for reading in self.source.read(self.positions, threading.Event(), self.notes.append):
            self.positions.update({key: value for key, value in reading.positions.items() if value is not None})
            for line in reading.lines:
                record = read_record(line.data.decode())
                assert record is not None
                assert line.origin == record.channel
                found.append(record.record_id or 0)
        return found


@pytest.fixture
def windows() -> Windows:
    return Windows()


def test_newest_events_are_first_and_then_each_once(windows: Windows) -> None:
    windows.write("System", 50)
    reader = Reader(windows, "System", events_first=10)
    assert reader.numbers() == list(range(41, 51))
    assert reader.numbers() == []
    windows.write("System", READING_EVENTS * 2 + 3)
    assert reader.numbers() == list(range(51, 51 + READING_EVENTS * 2 + 3))
    assert reader.notes == []
    assert windows.open == 0


def test_channel_that_is_empty_at_first_is_read_from_its_first_event(windows: Windows) -> None:
    windows.channels["Security"] = []
    stop = threading.Event()
    source = WindowsSource(["Security"], logs=lambda: windows)
    readings = source.read({}, stop, pytest.fail)
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(len(next(readings).lines)), daemon=True)
    thread.start()
    until(lambda: source.following() == ("Security",), "subscribed")
    assert windows.open == 1
    windows.write("Security", 2)
    thread.join(60)
    assert found == [2]
    stop.set()
    assert list(readings) == []
    assert windows.open == 0
    assert source.following() == ()


def test_each_channel_has_its_own_position(windows: Windows) -> None:
    windows.write("Security", 3)
    windows.write("System", 2)
    reader = Reader(windows, "Security", "System")
    assert sorted(reader.numbers()) == [1, 1, 2, 2, 3]
    windows.write("System")
    assert reader.numbers() == [3]
    assert set(reader.positions) == {b"windows:Security", b"windows:System"}


def test_channels_that_may_not_be_read_or_are_not_there_are_said_and_the_others_are_read(windows: Windows) -> None:
    windows.write("System", 2)
    windows.write("Security", 2)
    windows.refusals["Security"] = ACCESS_DENIED
    reader = Reader(windows, "Security", "System", "Nowhere")
    assert reader.numbers() == [1, 2]
    assert reader.notes == [
        "the channel Security may not be read by this user; an administrator may, "
        "and members of the group Event Log Readers",
        "this machine has no channel Nowhere",
    ]


def test_log_that_went_round_says_how_much_was_lost_and_goes_on(windows: Windows) -> None:
    windows.write("System", 5)
    reader = Reader(windows, "System")
    assert len(reader.numbers()) == 5
    windows.write("System", 20)
    del windows.channels["System"][:15]
    assert reader.numbers() == list(range(16, 26))
    assert reader.notes == ["the channel System: 10 events were written over before they were read"]


@pytest.mark.parametrize("anew", [False, True])
def test_log_that_was_cleared_is_read_from_its_oldest_event(anew: bool, windows: Windows) -> None:
    windows.write("System", 5)
    reader = Reader(windows, "System")
    assert len(reader.numbers()) == 5
    windows.channels["System"].clear()
    if anew:
        windows.next_number["System"] = 1  # numbers begin anew as well
    windows.write("System", 2)
    assert reader.numbers() == ([1, 2] if anew else [6, 7])
    assert reader.notes == ["the channel System was cleared; it is read from its oldest event"]


def test_service_that_is_away_is_asked_again(windows: Windows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("millstream.sources.windows.RETRY_S_MIN", 0.01)
    windows.write("System", 2)
    notes: list[str] = []
    stop = threading.Event()
    readings = WindowsSource(["System"], logs=lambda: windows).read({}, stop, notes.append)
    assert len(next(readings).lines) == 2
    windows.refusals["System"] = SERVICE_AWAY
    windows.write("System", 3)
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(len(next(readings).lines)), daemon=True)
    thread.start()
    until(lambda: bool(notes), "it was said")
    del windows.refusals["System"]
    thread.join(60)
    assert found == [3]
    assert notes[0] == ("the channel System cannot be read now: The system says no. (error 1722); it is tried again")
    stop.set()
    assert list(readings) == []
    assert windows.open == 0


def test_events_become_records_once_over_restarts(windows: Windows, tmp_path: Path) -> None:
    for count in (2, 5):
        windows.write("Security", count - len(windows.channels.get("Security", [])))
        source = WindowsSource(["Security"], follow=False, logs=lambda: windows)
        with App(str(tmp_path / "log.db")) as app:
            with follow_system(app, "logs", sources=[source]) as follower:
                follower.join()
            events = [record.value for record in app.topic("logs", LogEvent).read(0, records_max=100)]
        assert [(event.fields or {})["record_id"] for event in events] == list(range(1, count + 1))
    assert {(event.action, event.user, event.source, event.format) for event in events} == {
        ("login", "ann", "Security", "windows")
    }


def test_event_of_several_lines_is_one_line_that_says_the_same() -> None:
    xml = as_xml(4624, {"UserAccountControl": "\r\n\t\t%%2080\n"}).decode()
    assert "\n" not in one_line(xml)
    found, wanted = read_record(one_line(xml)), read_record(xml)
    assert found == wanted
    assert found is not None
    assert found.data == {"UserAccountControl": "\r\n\t\t%%2080\n"}


def test_another_system_says_so_in_one_line() -> None:
    notes: list[str] = []
    assert list(WindowsSource().read({}, threading.Event(), notes.append)) == []
    assert notes == [
        "the Windows event log is not read: this machine runs another system; .evtx files of it are read anywhere"
    ]
    assert CHANNELS[0] == "Security"


def test_it_is_what_is_read_on_that_system_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as other:
        other.setattr(sys, "platform", "win32")
        found = system_sources()
    assert [source.name for source in found] == ["Windows event log"]
