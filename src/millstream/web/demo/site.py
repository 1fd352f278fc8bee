"""The addresses of the demo site, and the followers behind them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.resources import files
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from millstream.clock import Clock
from millstream.errors import OffsetOutOfRangeError
from millstream.queue import QueueEvent
from millstream.serving.answers import RequestError
from millstream.sources.system import SystemFollower
from millstream.web.collector import Collector
from millstream.web.demo.board import CLICKS_SHOWN, JOBS_SHOWN, LINES_SHOWN, WINDOWS_MAX, Board
from millstream.web.demo.feeds import Feeds
from millstream.web.demo.work import DemoWork
from millstream.web.files import StaticFiles

_log = logging.getLogger("millstream.web")

JOB_RECORDS: Final = 2 * JOBS_SHOWN
"""Pieces and dead letters looked at from the start: enough for the jobs shown, also where some were drawn twice."""

PIECE_OFFSET_MAX: Final = 2**53


class DemoSite:
    """Everything between the guard and the log. Made before the server starts; reads the log while it is made."""

    def __init__(self, work: DemoWork, system: SystemFollower, board: Board, *, clock: Clock) -> None:
        self._work = work
        self._system = system
        self._board = board
        self._files = StaticFiles((files("millstream.web") / "static", files("millstream.web.demo") / "pages"))
        self._collector = Collector(
            work.clicks, clock=clock, answers={"ten-jobs": work.put_jobs, "report": work.make_report}
        )
        self._feeds = Feeds()
        self._feeds.add(work.clicks, board.take_clicks, last=CLICKS_SHOWN)
        self._feeds.add(work.counts, board.take_counts, last=WINDOWS_MAX)
        self._feeds.add(work.jobs, board.take_jobs, last=JOBS_SHOWN)
        self._feeds.add(work.pieces, board.take_pieces, last=JOB_RECORDS)
        self._feeds.add(work.dead, board.take_dead, last=JOB_RECORDS)
        self._feeds.add(work.reports, board.take_reports, last=1)
        self._feeds.add(system.topic, board.take_lines, last=LINES_SHOWN)

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/", self._page("index.html")),
                Route("/about", self._page("about.html")),
                Route("/static/{name}", self._static),
                Route("/collect", self._collector.__call__, methods=["POST"]),
                Route("/events", self._board.live),
                Route("/pieces/{offset:int}", self._piece),
            ],
            lifespan=self._lifespan,
            exception_handlers={RequestError: _refused, HTTPException: _no_route, Exception: _failed},
        )

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        loop, board = asyncio.get_running_loop(), self._board

        def observe(event: QueueEvent) -> None:
            loop.call_soon_threadsafe(board.take_event, event)

        cancel = self._work.draw.observe(observe)
        self._feeds.start()
        try:
            async with board.status_kept():
                yield
                # The loop ends soon: from here on nothing may be handed to it.
                cancel()
                await self._feeds.stop()
        finally:
            cancel()

    def _page(self, name: str) -> Callable[[Request], Awaitable[Response]]:
        async def page(request: Request) -> Response:
            return self._files.answer(name, request)

        return page

    async def _static(self, request: Request) -> Response:
        return self._files.answer(request.path_params["name"], request)

    async def _piece(self, request: Request) -> Response:
        """Answer with the picture that a job drew: the record at an offset of `pieces`. It never changes."""
        offset = request.path_params["offset"]
        piece = await asyncio.to_thread(self._read_piece, offset)
        if piece is None:
            raise RequestError(404, "not_found", f"there is no piece {offset}", where="path")
        return Response(piece, headers={"cache-control": "private, max-age=86400, immutable"}, media_type="image/png")

    def _read_piece(self, offset: int) -> bytes | None:
        if offset > PIECE_OFFSET_MAX:
            return None
        try:
            records = self._work.pieces.read(offset, records_max=1)
        except OffsetOutOfRangeError:
            return None
        return records[0].value if records and records[0].offset == offset else None


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return error.response()


async def _no_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    codes = {404: "not_found", 405: "wrong_method"}
    code, headers = codes.get(error.status_code, "refused"), error.headers
    return RequestError(error.status_code, code, error.detail, where="path", headers=headers).response()


async def _failed(request: Request, error: Exception) -> Response:
    _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return RequestError(500, "failed", "this is a mistake of the server; it was logged").response()
