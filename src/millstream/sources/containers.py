r"""Events of several lines in the log of a container, whose every line has the runtime's own text around it.

    2026-03-01T10:00:00.1Z stderr F Traceback (most recent call last):
    2026-03-01T10:00:00.1Z stdout F GET /health
    2026-03-01T10:00:00.1Z stderr F   File "/app/shop.py", line 3, in buy
    {"log":"Traceback (most recent call last):\n","stream":"stderr","time":"2026-03-01T10:00:00.1Z"}

What is inside says which lines belong together, for standard output and standard error each by itself: their lines
stand between one another. First the parts of a line that the runtime cut become one. A record has the lines as they
are in the file.

An event is complete when its stream begins the next one, or when a later line of either stream is some time younger, or
far behind it. Only where no event lies across, and none may go on, is a piece of the file cut: so a reader that begins
there finds the same events.

Source: kubernetes, pkg/kubelet/kuberuntime/logs; docs.docker.com, "JSON File logging driver".
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Final, NamedTuple

import msgspec

from millstream.sources.event_split import EVENT_BYTES_MAX, EVENT_LINES_MAX, After, Begin, event_split
from millstream.sources.line_split import READ_LINES_MAX, Split, split

BEHIND_BYTES_MAX: Final = 64 * 1024
"""An event is complete when this much of the other stream is behind it, whatever the times are."""
HELD_BYTES_MAX: Final = 2 * EVENT_BYTES_MAX
"""Where events lie across one another for this long, all are taken as complete."""

_OTHERS: Final = "-"
"""The stream of lines that no runtime wrote."""
_WORDS: Final = (b" stdout ", b" stderr ", b'{"log":')
_CRI: Final = re.compile(
    rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)) (stdout|stderr) ([FP])(?::\S{0,50})?(?: |$)"
)


class _Docker(msgspec.Struct, frozen=True):
    log: str
    stream: str = ""
    time: str = ""


_DOCKER: Final = msgspec.json.Decoder(_Docker)


class ContainerLine(NamedTuple):
    """What a runtime wrote of one line of a container."""

    stream: str
    time: str
    is_part: bool
    """Its line goes on in the next one of the same stream."""
    text: bytes


def container_line(line: bytes) -> ContainerLine | None:
    """Return what is in a line of containerd, CRI-O or Docker; None for any other."""
    found = _CRI.match(line)
    if found is not None:
        return ContainerLine(found[2].decode(), found[1].decode(), found[3] == b"P", line[found.end() :])
    if not line.startswith(b'{"log":'):
        return None
    try:
        read = _DOCKER.decode(line)
    except (msgspec.DecodeError, RecursionError):
        return None
    text = read.log.encode()
    return ContainerLine(read.stream, read.time, not text.endswith(b"\n"), text.rstrip(b"\r\n"))


def event_split_of_containers(begin: Begin, after: After, quiet_us: int) -> Split:
    """Return a `Split` into events, of lines of containers and of others.

    Args:
        begin: Is asked for what is inside.
        after: Likewise.
        quiet_us: How much younger a line is behind an event that is complete.
    """
    of_others = event_split(begin, after)

    def cut(data: bytes, final: bool = False) -> tuple[list[bytes], int]:
        if not any(word in data for word in _WORDS):
            return of_others(data, final)
        lines, end = split(data)
        events = _Events(begin, after, quiet_us)
        starts = [0]
        for line in lines:
            events.add(line, starts[-1])
            place = starts[-1] + len(line)
            starts.append(place + (data[place : place + 1] == b"\n"))
        # Without a cut the next look would find the same, and nothing would be read any more.
        is_full = len(lines) == READ_LINES_MAX or end > HELD_BYTES_MAX
        count = events.cut(len(lines), final=final)
        if is_full and not count:
            count = events.cut(len(lines), final=True)
        found = (b"\n".join(lines[one].removesuffix(b"\r") for one in event) for event in events.before(count))
        return [event.strip(b"\r\n") for event in found], starts[count]

    return cut


class _Event:
    """Lines of one stream that belong together: an event, or a line that the runtime cut."""

    def __init__(self) -> None:
        self.lines: list[int] = []
        self.size = 0
        self.end = 0
        """In bytes, of its last line."""
        self.time = ""
        self.state = ""
        self.parts: list[bytes] = []

    def add(self, number: int, size: int, end: int, time: str) -> None:
        self.lines.append(number)
        self.size += size + 1
        self.end, self.time = end, time


class _Events:
    """The events of a piece of a file."""

    def __init__(self, begin: Begin, after: After, quiet_us: int) -> None:
        self._begin = begin
        self._after = after
        self._quiet_us = quiet_us
        self._count = 0
        self._open: dict[str, _Event] = {}
        """The last event of each stream."""
        self._cut: dict[str, _Event] = {}
        """The line of each stream whose end has not come."""
        self._closed: list[list[int]] = []

    def add(self, line: bytes, start: int) -> None:
        """Take the next line, which begins at `start`."""
        found = container_line(line)
        if found is None:
            found = ContainerLine(_OTHERS, "", False, line)
        elif _OTHERS in self._open:
            self._close(_OTHERS)
        self._close_old(found.time, start)
        whole = self._cut.pop(found.stream, None) or _Event()
        whole.add(self._count, len(line), start + len(line), found.time)
        whole.parts.append(found.text)
        self._count += 1
        self._cut[found.stream] = whole
        if not found.is_part or whole.size > EVENT_BYTES_MAX:
            self._end_line(found.stream)

    def cut(self, count: int, *, final: bool) -> int:
        """Return how many lines are in events that are complete and do not go on behind them.

        Args:
            count: Lines there are.
            final: All are complete.
        """
        if final:
            for stream in [*self._cut]:
                self._end_line(stream)
            for stream in [*self._open]:
                self._close(stream)
        end = min((event.lines[0] for event in (*self._open.values(), *self._cut.values())), default=count)
        across = bytearray(count + 1)
        for lines in self._closed:
            if len(lines) > 1:
                across[lines[0] + 1 : lines[-1] + 1] = b"\1" * (lines[-1] - lines[0])
        while across[end]:
            end -= 1
        return end

    def before(self, count: int) -> Iterator[list[int]]:
        """Yield the lines of the events before a line, in the order in which they begin."""
        return (lines for lines in sorted(self._closed) if lines[0] < count)

    def _end_line(self, stream: str) -> None:
        """Take a line whose parts are all there, to the event it belongs to."""
        line = self._cut.pop(stream)
        text = b"".join(line.parts).removesuffix(b"\r")
        event = self._open.get(stream)
        state = None if event is None else self._after(event.state, text)
        if event is not None and (
            state is None or len(event.lines) >= EVENT_LINES_MAX or event.size + line.size - 1 > EVENT_BYTES_MAX
        ):
            self._close(stream)
            event = state = None
        if event is None:
            self._open[stream] = line
            line.state = self._begin(text)
            return
        event.lines += line.lines
        event.size += line.size
        event.end, event.time, event.state = line.end, line.time, state or ""

    def _close_old(self, time: str, start: int) -> None:
        """Close what is complete because of a line that is much younger, or far behind."""
        for stream, line in [*self._cut.items()]:
            if self._is_old(line, time, start):
                self._end_line(stream)
        for stream, event in [*self._open.items()]:
            if stream not in self._cut and self._is_old(event, time, start):
                self._close(stream)

    def _is_old(self, event: _Event, time: str, start: int) -> bool:
        if start - event.end > BEHIND_BYTES_MAX:
            return True
        then, now = _time_us(event.time), _time_us(time)
        return then is not None and now is not None and abs(now - then) >= self._quiet_us

    def _close(self, stream: str) -> None:
        self._closed.append(self._open.pop(stream).lines)


@functools.lru_cache(1024)  # an event waits while lines come
def _time_us(text: str) -> int | None:
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1_000_000)
    except ValueError:
        return None
