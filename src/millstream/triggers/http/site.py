"""The endpoints of an app as one ASGI application."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from millstream.clock import Clock
from millstream.errors import MillstreamError
from millstream.log.log import Log
from millstream.records import Position
from millstream.serving.access import Access
from millstream.serving.answers import RequestError
from millstream.serving.guard import BODY_SECONDS_MAX, Guard
from millstream.serving.rates import Rate
from millstream.triggers.http.desk import Desk, place_text
from millstream.triggers.http.endpoint import Entry, HttpTrigger, Incoming
from millstream.triggers.http.refusal import Refused
from millstream.triggers.http.request import Reply, json_reply
from millstream.triggers.http.uploads import UploadTrigger

LOOK_S_MIN: Final = 0.02
LOOK_S_MAX: Final = 1.0
"""An event that another process handles is looked for in the log this often, less often the longer it takes."""

STOPPING_S: Final = 5.0
"""When the server stops, requests whose handler is at work wait this long for it."""

OPEN: Final = Access(frozenset(), any_name=True)
"""Of endpoints whose requests are signed, or that are for everybody."""

BODY_BYTES_PER_S_MIN: Final = 10_000
"""A body may take the longer the larger it is: on a line of 80 kbit/s, a second for each of these."""


class Site:
    """Finds the endpoint of a request. Pure ASGI."""

    def __init__(self, log: Log, triggers: Sequence[HttpTrigger], *, access: Access, port: int) -> None:
        self.stopping = asyncio.Event()
        self._places = [(trigger, self._guarded(log, trigger, access, port)) for trigger in triggers]

    def stop(self) -> None:
        """Have waiting requests answered soon; in the event loop."""
        self.stopping.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        allowed: list[str] = []
        if scope["type"] == "http":
            for trigger, app in self._places:
                params = trigger.match(scope["path"])
                if params is None:
                    continue
                if scope["method"] in trigger.rules.methods:
                    await app({**scope, "path_params": params}, receive, send)
                    return
                allowed += trigger.rules.methods
        await _no_endpoint(scope, allowed)(scope, receive, send)

    def _guarded(self, log: Log, trigger: HttpTrigger, access: Access, port: int) -> ASGIApp:
        rules = trigger.rules
        streamed = isinstance(trigger, UploadTrigger)
        app: Endpoint
        if isinstance(trigger, UploadTrigger):
            app = UploadEndpoint(log, trigger, self.stopping)
        else:
            app = Endpoint(log, trigger, self.stopping)
        rate = None if rules.rate is None else Rate(rules.rate, max(1, round(rules.rate * 3)))
        is_open = rules.public or rules.verifier is not None
        return Guard(
            app,
            access=OPEN if is_open else access,
            clock=log.clock,
            port=port,
            read_rate=rate,
            write_rate=rate,
            body_bytes_max=None if streamed else rules.size_max,
            body_seconds_max=BODY_SECONDS_MAX + rules.size_max / BODY_BYTES_PER_S_MIN,
            origins=not is_open,
        )


class Endpoint:
    """Writes the events of one trigger, and answers. Behind a guard, which has read the body."""

    def __init__(self, log: Log, trigger: HttpTrigger, stopping: asyncio.Event) -> None:
        self._trigger = trigger
        self._rules = trigger.rules
        self._events = trigger.events(log)
        self._desk = trigger.desk(log)
        self._clock: Clock = log.clock
        self._stopping = stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            reply = await self._reply(scope, receive)
        except Refused as error:
            refused = RequestError(error.status, error.code, str(error), where=error.where)
            await refused.response()(scope, receive, send)
        except MillstreamError as error:
            await RequestError.of(error).response()(scope, receive, send)
        else:
            await send_reply(reply, send)

    async def _reply(self, scope: Scope, receive: Receive) -> Reply:
        message = await receive()
        incoming = incoming_of(scope, message.get("body", b""), self._clock)
        self._trigger.check(incoming)
        return await self.answer(self._trigger.entries(incoming))

    async def answer(self, entries: Sequence[Entry], written: Callable[[], None] = lambda: None) -> Reply:
        """Write events, then return the answer: the handler's for a single one, else that they are in the log.

        Args:
            written: Called when they are in the log.

        Raises:
            MillstreamError: They were not written.
        """
        desk = self._desk
        if desk is None or len(entries) != 1:
            positions = await self._append(entries)
            written()
            return accepted(self._trigger.topic_name, positions)
        [entry] = entries
        future = desk.expect(entry.id)
        try:
            [position] = await self._append(entries)
            written()
            # A repeated one may have been done long ago.
            known = await asyncio.to_thread(desk.look, position) if entry.unique and not future.done() else None
            reply = known if known is not None and not future.done() else await self._wait(desk, future, position)
        finally:
            desk.leave(entry.id, future)
        if entry.unique and reply.digest and reply.digest != self._trigger.digest_of(entry.event):
            raise Refused(
                422, "key_reused", "its key was used with another body before", where=self._rules.idempotency or "id"
            )
        return reply

    async def _append(self, entries: Sequence[Entry]) -> list[Position]:
        if len(entries) == 1:
            entry = entries[0]
            unique = entry.id if entry.unique else None
            window = self._rules.window_us / 1e6
            return [await self._events.append_async(entry.event, unique=unique, unique_window=window)]
        unique_ids = [entry.id if entry.unique else None for entry in entries]
        ranges = await self._events.extend_async(
            [entry.event for entry in entries], unique=unique_ids, unique_window=self._rules.window_us / 1e6
        )
        return [Position(span.partition, offset) for span in ranges for offset in range(span.start, span.end)]

    async def _wait(self, desk: Desk, future: asyncio.Future[Reply], position: Position) -> Reply:
        """Return the handler's answer; that the event is in the log, where it takes too long."""
        loop = asyncio.get_running_loop()
        until, look_s = loop.time() + self._rules.wait_us / 1e6, LOOK_S_MIN
        while True:
            left = until - loop.time()
            if self._stopping.is_set():
                left = min(left, STOPPING_S)
                until = loop.time() + left
            done, _ = await asyncio.wait((future,), timeout=max(0.0, min(left, look_s)))
            if done:
                return future.result()
            if left <= look_s:
                return accepted(self._trigger.topic_name, [position])
            known = await asyncio.to_thread(desk.look, position)
            # The answer that came meanwhile is the handler's own; of what was answered here, the log keeps none.
            if known is not None and not future.done():
                return known
            look_s = min(look_s * 1.5, LOOK_S_MAX)


