"""`millstream top`: queues, streams, batches, workers and listeners, live."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import typer

from millstream.cli.batch_text import BATCH_COLUMNS, batch_row
from millstream.cli.listener_text import LISTENER_COLUMNS, listener_row
from millstream.cli.output import print_json, print_table, text_of
from millstream.cli.queue_text import QUEUE_COLUMNS, WORKER_COLUMNS, queue_row, worker_rows
from millstream.cli.shell import DataOption, DebugOption, JsonOption, Shell, UrlOption
from millstream.cli.stream_text import STREAM_COLUMNS, stream_row
from millstream.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Group

    from millstream.batch.info import BatchInfo
    from millstream.log.log import Log
    from millstream.queue.stats import QueueStats
    from millstream.sources.listener_info import ListenerInfo
    from millstream.stream.info import StreamInfo

WORKERS_SHOWN: Final = 40
"""Rows of workers; the busy ones come first in each process, and --json has all that are told of."""

EVERY_S_MIN: Final = 0.1

ONCE_S: Final = 1.0
"""--once looks twice, so far apart, where no worker has left samples to take rates from."""


def top(
    context: typer.Context,
    every: Annotated[str, typer.Option("--every", metavar="TIME", help="Between two looks.")] = "1s",
    once: Annotated[bool, typer.Option("--once", help="Look once and stop.")] = False,
    url: UrlOption = None,
    data: DataOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show queues, streams, batches, workers and listeners, of all processes, live.

    On a terminal the screen is drawn anew with every look; elsewhere each look is written below the last. Ctrl-C ends.
    """
    shell = Shell.of(context, url, data, json, debug)
    from millstream.durations import duration

    pause_s = duration(every).total_seconds()
    if pause_s < EVERY_S_MIN:
        raise UsageError(f"--every {every}: give 100ms or more")
    with shell.open() as log:
        watch = _Watch(log)
        try:
            if once:
                _write(_look_once(watch), as_json=shell.json)
            elif shell.json or not sys.stdout.isatty():
                while True:
                    _write(watch.look(), as_json=shell.json)
                    sys.stdout.flush()
                    time.sleep(pause_s)
            else:
                _show(watch, shell.place(), pause_s)
        except KeyboardInterrupt:
            # The way to end it.
            if once:
                raise


class _Look(NamedTuple):
    queues: list[QueueStats]
    streams: list[StreamInfo]
    batches: list[BatchInfo]
    listeners: list[ListenerInfo]

    @property
    def has_queues(self) -> bool:
        """Whether there are queues to show; their table is the one that says that there is nothing at all."""
        return bool(self.queues) or not (self.streams or self.batches or self.listeners)


class _Watch:
    """Looks at all there is, again and again."""

    def __init__(self, log: Log) -> None:
        from millstream.queue.stats import QueueWatch
        from millstream.stream.info import StreamWatch

        self._log = log
        self._queues = QueueWatch(log)
        self._streams = StreamWatch(log)

    def look(self) -> _Look:
        from millstream.batch.info import batch_groups, batch_infos
        from millstream.sources.listener_info import listener_infos
        from millstream.sources.listener_signs import GROUP

        streams = self._streams.look()
        read = {(topic, stream.name) for stream in streams for topic in stream.topics} | batch_groups(self._log)
        queues = [
            queue
            for queue in self._queues.look()
            if (queue.topic, queue.group) not in read and queue.group != GROUP  # which keeps positions of listeners
        ]
        return _Look(queues, streams, batch_infos(self._log), listener_infos(self._log))


def _look_once(watch: _Watch) -> _Look:
    look = watch.look()
    if any(queue.arrival_per_s is None for queue in look.queues):
        time.sleep(ONCE_S)
        look = watch.look()
    return look


def _write(look: _Look, *, as_json: bool) -> None:
    if as_json:
        kinds = look._asdict().items()
        print_json({kind: [one.to_object() for one in some] for kind, some in kinds})
        return
    print(time.strftime("%Y-%m-%d %H:%M:%S"))
    for number, (columns, rows) in enumerate(_tables(look)):
        if number:
            print()
        print_table(columns, rows[:WORKERS_SHOWN] if columns == WORKER_COLUMNS else rows)


def _tables(look: _Look) -> Iterator[tuple[tuple[str, ...], list[list[Any]]]]:
    """Yield names of columns, and rows, of what there is."""
    if look.has_queues:
        yield QUEUE_COLUMNS, [queue_row(queue) for queue in look.queues]
    if look.streams:
        yield STREAM_COLUMNS, [stream_row(stream) for stream in look.streams]
    if look.batches:
        yield BATCH_COLUMNS, [batch_row(batch) for batch in look.batches]
    if look.listeners:
        yield LISTENER_COLUMNS, [listener_row(one, topic=True) for one in look.listeners]
    workers = list(worker_rows(look.queues))
    if workers:
        yield WORKER_COLUMNS, workers


def _show(watch: _Watch, place: str, pause_s: float) -> None:
    from rich.live import Live

    with Live(_screen(watch.look(), place), screen=True, auto_refresh=False) as live:
        while True:
            time.sleep(pause_s)
            live.update(_screen(watch.look(), place), refresh=True)


def _screen(look: _Look, place: str) -> Group:
    from rich.console import Group
    from rich.text import Text

    head = Text(f"{place}  {time.strftime('%H:%M:%S')}  Ctrl-C ends", style="dim")
    parts: list[Any] = [head]
    for columns, rows in _tables(look):
        of_workers = columns == WORKER_COLUMNS
        parts += [Text(), _table(columns, rows[:WORKERS_SHOWN] if of_workers else rows)]
        if of_workers and len(rows) > WORKERS_SHOWN:
            parts.append(Text(f"... {len(rows) - WORKERS_SHOWN} more workers", style="dim"))
    return Group(*parts)


STYLES: Final = {
    "no workers": "bold red",
    "no process": "bold red",
    "failing": "bold red",
    "paused": "yellow",
    "working": "green",
    "busy": "green",
    "never": "bold red",
    "late": "bold red",
    "broken": "bold red",
    "waiting": "yellow",
    "running": "green",
}
"""Of cells that say more than a number."""


def _table(columns: tuple[str, ...], rows: list[list[Any]]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, column in enumerate(columns):
        numeric = bool(rows) and all(row[place] is None or isinstance(row[place], int) for row in rows)
        table.add_column(column, justify="right" if numeric else "left", no_wrap=True)
    for row in rows:
        cells = [text_of(cell) for cell in row]
        # As text, not as markup: a name with brackets in it is a name.
        table.add_row(
            *(Text(cell, style="red" if cell.startswith("silent") else STYLES.get(cell, "")) for cell in cells)
        )
    return table
