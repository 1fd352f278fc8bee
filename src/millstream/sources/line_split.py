"""Bytes of a growing text, cut into lines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

LINE_BYTES_MAX: Final = 256 * 1024
"""A longer line becomes several."""
_CHARACTER_BYTES_MAX: Final = 4
READ_LINES_MAX: Final = 5000
"""Of one reading: what is held in memory, and stored in one transaction."""

Split = Callable[[bytes, bool], tuple[list[bytes], int]]
"""Takes bytes, and whether nothing more is to be waited for but the end of the last line; returns what is complete at
their start, and how many bytes that takes."""


def split(data: bytes, final: bool = False) -> tuple[list[bytes], int]:
    """Return the complete lines at the start of `data`, without `\\n`, and how many bytes they take.

    At most `READ_LINES_MAX`. A line of more than `LINE_BYTES_MAX` is returned in pieces of that size, whether its end
    has come or not, so that it is cut at the same places however it comes; never inside a character of UTF-8.

    Args:
        final: Has no meaning for single lines; see `multiline`.
    """
    lines: list[bytes] = []
    start = 0
    while len(lines) < READ_LINES_MAX:
        end = data.find(b"\n", start, start + LINE_BYTES_MAX + 1)
        if end >= 0:
            lines.append(data[start:end])
            start = end + 1
        elif len(data) - start > LINE_BYTES_MAX:
            cut = _before_character(data, start + LINE_BYTES_MAX)
            lines.append(data[start:cut])
            start = cut
        else:
            break
    return lines, start


def _before_character(data: bytes, place: int) -> int:
    """Return a place, or where the character of UTF-8 begins that it is inside of."""
    for begin in range(place, place - _CHARACTER_BYTES_MAX, -1):
        if data[begin] & 0xC0 != 0x80:
            return begin
    return place  # it is no UTF-8
