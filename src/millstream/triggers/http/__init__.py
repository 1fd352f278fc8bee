"""Requests as a trigger: `from millstream import http`, then `@app.on(http.post("/signup"))`.

General layout, in the order of a request:
    endpoint     a path as it is declared: what a request has to pass, what event it becomes
    signatures   is it from who it says? GitHub, Stripe, HMAC
    request      a request as the log keeps it, and what a handler may answer
    desk         where a request waits for the answer of its handler
    uploads      files, streamed to disk; multipart: their form
    cloudevents  CloudEvents 1.0, in and out
    site         the endpoints of an app as one ASGI application
    server       the reader that serves it
    refusal      a request that is not taken
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from millstream.triggers.http.endpoint import METHODS, SIZE, HttpTrigger, Replies, rules_of
from millstream.triggers.http.request import Request, Response

__all__ = ["HttpTrigger", "Request", "Response", "any", "delete", "get", "patch", "post", "put"]

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


def _of(methods: tuple[str, ...], path: str, settings: dict[str, Any]) -> HttpTrigger:
    name = settings.pop("name", None)
    unknown = settings.keys() - _DEFAULTS.keys()
    if unknown:
        from millstream.errors import UsageError

        raise UsageError(f"{path!r}: there is no setting {min(unknown)!r}; there are {', '.join(sorted(_DEFAULTS))}")
    return HttpTrigger(path, rules_of(methods, **{**_DEFAULTS, **settings}), name=name)


_DEFAULTS: dict[str, Any] = {key: value for key, value in (post.__kwdefaults__ or {}).items() if key != "name"}
