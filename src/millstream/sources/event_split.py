"""Bytes of a growing text, cut into events of several lines.

The last event of what is there is held back: it may go on. It is not held in memory but left unread, so that the
position never passes it, and a process that is killed loses and doubles nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from millstream.sources.line_split import LINE_BYTES_MAX, Split, split

EVENT_LINES_MAX: Final = 1000
"""A longer event becomes several."""
EVENT_BYTES_MAX: Final = LINE_BYTES_MAX

Begin = Callable[[bytes], str]
"""Gives the state after a line that begins an event."""
After = Callable[[str, bytes], str | None]
"""Gives the state after a line that continues an event, from the state before it; None where it does not."""


def event_split(begin: Begin, after: After) -> Split:
    """Return a `Split` into events whose lines follow one another."""

    def cut(data: bytes, final: bool = False) -> tuple[list[bytes], int]:
        lines, end = split(data)
        events: list[list[bytes]] = []
        state, size, place, start = "", 0, 0, 0
        for line in lines:
            further = after(state, line) if events else None
            if further is None or len(events[-1]) >= EVENT_LINES_MAX or size + len(line) > EVENT_BYTES_MAX:
                events.append([])
                further, size, start = begin(line), 0, place
            events[-1].append(line.removesuffix(b"\r"))
            state, size, place = further, size + len(line) + 1, place + len(line)
            place += data[place : place + 1] == b"\n"  # a line that was cut for its length has no end
        # Enough is there to say that the last one would be cut, or nothing more comes.
        whole = final or size > EVENT_BYTES_MAX or (bool(events) and len(events[-1]) >= EVENT_LINES_MAX)
        if events and not whole:
            events.pop()
            end = start
        return [b"\n".join(event).strip(b"\r\n") for event in events], end

    return cut
