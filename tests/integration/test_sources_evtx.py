"""Files of Windows event logs: each record once, over growth, rotation and damage."""

from __future__ import annotations

import io
import sys
import threading
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.evtx_writer import CHUNK_BYTES, chunk_bytes, file_head, security_event, write_evtx

from millstream import App, UsageError
from millstream.parsers.log_event import LogEvent
from millstream.sources.evtx import EvtxSource
from millstream.sources.evtx_file import EvtxFile
from millstream.sources.evtx_lines import is_evtx_file, open_evtx
from millstream.sources.system import follow_system

pytest.importorskip("evtx", reason='the package evtx is not installed: pip install "millstream[evtx]"')


def chunk(first: int, last: int, *, shift: int = 0, user: str = "ann") -> bytes:
    """A chunk with the records [first, last]."""
    return chunk_bytes(first, [security_event(number, user=user) for number in range(first, last + 1)], shift)


class Reader:
    """Reads what there is, again and again, from the positions of the reading before."""

    def __init__(self, *paths: Path | str) -> None:
        self._source = EvtxSource(paths, follow=False)
        self.positions: dict[bytes, bytes] = {}
        self.notes: list[str] = []

    def numbers(self) -> list[int]:
        found = []
        for reading in self._source.read(self.positions, threading.Event(), self.notes.append):
            self.positions.update({key: value for key, value in reading.positions.items() if value is not None})
            for line in reading.lines:
                event = msgspec.json.decode(line.data)["Event"]
                found.append(int(event["System"]["EventRecordID"]))
        return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "Security.evtx"


def test_file_becomes_events_once_over_restarts(path: Path, tmp_path: Path) -> None:
    write_evtx(path, [chunk(1, 30), chunk(31, 35)])
    for wanted in (35, 35, 40):
        if wanted == 40:
            write_evtx(path, [chunk(1, 30), chunk(31, 40)])
        with App(str(tmp_path / "log.db")) as app:
            with follow_system(app, "logs", sources=[EvtxSource([path], follow=False)]) as follower:
                follower.join()
            assert not follower.notes
            events = [record.value for record in app.topic("logs", LogEvent).read(0, records_max=100)]
            numbers = [(event.fields or {})["record_id"] for event in events]
            assert numbers == list(range(1, wanted + 1))
    assert {(event.kind, event.action, event.user, event.source_ip) for event in events} == {
        ("login", "login_failed", "ann", "203.0.113.9")
    }
    assert {(event.source, event.format, event.host) for event in events} == {(str(path), "windows", "PC1")}


def test_file_that_grows_is_followed(path: Path) -> None:
    write_evtx(path, [chunk(1, 3)])
    stop = threading.Event()
    readings = EvtxSource([path]).read({}, stop, pytest.fail)
    assert len(next(readings).lines) == 3
    write_evtx(path, [chunk(1, 30), chunk(31, 32)])
    assert len(next(readings).lines) == 29
    stop.set()
    assert list(readings) == []


def test_log_that_went_round_is_read_on_and_what_was_written_over_is_said(path: Path) -> None:
    reader = Reader(path)
    write_evtx(path, [chunk(1, 10), chunk(11, 20), chunk(21, 25)])
    assert reader.numbers() == list(range(1, 26))
    write_evtx(path, [chunk(31, 33), chunk(11, 20), chunk(21, 30)], dirty=True)
    assert reader.numbers() == list(range(26, 34))
    assert reader.notes == []
    write_evtx(path, [chunk(61, 63), chunk(41, 50), chunk(51, 60)])
    assert reader.numbers() == list(range(41, 64))
    assert reader.notes == [f"{path}: 7 records were written over before they were read"]


def test_log_that_was_cleared_or_replaced_is_read_from_its_first_record(path: Path) -> None:
    reader = Reader(path)
    write_evtx(path, [chunk(1, 10)])
    assert len(reader.numbers()) == 10
    write_evtx(path, [chunk(1, 2, shift=1000)])
    assert reader.numbers() == [1, 2]
    write_evtx(path, [chunk(1, 12, shift=2000)])  # as many, but others
    assert len(reader.numbers()) == 12
    assert reader.notes == [f"{path} is another log than before, or was cleared; it is read from its first record"] * 2
    assert reader.numbers() == []


def test_file_that_is_copied_meanwhile_is_read_as_it_comes(path: Path) -> None:
    reader = Reader(path)
    whole = file_head(2, 40) + chunk(1, 20) + chunk(21, 40)
    found: list[int] = []
    for size in (0, 5, 4096, 4096 + 100, 4096 + 5000, 4096 + CHUNK_BYTES, 4096 + CHUNK_BYTES + 6000, len(whole)):
        path.write_bytes(whole[:size])
        found += reader.numbers()
    assert found == list(range(1, 41))
    assert all("are not there, or not yet" in note for note in reader.notes)


