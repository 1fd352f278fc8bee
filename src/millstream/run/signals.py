"""From a signal to an event, without a lock in between.

A signal handler runs in the main thread, between two of its instructions. `Event.set()` takes a lock that the main
thread may hold at that moment, and would wait for itself; so the handler writes a byte, and a thread that reads it sets
the event.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_TOLD = b"s"
_OVER = b"o"


@contextmanager
def stopped_by_signals(stop: threading.Event) -> Iterator[None]:
    """Let SIGINT and SIGTERM set `stop` meanwhile; a second SIGINT raises KeyboardInterrupt.

    Does nothing outside the main thread, where Python allows no handlers.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    read_end, write_end = os.pipe()
    interrupted = False

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        if interrupted and number == signal.SIGINT:
            raise KeyboardInterrupt
        interrupted = interrupted or number == signal.SIGINT
        os.write(write_end, _TOLD)

    def pass_on() -> None:
        while os.read(read_end, 1) == _TOLD:
            stop.set()

    thread = threading.Thread(target=pass_on, name="signals", daemon=True)
    thread.start()
    before = {number: signal.signal(number, on_signal) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.write(write_end, _OVER)
        thread.join()
        os.close(write_end)
        os.close(read_end)
