"""Requests as a trigger: `from millstream import http`, then `@app.on(http.post("/signup"))`.

General layout, in the order of a request:
    endpoint     a path as it is declared: what a request has to pass, what event it becomes
    signatures   is it from who it says? GitHub, Stripe, HMAC
    request      a request as the log keeps it, and what a handler may answer
    desk         where a request waits for the answer of its handler
    uploads      files, streamed to disk
    multipart    a form with files, taken apart as it comes; receiving: a file on its way to disk; safe_name: its name
    cloudevents  CloudEvents 1.0, in and out
    site         the endpoints of an app as one ASGI application
    server       the reader that serves it
    refusal      a request that is not taken
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from millstream.triggers.http.cloudevents import CloudEvent, CloudEventTrigger, batched, to_cloudevent
from millstream.triggers.http.endpoint import METHODS, SIZE, HttpTrigger, Replies, rules_of
from millstream.triggers.http.request import Request, Response
from millstream.triggers.http.uploads import Upload, UploadTrigger
from millstream.triggers.protocol import name_of

__all__ = [
    "CloudEvent",
    "HttpTrigger",
    "Request",
    "Response",
    "Upload",
    "any",
    "batched",
    "cloudevents",
    "delete",
    "get",
    "patch",
    "post",
    "put",
    "to_cloudevent",
    "upload",
]

Secret = str | bytes | Sequence[str | bytes] | None


def post(
    path: str,
    *,
    secret: Secret = None,
    signature: str | None = None,
    idempotency: str | None = None,
    window: timedelta | str | float = "1d",
    size_max: int | str = SIZE,
    body: Any = None,
    reply: Replies = "handler",
    wait: timedelta | str | float = "30s",
    public: bool = False,
    rate: float | None = None,
    name: str | None = None,
) -> HttpTrigger:
    """Take POST requests to a path: `@app.on(http.post("/signup"))` above `def signup(request): ...`.

    A request is in the log before it is answered. What the handler returns is the answer: None is 204, text and bytes
    as they are, data as JSON, `Response(...)` for the rest. Where it raises, the answer is 500 with the place of the
    event, which is tried again as `retry` of `@app.on` says. Without a handler (the trigger feeds a queue or a stream),
    and with reply="accepted", the answer is 202 as soon as the event is in the log.

    Args:
        path: Such as "/signup", or "/orders/{id}": `request.params["id"]` is that part.
        secret: The body is signed with it; several while one replaces the other. Signed requests need no token.
        signature: "github", "stripe", "sha256" (X-Signature-256), or "sha256:X-My-Header".
        idempotency: A header that tells a repeated request: within `window` it gets the answer of the first, and the
            handler is not called again. The same key with another body is refused (422).
        size_max: Of the body, 12 MB at most; larger ones are uploads.
        body: A Struct or another type: a body that is no JSON of it is refused (400) and not kept.
        wait: The answer is 202 where the handler takes longer; it goes on.
        public: Anyone may send, by any host name, without a token: for forms and pages of other sites.
        rate: So many requests a second of one client, three times as many at once; None does not limit them.
        name: Of the trigger, whose topic is `<name>.events`; None: made of method and path.

    Raises:
        UsageError: A setting is out of range, or two do not go together.
    """
    rules = rules_of(
        ("POST",),
        secret=secret,
        signature=signature,
        idempotency=idempotency,
        window=window,
        size_max=size_max,
        body=body,
        reply=reply,
        wait=wait,
        public=public,
        rate=rate,
    )
    return HttpTrigger(path, rules, name=name)


def put(path: str, **settings: Any) -> HttpTrigger:
    """Take PUT requests; see `post` for the settings."""
    return _of(("PUT",), path, settings)


def patch(path: str, **settings: Any) -> HttpTrigger:
    """Take PATCH requests; see `post` for the settings."""
    return _of(("PATCH",), path, settings)


def delete(path: str, **settings: Any) -> HttpTrigger:
    """Take DELETE requests; see `post` for the settings."""
    return _of(("DELETE",), path, settings)


def get(path: str, **settings: Any) -> HttpTrigger:
    """Take GET requests; see `post` for the settings. What is asked for is kept, so this is not for static pages."""
    return _of(("GET",), path, settings)


def any(path: str, **settings: Any) -> HttpTrigger:
    """Take GET, POST, PUT, PATCH and DELETE requests; see `post` for the settings."""
    return _of(METHODS, path, settings)


def upload(
    path: str,
    *,
    to: str | Path,
    size_max: int | str = "1GB",
    reply: Replies = "handler",
    wait: timedelta | str | float = "30s",
    public: bool = False,
    rate: float | None = None,
    name: str | None = None,
) -> UploadTrigger:
    """Take files sent to a path by POST or PUT: `@app.on(http.upload("/files", to="uploads/"))`.

    A body of `multipart/form-data` has files in it, any other is a file: its name is `{name}` of the path, that of
    Content-Disposition, or `?name=`. They are streamed to disk with bounded memory and synced; only then they get their
    names and their events. A name keeps no parts of a path and no name of a device; where it is taken, a number is put
    behind it. The handler gets an `Upload`; for a request with several files the answer is 202.

    Args:
        to: The folder, made if it is missing.
        size_max: Of a request in all.
        reply, wait, public, rate, name: As for `post`.

    Raises:
        UsageError: A setting is out of range.
    """
    rules = rules_of(
        ("POST", "PUT"),
        secret=None,
        signature=None,
        idempotency=None,
        window="1d",
        size_max=size_max,
        reply=reply,
        wait=wait,
        public=public,
        rate=rate,
        streamed=True,
    )
    return UploadTrigger(path, rules, Path(to), name=name or name_of("upload", path))


def cloudevents(
    path: str,
    *,
    secret: Secret = None,
    signature: str | None = None,
    window: timedelta | str | float = "1d",
    size_max: int | str = SIZE,
    reply: Replies = "handler",
    wait: timedelta | str | float = "30s",
    public: bool = False,
    rate: float | None = None,
    name: str | None = None,
) -> CloudEventTrigger:
    """Take CloudEvents 1.0 sent to a path by POST, structured, binary or batched; the handler gets a `CloudEvent`.

    An event with the source and id of one that came within `window` is the same: it is not written again, and gets the
    answer of the first. A batch is written in one transaction and answered with 202.

    Args:
        secret, signature, size_max, reply, wait, public, rate, name: As for `post`.

    Raises:
        UsageError: A setting is out of range, or two do not go together.
    """
    rules = rules_of(
        ("POST",),
        secret=secret,
        signature=signature,
        idempotency=None,
        window=window,
        size_max=size_max,
        reply=reply,
        wait=wait,
        public=public,
        rate=rate,
    )
    return CloudEventTrigger(path, rules, name=name or name_of("cloudevents", path))


def _of(methods: tuple[str, ...], path: str, settings: dict[str, Any]) -> HttpTrigger:
    name = settings.pop("name", None)
    unknown = settings.keys() - _DEFAULTS.keys()
    if unknown:
        from millstream.errors import UsageError

        raise UsageError(f"{path!r}: there is no setting {min(unknown)!r}; there are {', '.join(sorted(_DEFAULTS))}")
    return HttpTrigger(path, rules_of(methods, **{**_DEFAULTS, **settings}), name=name)


_DEFAULTS: dict[str, Any] = {key: value for key, value in (post.__kwdefaults__ or {}).items() if key != "name"}