class UploadEndpoint(Endpoint):
    """Takes files as they come, then writes the events of all of them."""

    def __init__(self, log: Log, trigger: UploadTrigger, stopping: asyncio.Event) -> None:
        super().__init__(log, trigger, stopping)
        self._uploads = trigger

    async def _reply(self, scope: Scope, receive: Receive) -> Reply:
        incoming = incoming_of(scope, b"", self._clock)
        taking = await self._uploads.receive(incoming, receive)
        kept = asyncio.Event()
        try:
            return await self.answer(self._uploads.uploads(incoming, taking), kept.set)
        finally:
            if not kept.is_set():
                await asyncio.shield(asyncio.to_thread(taking.discard))


def incoming_of(scope: Scope, body: bytes, clock: Clock) -> Incoming:
    """Return a request whose body was read."""
    client = scope.get("client")
    return Incoming(
        method=scope["method"],
        path=scope["path"],
        params=scope["path_params"],
        query=scope["query_string"].decode("latin-1"),
        headers=headers_of(scope),
        body=body,
        client=client[0] if client else "",
        now_us=clock.now_us(),
    )


def headers_of(scope: Scope) -> dict[str, str]:
    """Return the headers by name in lower case; of several with one name, the values joined."""
    headers: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers


def accepted(topic: str, positions: Sequence[Position]) -> Reply:
    """Return the answer that events are in the log."""
    return json_reply(202, {"accepted": [place_text(topic, position) for position in positions]})


async def send_reply(reply: Reply, send: Send) -> None:
    headers = [(name.encode("latin-1"), text.encode("latin-1", "replace")) for name, text in reply.headers.items()]
    if reply.status not in (204, 304):
        headers.append((b"content-length", b"%d" % len(reply.body)))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


def _no_endpoint(scope: Scope, allowed: Sequence[str]) -> ASGIApp:
    if allowed:
        message = f"this path takes {', '.join(allowed)}"
        error = RequestError(405, "method_not_allowed", message, where="method", headers={"allow": ", ".join(allowed)})
    else:
        error = RequestError(404, "not_found", "nothing is declared for this path", where="path")
    return error.response()


async def _live(receive: Receive, send: Send) -> None:
    """Answer the server's own messages of start and stop."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
