"""How far `millstream run --until now` is: of each stream and queue what is done, and how fast.

A bar each on a terminal; elsewhere a plain line now and then. Always on stderr, and nothing where it is over before.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from millstream.cli.output import count_text
from millstream.cli.progress import BAR_AFTER_S, LINES_EVERY_S
from millstream.cli.queue_text import rate_text
from millstream.errors import GroupNotFoundError, MillstreamError, TopicNotFoundError

if TYPE_CHECKING:
    from millstream.app import App
    from millstream.engines.protocol import GroupInfo

LOOK_S: Final = 0.25
"""Between two looks on a terminal: each reads a few counters."""


class Done(NamedTuple):
    """What one reader has done since the command began."""

    name: str
    """With its kind: `stream per_minute`."""
    done: int
    left: int
    per_s: float

    def __str__(self) -> str:
        share = f"{self.done / (self.done + self.left):.0%}, " if self.done + self.left else ""
        return f"{self.name}: {share}{count_text(self.done, 'record')}, {rate_text(self.per_s)} a second"


class _Watch:
    """Looks at the readers of an application, without making anything that is not there yet."""

    def __init__(self, app: App) -> None:
        self._engine = app.log.engine
        self._readers = [
            *((f"stream {s.name}", s.name, list(s.outline.sources)) for s in app.streams.values()),
            *((f"queue {q.name}", q.name, [q.topic.name]) for q in app.queues.values()),
        ]
        self._begun_s = time.monotonic()
        self._before = {title: settled for title, settled, _ in self._counts()}

    def look(self) -> list[Done]:
        """Return what each has done, of those that have something to do."""
        took_s = max(time.monotonic() - self._begun_s, 1e-3)
        found = [
            Done(title, settled - self._before.get(title, 0), left, (settled - self._before.get(title, 0)) / took_s)
            for title, settled, left in self._counts()
        ]
        return [one for one in found if one.done or one.left]

    def _counts(self) -> Iterator[tuple[str, int, int]]:
        """Yield each reader's title, how much is settled, and how much is not."""
        for title, group, topics in self._readers:
            infos = [info for topic in topics if (info := self._describe(topic, group)) is not None]
            ledgers = [info.ledger for info in infos]
            settled = sum(ledger.done + ledger.dead + ledger.expired for ledger in ledgers)
            yield title, settled, sum(ledger.in_progress for ledger in ledgers)

    def _describe(self, topic: str, group: str) -> GroupInfo | None:
        try:
            return self._engine.describe_group(topic, group)
        except (GroupNotFoundError, TopicNotFoundError):
            return None


@contextmanager
def telling(app: App) -> Iterator[None]:
    """Tell on stderr how far an application is that handles all there is."""
    watch = _Watch(app)
    ended = threading.Event()
    on_terminal = sys.stderr.isatty()
    thread = threading.Thread(target=_bars if on_terminal else _lines, args=(watch, ended), name="run-progress")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _lines(watch: _Watch, ended: threading.Event) -> None:
    told = False
    while not ended.wait(LINES_EVERY_S):
        told = True
        _tell(watch)
    if told:
        _tell(watch)


def _tell(watch: _Watch) -> None:
    for one in _looked(watch.look):
        print(one, file=sys.stderr, flush=True)


def _bars(watch: _Watch, ended: threading.Event) -> None:
    if ended.wait(BAR_AFTER_S):
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn())
    # What handlers print must go where it would without the bars.
    console, note = Console(stderr=True), TextColumn("{task.fields[note]}")
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, note, console=console, redirect_stdout=sys.stdout.isatty()) as display:
        while True:
            over = ended.wait(LOOK_S)
            for one in _looked(watch.look):
                text = f"{count_text(one.done, 'record')}, {rate_text(one.per_s)} a second"
                task = tasks.get(one.name)
                if task is None:
                    task = tasks[one.name] = display.add_task(one.name, total=None, note="")
                display.update(task, completed=one.done, total=one.done + one.left, note=text)
            if over:
                return


def _looked(look: Callable[[], Sequence[Any]]) -> Sequence[Any]:
    """Return what a look finds; nothing where the log cannot be read just now: the run itself says what is wrong."""
    try:
        return look()
    except MillstreamError:
        return ()
