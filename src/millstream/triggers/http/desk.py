"""Where a request waits for the answer of its handler.

The handler runs as the worker of a queue, in a thread of its own or in another process; its outcome comes here. A
request is known by its id, which is made before it is written: the handler may be done before the writer knows where
the event is.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from millstream.engines.protocol import Place, StateChange
from millstream.errors import GroupNotFoundError
from millstream.limits import RESULT_BYTES_MAX
from millstream.log.log import Log
from millstream.records import Position, Record
from millstream.triggers.http.request import Reply, json_reply, reply_of
from millstream.triggers.protocol import Ended, Ending

if TYPE_CHECKING:
    import asyncio

RECENT_MAX: Final = 1000
"""Answers to keyed requests kept in memory: those that are done and not yet in the log, and some more."""

RECENT_BYTES_MAX: Final = 64 * 1024
"""Of such an answer; who waits for a larger one finds it in the log a moment later."""

PASSED_ON_US: Final = 60_000_000
"""An answer for a request that waits in another process is there for this long; it looks every second at least."""


class Desk:
    """The requests of one endpoint that wait. Told by workers in threads, asked in the event loop.

    Args:
        window_us: How long answers are kept for repeated requests; None: only where this process waits for none.
    """

    def __init__(
        self,
        log: Log,
        topic: str,
        group: str,
        *,
        id_of: Callable[[Any], str],
        digest_of: Callable[[Any], bytes],
        window_us: int | None,
    ) -> None:
        self._log = log
        self._topic = topic
        self._group = group
        self._id_of = id_of
        self._digest_of = digest_of
        self._window_us = window_us
        self._lock = threading.Lock()
        self._waiting: dict[str, list[asyncio.Future[Reply]]] = {}
        self._recent: OrderedDict[str, Reply] = OrderedDict()

    # --- in the event loop ------------------------------------------------------------------------------------------

    def expect(self, id: str) -> asyncio.Future[Reply]:
        """Return what gets the answer of the event with this id; call it before the event is written."""
        import asyncio  # late: apps without http triggers never need it, and it takes 20 ms

        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        with self._lock:
            known = self._recent.get(id)
            self._waiting.setdefault(id, []).append(future)
        if known is not None:
            future.set_result(known)
        return future

    def leave(self, id: str, future: asyncio.Future[Reply]) -> None:
        """Wait no more."""
        with self._lock:
            futures = self._waiting.get(id, [])
            if future in futures:
                futures.remove(future)
            if not futures:
                self._waiting.pop(id, None)

    def look(self, position: Position) -> Reply | None:
        """Return the answer that the log has of an event (blocking); None where it is yet to be handled."""
        engine, key = self._log.engine, _key(position.offset)
        try:
            # In this order: it may be settled in between, and then its answer is there.
            found = engine.find(self._topic, self._group, position.partition, position.offset)
            kept = engine.state(self._topic, self._group, position.partition, [key]).get(key)
        except GroupNotFoundError:
            return None
        if kept is not None:
            return msgspec.msgpack.decode(kept, type=Reply)
        if found.place is not Place.SETTLED:
            return None
        return json_reply(200, {"done": place_text(self._topic, position), "note": "its answer is not kept any more"})

    # --- in the worker ----------------------------------------------------------------------------------------------

    def ended(self, record: Record[Any], ended: Ended) -> Sequence[StateChange]:
        """Answer those who wait for this event; return what is kept of the answer."""
        id, final = self._id_of(record.value), ended.ending is not Ending.RETRY
        reply = self._reply(record, ended)
        with self._lock:
            futures = tuple(self._waiting.get(id, ()))
            if final and self._window_us is not None and len(reply.body) <= RECENT_BYTES_MAX:
                self._recent[id] = reply
                if len(self._recent) > RECENT_MAX:
                    self._recent.popitem(last=False)
        for future in futures:
            _resolve(future, reply)
        if not final or (self._window_us is None and futures):
            return ()
        kept_us = PASSED_ON_US if self._window_us is None else self._window_us
        data = msgspec.msgpack.encode(reply)
        if len(data) > RESULT_BYTES_MAX:
            note = json_reply(
                200, {"done": place_text(self._topic, record.position), "note": "its answer was too large"}
            )
            data = msgspec.msgpack.encode(note)
        expires_us = self._log.clock.now_us() + kept_us
        return [StateChange(record.partition, _key(record.offset), data, expires_us)]

    def _reply(self, record: Record[Any], ended: Ended) -> Reply:
        if ended.ending is Ending.DONE:
            reply = reply_of(ended.value)
        else:
            place = place_text(self._topic, record.position)
            again = ended.ending is Ending.RETRY
            what = "it is tried again" if again else f"it is in the dead letters, {self._topic}.dead"
            # What the handler raised is for the operator's eyes: it may name files, hosts, values of others.
            message = f"the handler failed; the request is kept as {place}, {what}"
            reply = json_reply(500, {"error": {"code": "handler_failed", "message": message, "where": place}})
        if self._window_us is None:
            return reply
        return msgspec.structs.replace(reply, digest=self._digest_of(record.value))


def place_text(topic: str, position: Position) -> str:
    """Return where an event is, as people and `millstream tail` write it."""
    return f"{topic}:{position.partition}:{position.offset}"


def _key(offset: int) -> bytes:
    return b"answer:%d" % offset


def _resolve(future: asyncio.Future[Reply], reply: Reply) -> None:
    def set_result() -> None:
        if not future.done():
            future.set_result(reply)

    try:
        future.get_loop().call_soon_threadsafe(set_result)
    except RuntimeError:
        pass  # the server has stopped: nobody waits any more
