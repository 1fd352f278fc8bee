"""What the page shows: a bounded picture of the log's newest part. Lives in the event loop.

Every change comes from a record of the log or an event of the queue, is put into the picture and published; a page that
opens gets the picture, then the changes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final

import msgspec

from millstream.clock import Clock
from millstream.errors import MillstreamError
from millstream.parsers.log_event import LogEvent
from millstream.queue import DeadLetter, QueueEvent
from millstream.records import Record
from millstream.web.clicks import Click
from millstream.web.demo.work import Job, PageCount, Report, Status
from millstream.web.live import Live

_log = logging.getLogger("millstream.web")

CLICKS_SHOWN: Final = 24
JOBS_SHOWN: Final = 30
LINES_SHOWN: Final = 60
MINUTE_US: Final = 60_000_000
WINDOWS_MAX: Final = 6_000
"""Windows kept: those of a minute for a hundred pages."""

STATUS_SECONDS: Final = 0.2
"""Pause between two looks at the ledger."""

MESSAGE_CHARACTERS_MAX: Final = 400


class JobCard(msgspec.Struct, frozen=True):
    """One job as the page shows it."""

    job: int
    picture: int = -1
    piece: int = 0
    fails: bool = False
    state: str = "waiting"
    """waiting, taken, retry, done, dead"""
    attempt: int = 0
    worker: str = ""
    error: str = ""
    due_us: int | None = None
    drawn: int | None = None
    """Offset of its piece."""


class Board:
    def __init__(self, *, clock: Clock, status: Callable[[], Status], about: dict[str, Any]) -> None:
        """Args:
        status: Reads where the readers are; blocking, called in a thread.
        about: What does not change: names, limits, where the data is.
        """
        self.live = Live(self.snapshot)
        self._clock = clock
        self._read_status = status
        self._about = about
        self._status: Status | None = None
        self._clicks: deque[dict[str, Any]] = deque(maxlen=CLICKS_SHOWN)
        self._windows: deque[dict[str, Any]] = deque(maxlen=WINDOWS_MAX)
        self._jobs: OrderedDict[int, JobCard] = OrderedDict()
        self._report: dict[str, Any] | None = None
        self._lines: deque[dict[str, Any]] = deque(maxlen=LINES_SHOWN)
        self._changed = asyncio.Event()

    def snapshot(self) -> dict[str, Any]:
        now_us = self._clock.now_us()
        return {
            "now_ms": now_us // 1000,
            "about": self._about,
            "status": self._status,
            "clicks": list(self._clicks),
            "windows": [one for one in self._windows if one["start_ms"] * 1000 > now_us - 2 * MINUTE_US],
            "jobs": [card for card in self._jobs.values() if card.piece],
            "report": self._report,
            "system": list(self._lines),
        }

    @contextlib.asynccontextmanager
    async def status_kept(self) -> AsyncIterator[None]:
        """Look at the ledger after every change, with a pause between, while the block runs."""
        self._changed.set()
        keeper = asyncio.ensure_future(self._keep_status())
        try:
            yield
        finally:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)

    async def _keep_status(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                status = await asyncio.to_thread(self._read_status)
            except MillstreamError as error:
                _log.warning("cannot read where the readers are, trying again: %s", error)
                self._changed.set()
            else:
                if status != self._status:
                    self._status = status
                    self.live.publish("status", status)
            await asyncio.sleep(STATUS_SECONDS)

    # --- from the log -----------------------------------------------------------------------------------------------

    def take_clicks(self, records: Sequence[Record[Click]]) -> None:
        clicks = [
            {
                "offset": record.offset,
                "page": record.value.page,
                "element": record.value.element,
                "label": record.value.label,
                "load": record.value.load,
                "seq": record.value.seq,
                "time_ms": record.append_time_us // 1000,
            }
            for record in records
        ]
        self._clicks.extend(clicks)
        self._publish("clicks", clicks[-CLICKS_SHOWN:])

    def take_counts(self, records: Sequence[Record[PageCount]]) -> None:
        windows = [
            {
                "page": record.value.page,
                "start_ms": round(record.value.window_start.timestamp() * 1000),
                "clicks": record.value.clicks,
            }
            for record in records
        ]
        self._windows.extend(windows)
        self._publish("windows", windows)

    def take_jobs(self, records: Sequence[Record[Job]]) -> None:
        cards = []
        for record in records:
            job = record.value
            card = self._jobs.get(record.offset, JobCard(record.offset))
            card = msgspec.structs.replace(card, picture=job.picture, piece=job.piece, fails=job.fails)
            self._jobs[record.offset] = card
            cards.append(card)
        while len(self._jobs) > JOBS_SHOWN:
            self._jobs.popitem(last=False)
        self._publish("jobs", cards[-JOBS_SHOWN:])

    def take_pieces(self, records: Sequence[Record[bytes]]) -> None:
        for record in records:
            self._update(int(record.key or b"-1"), state="done", drawn=record.offset)

    def take_dead(self, records: Sequence[Record[DeadLetter]]) -> None:
        for record in records:
            letter = record.value
            error = f"{letter.error_type}: {letter.message}"
            self._update(letter.offset, state="dead", attempt=letter.attempts, error=error)

    def take_reports(self, records: Sequence[Record[Report]]) -> None:
        record = records[-1]
        self._report = {"number": record.offset + 1, "time_ms": record.append_time_us // 1000}
        self._report |= msgspec.to_builtins(record.value)
        self._publish("report", self._report)

    def take_lines(self, records: Sequence[Record[LogEvent]]) -> None:
        lines = [
            {
                "offset": record.offset,
                "time_ms": round(record.value.time.timestamp() * 1000),
                "source": record.value.source,
                "program": record.value.program,
                "severity": record.value.severity,
                "message": record.value.message[:MESSAGE_CHARACTERS_MAX],
            }
            for record in records[-LINES_SHOWN:]
        ]
        self._lines.extend(lines)
        self._publish("system", lines)

    # --- from the queue ---------------------------------------------------------------------------------------------

    def take_event(self, event: QueueEvent) -> None:
        # A lost or released record is nobody's again.
        state = event.kind if event.kind in ("taken", "retry", "done", "dead") else "waiting"
        changes = {"state": state, "attempt": event.attempt, "worker": event.worker, "due_us": event.due_us}
        if event.error:
            changes["error"] = event.error
        # The queue may be faster than the follower that brings what the job is.
        self._jobs.setdefault(event.position.offset, JobCard(event.position.offset))
        self._update(event.position.offset, **changes)

    def _update(self, job: int, **changes: Any) -> None:
        """Change a job's card, if it is shown; what queue and log both say is told once."""
        card = self._jobs.get(job)
        if card is not None and (changed := msgspec.structs.replace(card, **changes)) != card:
            self._jobs[job] = changed
            self._publish("jobs", [changed])

    def _publish(self, name: str, value: object) -> None:
        self.live.publish(name, value)
        self._changed.set()
