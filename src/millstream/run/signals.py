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
_HANGUP = b"h"
_OVER = b"o"


class Told:
    """What signals have said so far."""

    def __init__(self, stop: threading.Event, hangup: threading.Event | None) -> None:
        self.stop = stop
        self.hangup = hangup
        self.is_urgent = False
        """Ctrl-C came twice: what is not done by now is left."""


@contextmanager
def stopped_by_signals(stop: threading.Event, hangup: threading.Event | None = None) -> Iterator[Told]:
    """Let SIGINT and SIGTERM set `stop` meanwhile; a second SIGINT raises KeyboardInterrupt.

    Does nothing outside the main thread, where Python allows no handlers.

    Args:
        hangup: What SIGHUP sets; None: it ends the process, as without us. One that is ignored (nohup) stays ignored.
    """
    told = Told(stop, hangup)
    if threading.current_thread() is not threading.main_thread():
        yield told
        return
    read_end, write_end = os.pipe()
    interrupted = False
    hangup_signal = getattr(signal, "SIGHUP", None)  # Windows has none

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        if interrupted and number == signal.SIGINT:
            told.is_urgent = True
            raise KeyboardInterrupt
        interrupted = interrupted or number == signal.SIGINT
        os.write(write_end, _HANGUP if number == hangup_signal else _TOLD)

    def pass_on() -> None:
        while (said := os.read(read_end, 1)) != _OVER:
            if said == _TOLD:
                stop.set()
            elif hangup is not None:
                hangup.set()

    thread = threading.Thread(target=pass_on, name="signals", daemon=True)
    thread.start()
    numbers = [*_SIGNALS]
    if hangup is not None and hangup_signal is not None and signal.getsignal(hangup_signal) is not signal.SIG_IGN:
        numbers.append(hangup_signal)
    before = {number: signal.signal(number, on_signal) for number in numbers}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.write(write_end, _OVER)
        thread.join()
        os.close(write_end)
        os.close(read_end)
