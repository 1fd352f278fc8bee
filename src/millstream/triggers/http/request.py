"""A request as the log keeps it, and what a handler may answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, TypeVar, overload
from urllib.parse import parse_qsl

import msgspec

T = TypeVar("T")

SECRET_HEADERS: Final = frozenset({"authorization", "cookie", "proxy-authorization"})
"""Not kept: whoever reads the log must not be able to act as the sender."""

STATUS_MIN, STATUS_MAX = 200, 599


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A request, as it is in the log: `authorization` and `cookie` headers and a `token` in the query are left out."""

    id: str
    """The idempotency key, or made up."""
    method: str
    path: str
    params: dict[str, str] = {}
    """What stands for the parts of the path in braces: `/orders/{id}`."""
    query: str = ""
    """As in the address, without `?`."""
    headers: dict[str, str] = {}
    """Names in lower case; of several with one name, the values joined by `, `."""
    body: bytes = b""
    time: datetime
    """When it came."""
    client: str = ""
    """Its address, as this machine saw it."""

    def text(self) -> str:
        """Return the body as text, by its charset, else UTF-8."""
        charset = _parameter(self.headers.get("content-type", ""), "charset") or "utf-8"
        try:
            return self.body.decode(charset, "replace")
        except LookupError:
            return self.body.decode("utf-8", "replace")

    @overload
    def json(self) -> Any: ...

    @overload
    def json(self, type: type[T]) -> T: ...

    def json(self, type: Any = Any) -> Any:
        """Return the body as JSON, or as a value of a type.

        Raises:
            msgspec.DecodeError: It is no JSON; a msgspec.ValidationError where it does not fit the type.
        """
        return msgspec.json.decode(self.body, type=type)

    def form(self) -> dict[str, str]:
        """Return the fields of a form sent as `application/x-www-form-urlencoded`; of several of a name the last."""
        return dict(parse_qsl(self.text(), keep_blank_values=True))

    def arguments(self) -> dict[str, str]:
        """Return the query's fields; of several of a name the last."""
        return dict(parse_qsl(self.query, keep_blank_values=True))


class Response(msgspec.Struct, frozen=True):
    """What a handler may return where a plain value does not say enough.

    Plain values: None is 204, text and bytes are 200 as `text/plain` and `application/octet-stream`, anything else is
    200 and JSON.
    """

    body: Any = b""
    status: int = 200
    headers: Mapping[str, str] = {}


class Reply(msgspec.Struct, frozen=True):
    """An answer as it goes out, and as it is kept for a repeated request."""

    status: int
    headers: dict[str, str]
    body: bytes
    digest: bytes = b""
    """Of the body of the request that it answers."""


def reply_of(value: Any) -> Reply:
    """Return what a handler's value means.

    Raises:
        TypeError: It is no data.
        ValueError: The status is none.
    """
    if not isinstance(value, Response):
        return _plain(value, 204 if value is None else 200, {})
    if not STATUS_MIN <= value.status <= STATUS_MAX:
        raise ValueError(f"the status of a response is {value.status}; give {STATUS_MIN} to {STATUS_MAX}")
    headers = {name.lower(): text for name, text in value.headers.items()}
    if any("\n" in part or "\r" in part for pair in headers.items() for part in pair):
        raise ValueError("a header of the response has a line break in it")
    return _plain(value.body, value.status, headers)


def json_reply(status: int, value: object, headers: Mapping[str, str] | None = None) -> Reply:
    """Return an answer of our own, which caches do not keep."""
    return _plain(value, status, {"cache-control": "no-store", **(headers or {})})


def _plain(value: Any, status: int, headers: dict[str, str]) -> Reply:
    match value:
        case None:
            return Reply(status, headers, b"")
        case bytes() | bytearray() | memoryview():
            return Reply(status, {"content-type": "application/octet-stream", **headers}, bytes(value))
        case str():
            return Reply(status, {"content-type": "text/plain; charset=utf-8", **headers}, value.encode())
        case _:
            return Reply(status, {"content-type": "application/json", **headers}, _json(value))


def _json(value: Any) -> bytes:
    try:
        return msgspec.json.encode(value)
    except TypeError:
        return json.dumps(value).encode()  # subclasses of dict and list that msgspec does not know


def _parameter(header: str, name: str) -> str:
    for part in header.split(";")[1:]:
        key, _, value = part.strip().partition("=")
        if key.lower() == name:
            return value.strip('"')
    return ""
