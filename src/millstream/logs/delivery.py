"""Events and alerts to outputs: each output is a stream of its own, with its own position."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from millstream.durations import duration
from millstream.errors import MillstreamError, UsageError
from millstream.logs.alert import Alert
from millstream.logs.outputs import Output
from millstream.logs.where import condition
from millstream.parsers.log_event import LogEvent

if TYPE_CHECKING:
    from millstream.app import App
    from millstream.log.topic import Topic
    from millstream.stream import Stream, StreamReader

_log = logging.getLogger(__name__)


def add_output(app: App, output: Output, events: Topic[LogEvent], alerts: Topic[Alert]) -> StreamReader:
    """Declare the stream of one output.

    Raises:
        UsageError: Its condition is wrong, or it cannot write the columns that it is given.
    """
    topic: Topic[Any] = events if output.of == "events" else alerts

    def describe(stream: Stream) -> None:
        if output.where is not None:
            found = condition(output.where, what=f"output {output.name}, where", of=topic_type(output))
            stream = stream.filter(found.fill_null(value=False))
        stream.to(output.sink())

    return app.stream(topic, name=output.name, start=output.begin)(describe)


def topic_type(output: Output) -> type[LogEvent | Alert]:
    """Return what an output is given."""
    return LogEvent if output.of == "events" else Alert


def hand_over(readers: Sequence[StreamReader], within: str) -> list[str]:
    """Let every output take all there is, at the same time; return what did not work, in sentences.

    Args:
        within: An output that has not ended by then goes on in its thread, which ends with the process.
    """
    failed: dict[str, str] = {}
    stop = threading.Event()
    threads = {
        reader.name: threading.Thread(target=_drain, args=(reader, stop, failed), name=reader.name, daemon=True)
        for reader in readers
    }
    for thread in threads.values():
        thread.start()
    deadline = time.monotonic() + duration(within).total_seconds()
    try:
        for name, thread in threads.items():
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                failed[name] = f"output {name} did not take all within {within}; it gets the rest at the next start"
    finally:
        stop.set()  # also where Ctrl-C ended the wait
    return [failed[name] for name in sorted(failed)]


def _drain(reader: StreamReader, stop: threading.Event, failed: dict[str, str]) -> None:
    try:
        while reader.run_now(stop) and not stop.is_set():
            pass
    except MillstreamError as error:
        rest = "" if isinstance(error, UsageError) else "; it gets the rest at the next start"
        failed[reader.name] = f"output {reader.name}: {error}{rest}"
    except Exception as error:  # noqa: BLE001 - drivers of users' databases raise what they like; the others go on
        _log.exception("output %s failed", reader.name)
        failed[reader.name] = f"output {reader.name}: {type(error).__name__}: {error}"
