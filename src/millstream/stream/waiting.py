"""Waiting for records, in a way that notices a stop."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Final

from millstream.engines.protocol import Engine

STOP_US: Final = 200_000
"""A stream without input notices within this time that it should stop."""


def wait_for_records(
    engine: Engine, seen: Mapping[str, Mapping[int, int]], wait_us: int, stop: threading.Event
) -> None:
    """Wait until a topic ends beyond what was seen of it, in slices that notice a stop.

    Args:
        seen: Ends by topic and partition.
    """
    while wait_us > 0 and not stop.is_set():
        slice_us = min(wait_us, STOP_US)
        if engine.wait(seen, slice_us):
            return
        wait_us -= slice_us
