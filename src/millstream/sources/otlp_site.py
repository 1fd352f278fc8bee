"""POST /v1/logs, as an ASGI application: every answer is one of OTLP/HTTP.

Source: opentelemetry.io/docs/specs/otlp ("OTLP/HTTP").
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Final

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from millstream.errors import LimitExceededError, SettingsError, UsageError
from millstream.serving.access import Access
from millstream.sources.otlp_answers import (
    INVALID_ARGUMENT,
    PERMISSION_DENIED,
    RESOURCE_EXHAUSTED,
    UNAUTHENTICATED,
    UNIMPLEMENTED,
    RefusedError,
    success,
)
from millstream.sources.otlp_batch import (
    BODY_BYTES_MAX,
    ENCODINGS,
    JSON,
    PROTOBUF,
    RECORD_BYTES_MAX,
    Batch,
    read_batch,
    unpacked,
)
from millstream.sources.otlp_inbox import Inbox, Post, digest_of

PATH: Final = "/v1/logs"
STORE_S: Final = 8.0
"""A request waits so long for the log; exporters wait 10 seconds for an answer."""
BODY_S: Final = 30.0
"""For a whole body to come."""
COMING_BYTES_MAX: Final = 64 * 1024 * 1024
"""Of all bodies that are being received."""
DECODERS: Final = 2
"""Bodies that are decoded at once: each may become many times as large."""

_log = logging.getLogger(__name__)


class Site:
    """The application; lives in one event loop."""

    def __init__(self, inbox: Inbox, access: Access) -> None:
        self._inbox = inbox
        self._access = access
        self._coming_bytes = 0
        self._decoders = asyncio.Semaphore(DECODERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        said = content_type if content_type in (JSON, PROTOBUF) else JSON
        digest: bytes | None = None
        try:
            response, digest = await self._answer(request, content_type)
        except RefusedError as refused:
            response = refused.response(said)
            if refused.status != 404 and not _is_read(request):
                response.headers["connection"] = "close"  # what is left of the body is not waited for
        except ClientDisconnect:
            return
        await response(scope, receive, send)
        if digest is not None:
            self._inbox.answered(digest)

    async def _answer(self, request: Request, content_type: str) -> tuple[Response, bytes | None]:
        """Return the answer, and the digest of what is stored by now; raise what is refused."""
        elsewhere = _elsewhere(request)
        if elsewhere is not None:
            return elsewhere, None
        self._check(request.headers)
        encoding = _encoding(request.headers, content_type)
        client = request.client.host if request.client else ""
        body = await self._body(request)
        async with self._decoders:
            batch = await asyncio.to_thread(_read, body, encoding, content_type)
        if not batch.lines:
            return _told(content_type, batch), None
        if self._inbox.is_full:
            raise RefusedError.later(429, "more waits to be stored than memory is kept for; send it again")
        post = self._inbox.put(batch.lines, client, digest_of(client, body))
        if post is not None:
            await self._stored(request, post)
            return _told(content_type, batch), post.digest
        return _told(content_type, batch), digest_of(client, body)

    def _check(self, headers: Headers) -> None:
        if not self._inbox.is_open:
            raise RefusedError.later(503, "the receiver is stopping; send it again")
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._access.answers_to(hosts[0]):
            raise RefusedError(403, PERMISSION_DENIED, "this receiver does not answer to that host name")
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if self._access.token is not None and not (scheme.lower() == "bearer" and self._access.token_is(token.strip())):
            raise RefusedError(
                401,
                UNAUTHENTICATED,
                "send the receiver's token: Authorization: Bearer <token>",
                {"www-authenticate": "Bearer"},
            )

    async def _body(self, request: Request) -> bytes:
        too_large = RefusedError(
            413, RESOURCE_EXHAUSTED, f"the body is larger than {BODY_BYTES_MAX:,} bytes; send smaller batches"
        )
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > BODY_BYTES_MAX:
            raise too_large
        chunks: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(BODY_S):
                async for chunk in request.stream():
                    chunks.append(chunk)
                    size += len(chunk)
                    self._coming_bytes += len(chunk)
                    if size > BODY_BYTES_MAX:
                        raise too_large
                    if self._coming_bytes > COMING_BYTES_MAX:
                        raise RefusedError.later(429, "too much is being received at once; send it again")
        except TimeoutError:
            raise RefusedError(408, INVALID_ARGUMENT, f"the body did not come within {BODY_S:g} seconds") from None
        finally:
            self._coming_bytes -= size
        return b"".join(chunks)

    async def _stored(self, request: Request, post: Post) -> None:
        """Wait until a request is stored; raise when it takes too long, or nobody waits for the answer."""
        stored = asyncio.wrap_future(post.stored)
        gone = asyncio.ensure_future(_gone(request))
        try:
            await asyncio.wait({stored, gone}, timeout=STORE_S, return_when=asyncio.FIRST_COMPLETED)
            if stored.done() and not gone.done():
                return
            # It is stored all the same, or was; when it comes again it is known.
            self._inbox.abandon(post)
            if gone.done():
                raise ClientDisconnect
            raise RefusedError.later(503, f"the log did not store this within {STORE_S:g} seconds; send it again")
        finally:
            gone.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await gone


def _told(content_type: str, batch: Batch) -> Response:
    message = f"records larger than {RECORD_BYTES_MAX:,} bytes are not taken" if batch.rejected else ""
    return success(content_type, batch.rejected, message)


def _elsewhere(request: Request) -> Response | None:
    """Return the answer to what is no post of logs."""
    if request.url.path != PATH:
        text = f"there is {PATH} here, for logs alone: no traces, no metrics\n"
        return PlainTextResponse(text, 404)
    if request.method != "POST":
        return PlainTextResponse(f"post OTLP logs to {PATH}\n", 405, {"allow": "POST"})
    return None


def _encoding(headers: Headers, content_type: str) -> str:
    if content_type not in (JSON, PROTOBUF):
        raise RefusedError(415, INVALID_ARGUMENT, f"Content-Type is {content_type!r}; send {PROTOBUF} or {JSON}")
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ENCODINGS:
        raise RefusedError(415, INVALID_ARGUMENT, f"Content-Encoding is {encoding!r}; send gzip, deflate or none")
    return encoding


def _read(body: bytes, encoding: str, content_type: str) -> Batch:
    try:
        return read_batch(unpacked(body, encoding), content_type)
    except LimitExceededError as error:
        raise RefusedError(413, RESOURCE_EXHAUSTED, str(error)) from error
    except SettingsError as error:
        raise RefusedError(415, UNIMPLEMENTED, str(error)) from error
    except UsageError as error:
        raise RefusedError(400, INVALID_ARGUMENT, str(error)) from error


def _is_read(request: Request) -> bool:
    return getattr(request, "_stream_consumed", False) is True


async def _gone(request: Request) -> None:
    """Return when the sender is gone; its body is read already."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
