"""How the web layer answers: JSON, and one envelope for every error.

    {"error": {"code": "too_large", "message": "the body is larger than 65,536 bytes", "where": "body"}}

`code` is for programs and never changes its meaning, `message` is for people, `where` names the part of the request.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from starlette.responses import Response

from millstream.errors import ClosedError, LimitExceededError, MillstreamError, StorageFullError, UsageError


class RequestError(Exception):
    """A request that is refused; becomes one error envelope."""

    def __init__(
        self, status: int, code: str, message: str, *, where: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.where = where
        self.headers = dict(headers or {})

    @classmethod
    def of(cls, error: MillstreamError) -> RequestError:
        """Return what a client is told about an error of the log."""
        match error:
            case LimitExceededError():
                return cls(413, "too_large", str(error), where="body")
            case UsageError():
                return cls(400, "refused", str(error), where="body")
            case StorageFullError():
                return cls(507, "storage_full", str(error), where="log", headers={"retry-after": "30"})
            case ClosedError():
                return cls(503, "stopping", "the server is stopping; try again", headers={"retry-after": "2"})
            case _ if error.retryable:
                return cls(503, "try_again", str(error), where="log", headers={"retry-after": "2"})
            case _:
                return cls(500, "storage", str(error), where="log")

    def response(self) -> Response:
        body = {"error": {"code": self.code, "message": self.message, "where": self.where}}
        return json_response(body, self.status, self.headers)


def json_response(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Answer a value as JSON; never stored by caches on the way."""
    return Response(
        msgspec.json.encode(value), status, {"cache-control": "no-store", **(headers or {})}, "application/json"
    )