def test_damage_costs_what_is_damaged_and_says_where(path: Path) -> None:
    reader = Reader(path)
    broken = bytearray(chunk(11, 20))
    third = broken.index((13).to_bytes(8, "little"), 512) - 8
    broken[third + 24 : third + 60] = b"\xff" * 36
    write_evtx(
        path, [chunk(1, 10), bytes(broken), b"no chunk".ljust(CHUNK_BYTES, b"x"), chunk(21, 30), bytes(CHUNK_BYTES)]
    )
    found = reader.numbers()
    assert set(range(1, 31)) - set(found) == {13}
    damaged, none = sorted(reader.notes, key=lambda note: "no chunk" in note)
    assert damaged.startswith(
        f"{path}: the chunk at byte 69,632 is damaged; 1 of its records could not be read (record 13)"
    )
    assert none == f"{path}: at byte 135,168 there is no chunk of an event log; it is left out"
    assert reader.numbers() == []


def test_records_read_before_their_chunk_was_damaged_are_not_read_again(path: Path) -> None:
    reader = Reader(path)
    write_evtx(path, [chunk(1, 10)])
    assert len(reader.numbers()) == 10
    broken = bytearray(chunk(1, 10))
    broken[512:520] = b"\0" * 8
    write_evtx(path, [bytes(broken), chunk(11, 12)])
    assert reader.numbers() == [11, 12]


def test_table_of_names_that_leads_nowhere_ends() -> None:
    broken = bytearray(chunk(1, 10))
    place = broken.index("Event".encode("utf-16-le")) - 8
    broken[128:384] = place.to_bytes(4, "little") * 64
    broken[place : place + 4] = place.to_bytes(4, "little")
    file = EvtxFile(io.BytesIO(file_head(1, 1) + broken), "x", pytest.fail)
    [found] = file.chunks()
    assert [record.number for record in file.records(found)] == list(range(1, 11))


@pytest.mark.parametrize("odd", [1, ord('"'), ord("\\")])
def test_a_record_with_a_name_that_cannot_be_written_is_said_and_left_out(odd: int) -> None:
    data = bytearray(file_head(1, 1) + chunk(1, 5))
    data[4096 + 1164] = odd  # of the name `Computer` of the first record, which the others refer to
    notes: list[str] = []
    file = EvtxFile(io.BytesIO(data), "x", notes.append)
    [found] = file.chunks()
    records = list(file.records(found))
    assert all(msgspec.json.decode(record.data) for record in records)
    assert len(records) < 5
    assert "the name of a value in record 1 is damaged" in notes[0]


@given(st.lists(st.tuples(st.integers(0, 9000), st.integers(0, 255)), max_size=30), st.integers(0, 20_000))
def test_no_file_is_too_odd(changes: list[tuple[int, int]], cut: int) -> None:
    data = bytearray(file_head(1, 1) + chunk(1, 5))
    for place, value in changes:
        data[4096 + place] = value
    file = EvtxFile(io.BytesIO(data[:cut] if cut < 10_000 else data), "x", lambda sentence: None)
    for found in file.chunks():
        for record in file.records(found):
            assert msgspec.json.decode(record.data)


def test_patterns_find_files_also_later_ones_and_what_is_none_is_said(tmp_path: Path) -> None:
    reader = Reader(tmp_path / "*.evtx", tmp_path / "later.log")
    assert reader.numbers() == []
    write_evtx(tmp_path / "a.evtx", [chunk(1, 2)])
    (tmp_path / "b.evtx").write_text("no event log at all")
    assert reader.numbers() == [1, 2]
    assert reader.notes[-1] == f"{tmp_path}/b.evtx is no .evtx file of the Windows event log; it is not read"
    assert reader.notes[0] == f"not on this machine: {tmp_path}/*.evtx"
    assert f"not on this machine: {tmp_path}/later.log" in reader.notes
    write_evtx(tmp_path / "later.log", [chunk(7, 7)])
    assert reader.numbers() == [7]


def test_lines_of_a_file_are_all_its_records(path: Path) -> None:
    write_evtx(path, [chunk(11, 20), chunk(1, 10)])
    assert is_evtx_file(path)
    notes: list[str] = []
    with open_evtx(path, notes) as lines:
        data = lines.read(1) + lines.read(1)
        assert lines.read(1) == b""
        assert lines.done_bytes == lines.size_bytes
    events = [msgspec.json.decode(line)["Event"] for line in data.splitlines()]
    assert [int(event["System"]["EventRecordID"]) for event in events] == list(range(1, 21))
    assert notes == []


def test_file_of_another_kind_is_refused(path: Path) -> None:
    path.write_text("text")
    assert not is_evtx_file(path)
    with pytest.raises(UsageError, match=r"Security.evtx is no .evtx file"), open_evtx(path, []):
        pass


def test_package_that_is_missing_is_said_with_what_to_install(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "evtx", None)
    with pytest.raises(UsageError, match=r"pip install 'millstream\[evtx\]'"):
        EvtxSource([path])
