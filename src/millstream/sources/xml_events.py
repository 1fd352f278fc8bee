"""Events of Windows in a file of XML: cut where they end, whatever the lines are.

| written by | how |
|---|---|
| `wevtutil qe Security /f:xml` | `<Event ...>...</Event>` one after the other; with `/e:root` inside of `<root>` |
| the Event Viewer, "Save All Events As..." | `<?xml ...?><Events><Event ...>...</Event>...</Events>`, all in one line |

What stands around the events is no event, unless it comes long before them. An event may have line ends in it: it stays
one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, Protocol

EVENT: Final = b"<Event"
EVENT_BYTES_MAX: Final = 1024 * 1024
"""A record of the event log holds 64 KiB; what is longer is none, and is cut like any other line."""
AROUND: Final = re.compile(
    rb"(?:\xef\xbb\xbf)?(?:<\?xml[^>\n]{0,200}\?>\s{0,8})?(?:<(?:Events|root)>\s{0,8})?(?=<Event[ >])"
    rb"|</(?:Events|root)>\s{0,8}"
)
"""What may stand in front of an event, or behind the last."""
EVENT_END: Final = b"</Event>"
_GAP: Final = re.compile(rb"[ \t\r\n]*")
_IN_TAG: Final = re.compile(rb"<[^<>]*>|\r?\n")


class Bytes(Protocol):
    """What events are read from."""

    def read(self, size: int, /) -> bytes: ...


def event_at(data: bytes, place: int) -> tuple[bytes, int] | None:
    """Return the event that begins at a place, and where the next thing begins; None where it does not end (yet)."""
    end = data.find(EVENT_END, place)
    if end < 0:
        return None
    gap = _GAP.match(data, end + len(EVENT_END))
    assert gap is not None
    return data[place : end + len(EVENT_END)], gap.end()


def begins_as_events(head: bytes) -> bool:
    """Return whether a text begins with events."""
    around = AROUND.match(head)
    return around is not None and head.startswith(EVENT, around.end())


class EventLines:
    """Reads a stream of events as a line each; a line end in one is written as XML has it in a text."""

    def __init__(self, stream: Bytes) -> None:
        self._stream = stream
        self._data = b""

    def read(self, size: int, /) -> bytes:
        """Return some lines, of about `size` bytes that were read, and none at the end."""
        while True:
            more = self._stream.read(size)
            self._data += more
            lines = b"".join(self._lines(final=not more))
            if lines or not more:
                return lines

    def _lines(self, *, final: bool) -> Iterator[bytes]:
        place = 0
        while place < len(self._data):
            around = AROUND.match(self._data, place)
            place = place if around is None else around.end()
            found = event_at(self._data, place)
            if found is None:
                break
            event, place = found
            yield _one_line(event) + b"\n"
        rest = self._data[place:]
        if rest.strip() and (final or len(rest) > EVENT_BYTES_MAX):
            yield _one_line(rest) + b"\n"
            rest = b""
        self._data = rest


def _one_line(event: bytes) -> bytes:
    return _IN_TAG.sub(lambda match: b"&#10;" if match[0][:1] != b"<" else b" ".join(match[0].split()), event)
