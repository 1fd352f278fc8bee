"""What an OTLP/HTTP receiver answers: in the encoding that it was asked in.

Source: opentelemetry.io/docs/specs/otlp ("OTLP/HTTP Response"); google/rpc/status.proto, google/rpc/code.proto.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from starlette.responses import Response

from millstream.sources.otlp_batch import JSON, PROTOBUF

INVALID_ARGUMENT: Final = 3
NOT_FOUND: Final = 5
RESOURCE_EXHAUSTED: Final = 8
UNIMPLEMENTED: Final = 12
UNAVAILABLE: Final = 14
UNAUTHENTICATED: Final = 16
PERMISSION_DENIED: Final = 7


class RefusedError(Exception):
    """A request that is refused; `code` is one of google.rpc."""

    def __init__(self, status: int, code: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})

    @classmethod
    def later(cls, status: int, message: str, seconds: int = 1) -> RefusedError:
        """Return one that ends by itself; 429 and 503 are tried again by every sender."""
        code = RESOURCE_EXHAUSTED if status == 429 else UNAVAILABLE
        return cls(status, code, message, {"retry-after": str(seconds)})

    def response(self, content_type: str) -> Response:
        if content_type == PROTOBUF:
            body = _number(1, self.code) + _text(2, self.message)
        else:
            body = msgspec.json.encode({"code": self.code, "message": self.message})
        return Response(body, self.status, self.headers, content_type)


def success(content_type: str, rejected: int = 0, message: str = "") -> Response:
    """Return the answer to a request whose records are stored, but for so many."""
    if content_type == PROTOBUF:
        partial = _number(1, rejected) + _text(2, message)
        body = _field(1, partial) if rejected else b""
    else:
        told = {"partialSuccess": {"rejectedLogRecords": str(rejected), "errorMessage": message}}
        body = msgspec.json.encode(told if rejected else {})
    return Response(body, 200, media_type=content_type if content_type == PROTOBUF else JSON)


# The two messages have two fields each: their bytes need no package.


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _text(field: int, value: str) -> bytes:
    return _field(field, value.encode())


def _field(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value
