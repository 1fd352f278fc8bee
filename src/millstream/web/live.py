"""What happens, told to every open page: server-sent events.

A page first gets a snapshot, then every change after it, nothing between lost or doubled: both come from the event
loop, in which snapshot and changes cannot overlap. A page that reads too slowly is told so and cut off; it comes back
by itself and begins with a new snapshot. Nothing grows with the number or slowness of pages beyond these limits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec
from starlette.types import Receive, Scope, Send

from millstream.serving.answers import RequestError

PAGES_MAX: Final = 64
"""Open pages of one server: each costs a connection and a queue."""

QUEUE_EVENTS_MAX: Final = 256
"""Events that wait for one page: some seconds of a busy log."""

SEND_SECONDS_MAX: Final = 10.0
"""A page that takes nothing for this long is gone or stuck."""

HEARTBEAT_SECONDS: Final = 15.0
"""A comment in silence, so that proxies keep the line open and a dead one is noticed."""

RECONNECT_MS: Final = 1000

HEADERS: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
)


class _Page:
    """One open page."""

    def __init__(self, events_max: int) -> None:
        self.events: asyncio.Queue[bytes | None] = asyncio.Queue(events_max)
        """None ends the page."""

    def put(self, event: bytes) -> bool:
        try:
            self.events.put_nowait(event)
        except asyncio.QueueFull:
            return False
        return True

    def end(self, last: bytes) -> None:
        """Let these be the last words, in place of all that waits where there is no room."""
        while self.events.qsize() > self.events.maxsize - 2:
            self.events.get_nowait()
        self.events.put_nowait(last)
        self.events.put_nowait(None)


class Live:
    """`GET /events`. Lives in the event loop."""

    def __init__(
        self,
        snapshot: Callable[[], object],
        *,
        pages_max: int = PAGES_MAX,
        events_max: int = QUEUE_EVENTS_MAX,
        send_seconds_max: float = SEND_SECONDS_MAX,
    ) -> None:
        self._snapshot = snapshot
        self._pages_max = pages_max
        self._events_max = events_max
        self._send_seconds_max = send_seconds_max
        self._pages: set[_Page] = set()
        self._closed = False
        self.slow_pages = 0
        """Pages cut off because they read too slowly."""

    def __len__(self) -> int:
        return len(self._pages)

    def publish(self, name: str, value: object) -> None:
        """Tell every page; encoded once, and only when somebody listens."""
        if not self._pages:
            return
        event = encode_event(name, value)
        for page in list(self._pages):
            if not page.put(event):
                self.slow_pages += 1
                self._pages.discard(page)
                page.end(encode_event("cut", {"message": "this page read too slowly and begins anew"}))

    def close(self) -> None:
        """Say goodbye to every page; further ones are refused."""
        self._closed = True
        for page in self._pages:
            page.end(encode_event("bye", {"message": "the server is stopping"}))
        self._pages.clear()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        page = self._join()
        try:
            await send({"type": "http.response.start", "status": 200, "headers": list(HEADERS)})
            sender = asyncio.ensure_future(self._send_events(page, send))
            gone = asyncio.ensure_future(_disconnected(receive))
            try:
                await asyncio.wait((sender, gone), return_when=asyncio.FIRST_COMPLETED)
            finally:
                sender.cancel()
                gone.cancel()
                await asyncio.gather(sender, gone, return_exceptions=True)
        finally:
            self._pages.discard(page)

    def _join(self) -> _Page:
        if self._closed:
            raise RequestError(503, "stopping", "the server is stopping", headers={"retry-after": "2"})
        if len(self._pages) >= self._pages_max:
            raise RequestError(
                503, "too_many_pages", f"{self._pages_max} pages are open already", headers={"retry-after": "10"}
            )
        page = _Page(self._events_max)
        page.put(f"retry: {RECONNECT_MS}\n".encode() + encode_event("snapshot", self._snapshot()))
        self._pages.add(page)
        return page

    async def _send_events(self, page: _Page, send: Send) -> None:
        while True:
            try:
                async with asyncio.timeout(HEARTBEAT_SECONDS):
                    event = await page.events.get()
            except TimeoutError:
                event = b": still here\n\n"
            async with asyncio.timeout(self._send_seconds_max):
                if event is None:
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
                    return
                await send({"type": "http.response.body", "body": event, "more_body": True})


def encode_event(name: str, value: object) -> bytes:
    """Return an event as its bytes on the line; JSON has no line breaks, so one `data:` is enough."""
    return b"event: " + name.encode() + b"\ndata: " + msgspec.json.encode(value) + b"\n\n"


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
