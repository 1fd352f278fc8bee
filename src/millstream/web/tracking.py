"""Clicks of one's own pages: the tracker and its collector as one ASGI application, to mount or to serve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from millstream.errors import SettingsError
from millstream.log.topic import Topic
from millstream.serving.access import Access, host_name
from millstream.serving.answers import RequestError
from millstream.serving.guard import Guard
from millstream.web.clicks import Click
from millstream.web.collector import Answer, Collector
from millstream.web.files import StaticFiles

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
"""Answered to as well, so that a site works while it is written."""


class Tracking:
    """`GET /tracker.js` and `POST /collect`, for anybody who looks at the pages of the sites named.

    Pages of other sites are refused, and so are large, slow and too many requests; see `Guard`. Nobody needs a token.
    """

    def __init__(
        self, topic: Topic[Click], *, sites: Sequence[str], answers: Mapping[str, Answer] | None = None
    ) -> None:
        """Read the end of the topic (blocking), then be ready.

        Args:
            sites: Host names of the pages, such as "shop.example.com"; without scheme and port.
            answers: By `element`: what to do for a click once it is in the log, given the click and its offset; what it
                returns goes to the page.

        Raises:
            SettingsError: A name is an address or has a port.
        """
        clock = topic.log.clock
        self._collector = Collector(topic, clock=clock, answers=answers)
        self._files = StaticFiles((files("millstream.web") / "static",))
        application = Starlette(
            routes=[
                Route("/tracker.js", self._tracker),
                Route("/collect", self._collector.__call__, methods=["POST"]),
            ],
            exception_handlers={RequestError: _refused, HTTPException: _no_route},
        )
        access = Access(LOOPBACK_NAMES.union(map(_name, sites)))
        self._guarded = Guard(application, access=access, clock=clock, port=0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._guarded(scope, receive, send)

    async def _tracker(self, request: Request) -> Response:
        return self._files.answer("tracker.js", request)


def _name(site: str) -> str:
    """Return the name of a site as a Host header has it."""
    name = host_name(site)
    if name is None or "/" in name or name != site.lower().rstrip("."):
        raise SettingsError(f"sites={site!r}: give the host name alone, such as shop.example.com")
    return name


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return error.response()


async def _no_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = "wrong_method" if error.status_code == 405 else "not_found"
    message = "there are GET /tracker.js and POST /collect"
    return RequestError(error.status_code, code, message, where="path", headers=error.headers).response()
