"""The log of auditd, followed: restarts anywhere, rotation, an event without its end."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from millstream import App
from millstream.parsers.log_event import LogEvent
from millstream.sources.audit import AuditSource
from millstream.sources.system import follow_system


def syscall(serial: int, second: int = 1772359200) -> list[str]:
    at = f"audit({second}.000:{serial})"
    return [
        f'type=SYSCALL msg={at}: arch=c000003e syscall=59 success=yes pid=7 comm="id" exe="/usr/bin/id" key="k"',
        f'type=EXECVE msg={at}: argc=1 a0="id"',
        f"type=PROCTITLE msg={at}: proctitle=6964",
    ]


def add(path: Path, lines: Sequence[str]) -> None:
    with path.open("a") as file:
        file.writelines(line + "\n" for line in lines)


def read(path: Path, positions: dict[bytes, bytes], *, follow: bool = False, readings: int = 1000) -> list[bytes]:
    """Return what a process would store that starts now, and is killed after so many readings."""
    found: list[bytes] = []
    source = AuditSource([path], follow=follow)
    for reading in source.read(dict(positions), threading.Event(), pytest.fail):
        found += [line.data for line in reading.lines]
        positions |= {key: value for key, value in reading.positions.items() if value is not None}
        readings -= 1
        if not readings:
            break
    return found


def test_a_position_never_stands_inside_an_event(tmp_path: Path) -> None:
    path, positions = tmp_path / "audit.log", {}
    one, two = syscall(1), syscall(2)
    add(path, [*one, two[0]])
    assert read(path, positions, follow=True, readings=1) == ["\n".join(one).encode()]
    add(path, two[1:])
    assert read(path, positions) == ["\n".join(two).encode()]
    assert read(path, positions) == []


def test_a_log_that_is_not_there_is_said(tmp_path: Path) -> None:
    notes: list[str] = []
    path = tmp_path / "audit.log"
    assert list(AuditSource([path], follow=False).read({}, threading.Event(), notes.append)) == []
    assert notes == [f"not on this machine, and read once auditd writes it: {path}"]


def test_a_rotated_log_is_read_to_its_end(tmp_path: Path) -> None:
    path, positions = tmp_path / "audit.log", {}
    add(path, syscall(1))
    assert len(read(path, positions)) == 1
    add(path, [*syscall(2), *syscall(3)[:2]])
    path.rename(tmp_path / "audit.log.1")
    add(path, syscall(4))
    found = read(path, positions, follow=True, readings=3)
    assert found == ["\n".join(lines).encode() for lines in (syscall(2), syscall(3)[:2], syscall(4))]


def test_an_event_without_an_end_comes_when_the_log_is_quiet(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    with App("memory://") as app, follow_system(app, sources=[AuditSource([path])]) as follower:
        add(path, syscall(1)[:2])
        pause = threading.Event()
        for _ in range(3000):
            if follower.records:
                break
            pause.wait(0.01)
        records = app.topic("system", LogEvent, time="time").read(0, records_max=10)
    assert [one.value.command for one in records if one.value.source != "millstream"] == ["id"]
