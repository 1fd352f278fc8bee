"""How a stream fares: counted while it runs, stored with every commit, read by whoever asks in any process."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from millstream.stream.operators import OperatorStatus, StateWrite

KEY: Final = b"i"

_RATE_OVER_S: Final = 5.0
"""Rates are of about so long a time: short enough to see a change, long enough not to jump with every commit."""

_RATE_OVER_S_MIN: Final = 1.0
"""A run that is over in a moment has no rate beyond what it did."""


class StepProgress(msgspec.Struct, frozen=True):
    """One step of a stream."""

    text: str
    busy_s: float = 0.0
    """Time spent in it by this run."""
    late: int = 0
    open: int = 0
    rows: int = 0
    bytes: int = 0


class StreamProgress(msgspec.Struct, frozen=True):
    """A stream as of a commit."""

    worker: str
    """Host and process that committed."""
    began_us: int
    """When this run began."""
    at_us: int
    """When it was committed, by the wall clock."""
    watermark_us: int | None = None
    read_us: int | None = None
    """When the newest record that was read had been appended."""
    records_in: int = 0
    """Offsets read, since the stream began; the same for the others that are not said to be of this run."""
    records_out: int = 0
    skipped: int = 0
    commits: int = 0
    commit_s: float = 0.0
    """Time spent in commits by this run."""
    commits_of_run: int = 0
    commit_last_us: int = 0
    """How long the last one took, before this one."""
    batch_records: int = 0
    """Offsets of the last micro-batch."""
    rate_in: float = 0.0
    """Records a second, lately."""
    rate_out: float = 0.0
    steps: Sequence[StepProgress] = ()

    @property
    def late(self) -> int:
        return sum(step.late for step in self.steps)

    @property
    def open(self) -> int:
        return sum(step.open for step in self.steps)


class Meter:
    """Counts for one run."""

    def __init__(self, worker: str, began_us: int) -> None:
        self._last = StreamProgress(worker=worker, began_us=began_us, at_us=began_us)
        self._marks: list[tuple[float, int, int]] = [(time.monotonic(), 0, 0)]
        """Moments of the last seconds, with what was in and out then."""

    @property
    def last(self) -> StreamProgress:
        return self._last

    def load(self, state: Mapping[bytes, bytes]) -> None:
        """Go on counting where the last run ended."""
        if (stored := state.get(KEY)) is None:
            return
        before = decode(stored)
        self._last = msgspec.structs.replace(
            before,
            worker=self._last.worker,
            began_us=self._last.began_us,
            commit_s=0.0,
            commits_of_run=0,
            rate_in=0.0,
            rate_out=0.0,
        )
        self._marks = [(time.monotonic(), before.records_in, before.records_out)]

    def note(
        self,
        *,
        at_us: int,
        records_in: int,
        records_out: int,
        skipped: int,
        watermark_us: int | None,
        read_us: int | None,
        steps: Sequence[tuple[str, float, OperatorStatus]],
    ) -> StreamProgress:
        """Count a micro-batch that is about to be committed; return what is to be stored with it."""
        last = self._last
        total_in, total_out = last.records_in + records_in, last.records_out + records_out
        rate_in, rate_out = self._rates(total_in, total_out)
        self._last = msgspec.structs.replace(
            last,
            at_us=at_us,
            watermark_us=watermark_us,
            read_us=read_us,
            records_in=total_in,
            records_out=total_out,
            skipped=last.skipped + skipped,
            commits=last.commits + 1,
            commits_of_run=last.commits_of_run + 1,
            batch_records=records_in,
            rate_in=rate_in,
            rate_out=rate_out,
            steps=[
                StepProgress(text, busy_s, status.late, status.open, status.rows, status.bytes)
                for text, busy_s, status in steps
            ],
        )
        return self._last

    def committed(self, took_s: float) -> None:
        """Count the time of a commit; it is stored with the next one."""
        self._last = msgspec.structs.replace(
            self._last, commit_s=self._last.commit_s + took_s, commit_last_us=round(took_s * 1_000_000)
        )

    def _rates(self, total_in: int, total_out: int) -> tuple[float, float]:
        now = time.monotonic()
        while len(self._marks) > 1 and now - self._marks[1][0] > _RATE_OVER_S:
            self._marks.pop(0)
        since, before_in, before_out = self._marks[0]
        if now - self._marks[-1][0] > _RATE_OVER_S / 10:
            self._marks.append((now, total_in, total_out))
        # After a pause the oldest mark is from before it: what came since is of the last seconds.
        took_s = max(min(now - since, _RATE_OVER_S), _RATE_OVER_S_MIN)
        return (total_in - before_in) / took_s, (total_out - before_out) / took_s


def write(progress: StreamProgress) -> StateWrite:
    return KEY, msgspec.msgpack.encode(progress)


def decode(data: bytes) -> StreamProgress:
    return msgspec.msgpack.decode(data, type=StreamProgress)


def combined(parts: Sequence[StreamProgress]) -> StreamProgress | None:
    """Return how a stream fares whose partitions are run each by itself; None where none has committed yet."""
    if not parts:
        return None
    newest = max(parts, key=lambda part: part.at_us)
    marks = [part.watermark_us for part in parts if part.watermark_us is not None]
    reads = [part.read_us for part in parts if part.read_us is not None]
    return msgspec.structs.replace(
        newest,
        began_us=min(part.began_us for part in parts),
        watermark_us=min(marks, default=None),
        read_us=min(reads, default=None),
        records_in=sum(part.records_in for part in parts),
        records_out=sum(part.records_out for part in parts),
        skipped=sum(part.skipped for part in parts),
        commits=sum(part.commits for part in parts),
        commit_s=sum(part.commit_s for part in parts),
        commits_of_run=sum(part.commits_of_run for part in parts),
        rate_in=sum(part.rate_in for part in parts),
        rate_out=sum(part.rate_out for part in parts),
        steps=[_step(steps) for steps in zip(*(part.steps for part in parts), strict=False)],
    )


def _step(parts: Sequence[StepProgress]) -> StepProgress:
    return StepProgress(
        text=parts[0].text,
        busy_s=sum(part.busy_s for part in parts),
        late=sum(part.late for part in parts),
        open=sum(part.open for part in parts),
        rows=sum(part.rows for part in parts),
        bytes=sum(part.bytes for part in parts),
    )
