"""Plain subjects of NATS: what is published while we listen. At most once: nobody keeps what nobody takes."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Final

from millstream.sources.messages import READING_S, Message, Messages
from millstream.sources.nats_stream import away, connect, headers_of
from millstream.sources.source import Note

if TYPE_CHECKING:
    from millstream.sources.nats import NatsMessages

READING_MESSAGES: Final = 10_000
WAITING_MESSAGES: Final = 200_000
"""What comes faster than it is stored waits in memory up to this many, and is dropped by the client beyond it."""
WAITING_BYTES: Final = 64 * 1024 * 1024
_WAIT_S: Final = 0.25
"""A stop is noticed within this time."""
_ROOM_S: Final = 0.01


def read_subject(
    source: NatsMessages, stop: threading.Event, note: Note, *, follow: bool
) -> Generator[Messages, None, None]:
    """See `MessageSource.messages`. Processes of one name share a queue group: one of them gets a message."""
    if not follow:
        return  # nothing waits anywhere
    taken: queue.SimpleQueue[Any] = queue.SimpleQueue()
    connection = connect(source)
    try:
        connection.call(_subscribe(connection.client, source, taken))
        yield Messages((), {})  # nothing yet, and it is read
        while not stop.is_set():
            messages = _gather(taken)
            if connection.dropped:
                note(f"{source}: messages came faster than they were stored, and some were dropped")
            if messages:
                yield Messages(messages, {})
            elif not connection.connected:
                raise away(source, connection)
        # What came before the stop was taken from the server, and is nowhere else.
        connection.close()
        while messages := _gather(taken, wait_s=0):
            yield Messages(messages, {})
    finally:
        if connection.dropped:
            note(f"{source}: {connection.dropped:,} messages were dropped until now, as they came too fast")
        connection.close()


async def _subscribe(client: Any, source: NatsMessages, taken: queue.SimpleQueue[Any]) -> None:
    import asyncio

    async def take(one: Any) -> None:
        while taken.qsize() >= READING_MESSAGES * 2:  # noqa: ASYNC110 - the other side is a thread, not asyncio
            await asyncio.sleep(_ROOM_S)  # the client keeps those behind it, and counts what it has no room for
        taken.put((one, time.time_ns() // 1000))

    await client.subscribe(
        source.subject,
        queue=f"millstream-{source.name}",
        cb=take,
        pending_msgs_limit=WAITING_MESSAGES,
        pending_bytes_limit=WAITING_BYTES,
    )
    await client.flush()


def _gather(taken: queue.SimpleQueue[Any], *, wait_s: float = _WAIT_S) -> list[Message]:
    """Return what comes within a moment, once something came."""
    messages: list[Message] = []
    until = time.monotonic() + wait_s
    while len(messages) < READING_MESSAGES:
        try:
            one, time_us = taken.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            break
        if not messages:
            until = min(until, time.monotonic() + READING_S)
        messages.append(Message(one.data, None, headers_of(one), time_us, one.subject))
    return messages
