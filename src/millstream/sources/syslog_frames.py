"""Messages of a stream of syslog, told apart.

Source: RFC 6587, 3.4.1 (octet counting) and 3.4.2 (line ends).
"""

from __future__ import annotations

from typing import Final

MESSAGE_BYTES_MAX: Final = 256 * 1024
"""A longer one becomes several."""


def split_frames(data: bytes) -> tuple[list[bytes], bytes]:
    """Return the messages of a stream that are complete, and the rest."""
    messages: list[bytes] = []
    place = 0
    while place < len(data):
        length = counted_length(data, place)
        if length is not None:
            start, size = length
            if size > MESSAGE_BYTES_MAX:
                # No sender means that; what follows is taken as lines.
                start, size = place, 0
            elif start + size > len(data):
                break
            else:
                _add(messages, data[start : start + size])
                place = start + size
                continue
        end = min((found for found in (data.find(b"\n", place), data.find(b"\0", place)) if found >= 0), default=-1)
        if end < 0:
            if len(data) - place < MESSAGE_BYTES_MAX:
                break
            end = place + MESSAGE_BYTES_MAX - 1
            messages.append(data[place : end + 1])
        else:
            _add(messages, data[place:end])
        place = end + 1
    return messages, data[place:]


def counted_length(data: bytes, place: int) -> tuple[int, int] | None:
    """Return where a counted message begins and how long it is; None where there is no count."""
    end = data.find(b" ", place, place + 8)
    count = data[place:end]
    if end < 0 or not count.isdigit() or count.startswith(b"0"):
        return None
    # A line that begins with a number is no frame: a message begins with its priority.
    if end + 1 < len(data) and data[end + 1 : end + 2] != b"<":
        return None
    return end + 1, int(count)


def _add(messages: list[bytes], message: bytes) -> None:
    message = message.rstrip(b"\r\n\0")
    if message:
        messages.append(message)
