"""Records that are for one consumer group only: sent back to it, or replayed for it. Other readers pass over them.

A header of the record says so, and every reader asks it: queues, streams and batches, but not who looks at the log
itself (`Topic.read`, `frame`, `tail`, SQL).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    import polars as pl

FOR: Final = "ms-for"
"""Header: the name of the consumer group."""

_MARK: Final = FOR.encode()


def is_for(headers: Mapping[str, bytes], group: str) -> bool:
    """Tell whether a group is to have a record with these headers."""
    return FOR not in headers or headers[FOR] == group.encode()


def rows_for(frame: pl.DataFrame, group: str) -> pl.DataFrame:
    """Return the rows of a frame that a group is to have.

    Args:
        frame: With the column `_headers`.
    """
    import polars as pl

    headers = frame.get_column("_headers")
    if headers.null_count() == frame.height:
        return frame
    # Few records are addressed: the headers of the others need not be decoded.
    places = headers.bin.contains(_MARK).fill_null(value=False).arg_true()
    others = [place for place in places if not is_for(_decode(headers[place]), group)]
    if not others:
        return frame
    return frame.filter(~pl.int_range(frame.height, eager=True).is_in(others))


def _decode(headers: bytes) -> dict[str, bytes]:
    return msgspec.msgpack.decode(headers, type=dict[str, bytes])
