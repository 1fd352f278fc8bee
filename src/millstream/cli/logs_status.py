"""`millstream logs status`: what a log has of each source, how far behind it is, and how rules and outputs fare."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec.structs import asdict

from millstream.cli.listener_text import LISTENER_COLUMNS, listener_row
from millstream.cli.output import bytes_text, count_text, one_line, print_json, print_table
from millstream.cli.shell import DATA_FILE, Shell
from millstream.durations import duration_text
from millstream.errors import StorageError

if TYPE_CHECKING:
    from millstream.log.log import Log
    from millstream.log.topic import Topic
    from millstream.parsers.log_event import LogEvent
    from millstream.sources.listener_info import ListenerInfo
    from millstream.sources.standing import FileStanding
    from millstream.stream.info import StreamInfo

LATELY: Final = timedelta(hours=1)
"""The events of so long are counted: not those of years."""
SOURCE_COLUMNS: Final = ("SOURCE", "LAST HOUR", "NEWEST EVENT", "BEHIND")
READER_COLUMNS: Final = ("READER", "BEHIND", "STATE", "ERROR")


class SourceStanding(msgspec.Struct, frozen=True):
    """One source: an origin of events, a file, or both."""

    source: str
    last_hour: int
    """Events stored within it."""
    newest: datetime | None
    """Event time of the newest of these."""
    behind_bytes: int | None
    """Of a file: what is not stored yet; None where that is not known."""


def status(data: Path, *, as_json: bool) -> int:
    """Print it once; return the exit code.

    Raises:
        StorageError: There is no log.
    """
    from millstream.logs.application import ALERTS, EVENTS
    from millstream.sources.listener_info import listener_infos
    from millstream.stream.info import StreamWatch

    file = data / DATA_FILE
    if not file.exists():
        raise StorageError(
            f"there is no log at {file}; `millstream logs` makes one (not of FILE alone), --data names another"
        )
    with Shell(data=data).open() as log:
        names = log.topics()
        sources = _sources(log) if EVENTS in names else []
        readers = [one for one in StreamWatch(log).look() if one.topics[0] in (EVENTS, ALERTS)]
        listeners = [one for one in listener_infos(log) if one.topic == EVENTS]
        counts = {name: log.topic(name).info().records if name in names else 0 for name in (EVENTS, ALERTS)}
    if as_json:
        _print_json(listeners, sources, readers)
    else:
        _print(listeners, sources, readers, counts[EVENTS], counts[ALERTS])
    return 0


def _sources(log: Log) -> list[SourceStanding]:
    from millstream.errors import GroupNotFoundError
    from millstream.logs.application import EVENTS
    from millstream.parsers.log_event import LogEvent
    from millstream.sources.standing import standings
    from millstream.sources.system import GROUP

    topic = log.topic(EVENTS, LogEvent, time="time")
    files: list[FileStanding] = []
    with suppress(GroupNotFoundError):  # of what a program put there no positions are kept
        log.engine.describe_group(EVENTS, GROUP)
        files = standings(topic, GROUP)
    behind = {one.path: one.behind_bytes for one in files}
    rows = _lately(topic)
    quiet = [(path, 0, None) for path in behind.keys() - {name for name, _, _ in rows}]
    found = sorted([*rows, *quiet], key=lambda row: row[0])
    return [SourceStanding(name, count, newest, behind.get(name)) for name, count, newest in found]


def _lately(topic: Topic[LogEvent]) -> list[tuple[str, int, datetime | None]]:
    """Return the sources of the events that were stored lately: how many each, and the event time of the newest."""
    import polars as pl

    end = topic.end_offsets()[0]
    frame = topic.frame(topic.offsets_at(datetime.now(UTC) - LATELY)[0], end)
    return frame.group_by("source").agg(pl.len(), pl.col("time").max()).collect().rows()


def _print_json(
    listeners: Sequence[ListenerInfo], sources: Sequence[SourceStanding], readers: Sequence[StreamInfo]
) -> None:
    for listener in listeners:
        print_json(listener.to_object())
    for one in sources:
        print_json(asdict(one))
    for reader in readers:
        print_json(
            {
                "reader": reader.full_name,
                "behind": reader.lag,
                "state": str(reader.state),
                "failing_s": reader.failing_s,
                "error": reader.error,
            }
        )


def _print(
    listeners: Sequence[ListenerInfo],
    sources: Sequence[SourceStanding],
    readers: Sequence[StreamInfo],
    events: int,
    alerts: int,
) -> None:
    at_work = {sign.process for reader in readers for sign in reader.processes}
    processes = sorted(at_work | {one.process for one in listeners if one.is_live})
    followed = f"process {', '.join(processes)} follows" if processes else "no process is at it now"
    print(f"{count_text(events, 'event')}, {count_text(alerts, 'alert')}; {followed}")
    if listeners:
        print()
        print_table(LISTENER_COLUMNS, [listener_row(one) for one in listeners])
    if sources:
        print()
        print_table(SOURCE_COLUMNS, [_source_row(one) for one in sources])
    if readers:
        print()
        print_table(READER_COLUMNS, [_reader_row(one) for one in readers])


def _source_row(one: SourceStanding) -> list[Any]:
    newest = None if one.newest is None else f"{one.newest.astimezone():%Y-%m-%d %H:%M:%S}"
    return [one.source, one.last_hour, newest, None if one.behind_bytes is None else bytes_text(one.behind_bytes)]


def _reader_row(one: StreamInfo) -> list[Any]:
    behind = count_text(one.lag, "record")
    if one.lag:
        behind = f"{behind}, {duration_text(one.lag_us / 1e6)}"
    since = "" if one.failing_s is None else f"for {duration_text(one.failing_s)}: "
    return [one.name, behind, str(one.state), None if one.error is None else since + one_line(one.error)]
