"""Bytes of a growing text, cut into what becomes a record each: lines, but where a line has many, or many have one.

Lines are those of `line_split`, batches become their records (`batches`), and XML the events of
Windows in it (`xml_events`).
"""

from __future__ import annotations

import re
from typing import Final

from millstream.sources.batches import BATCH_BYTES_MAX, BATCHES, records_of
from millstream.sources.line_split import LINE_BYTES_MAX, READ_LINES_MAX, split
from millstream.sources.xml_events import AROUND, EVENT, EVENT_BYTES_MAX, EVENT_END, event_at

_START: Final = re.compile(rb'\n(?=\{"(?:resourceLogs"|Records":\[)|<Event[ >]|<\?xml|</?(?:Events|root)>)')
"""The line end in front of what is not cut as lines are."""


def split_with_records(data: bytes, final: bool = False) -> tuple[list[bytes], int]:
    """Return what is complete, and how many bytes it takes; see `line_split.Split`.

    The records of a batch may be more than `READ_LINES_MAX`.
    """
    lines, place = split(data, final)
    if not _has_others(data, place or len(data)):
        return lines, place
    lines, place = [], 0
    last_end = data.rfind(EVENT_END)  # behind it no event ends: it is not looked for again and again
    while len(lines) < READ_LINES_MAX and place < len(data):
        if data.startswith(BATCHES, place):
            found, consumed = _batch(data, place)
        elif (around := AROUND.match(data, place)) is not None:
            found, consumed = _event(data, place, around.end(), last_end, final)
        else:
            found, consumed = _others(data, place)
        if not consumed:
            break
        lines += found
        place += consumed
    return lines, place


def _has_others(data: bytes, end: int) -> bool:
    """Return whether a batch or an event may begin before a place; nearly for nothing where no such sign is."""
    return (data.find(b"{", 0, end) >= 0 and any(data.find(batch, 0, end) >= 0 for batch in BATCHES)) or (
        data.find(b"<", 0, end) >= 0 and data.find(EVENT, 0, end) >= 0
    )


def _batch(data: bytes, place: int) -> tuple[list[bytes], int]:
    end = data.find(b"\n", place)
    if end >= 0:
        return records_of(data[place:end].removesuffix(b"\r")), end + 1 - place
    return ([], 0) if len(data) - place <= BATCH_BYTES_MAX else split(data[place : place + LINE_BYTES_MAX + 1])


def _event(data: bytes, place: int, start: int, last_end: int, final: bool) -> tuple[list[bytes], int]:
    """Cut an event of Windows, or what stands behind the last."""
    if not data.startswith(EVENT, start):
        return [], start - place
    found = event_at(data, start) if start < last_end else None
    if found is not None:
        return [found[0]], found[1] - place
    if final or len(data) - start > EVENT_BYTES_MAX:
        return _others(data, place)
    return [], 0


def _others(data: bytes, place: int) -> tuple[list[bytes], int]:
    """Cut lines up to the next batch or event."""
    found = _START.search(data, place)
    return split(data[place : len(data) if found is None else found.end()])
