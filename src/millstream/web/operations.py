"""What monitors and scalers ask a running application: metrics, queues, streams, listeners, health.

GET /metrics                    Prometheus text
GET /queues                     all queues, as JSON
GET /queues/GROUP               one; `queued_plus_leased` is what KEDA's metrics-api scaler reads
GET /queues/TOPIC/GROUP         the same where several topics have such a group
GET /streams                    all streams, as JSON; /streams/NAME or /streams/TOPIC/NAME: one
GET /listeners                  the sources of event logs, as JSON
GET /health                     200, or 503 and what is stuck: which record and worker, which step; what cannot be read
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Collection, Iterator, Sequence
from datetime import timedelta
from typing import Any, Final, NamedTuple

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from millstream.batch.info import BatchInfo, batch_groups, batch_infos
from millstream.durations import duration_us
from millstream.errors import ClosedError, GroupNotFoundError, MillstreamError, UsageError
from millstream.log.log import Log
from millstream.queue.health import STALL, Stall, Watchdog
from millstream.queue.stats import QueueStats, QueueWatch, find_queue
from millstream.serving.access import Access
from millstream.serving.answers import RequestError, json_response
from millstream.serving.guard import Guard
from millstream.serving.server import Server, listen
from millstream.settings import host_and_port
from millstream.sources.listener_info import ListenerInfo, ListenerProblem, listener_infos, problems_of
from millstream.sources.listener_signs import GROUP as LISTENERS_GROUP
from millstream.sources.listener_signs import this_process
from millstream.stream.health import StreamStall, StreamWatchdog
from millstream.stream.info import StreamInfo, StreamWatch
from millstream.web.listener_metrics import listener_metrics_text
from millstream.web.metrics import CONTENT_TYPE, metrics_text
from millstream.web.stream_metrics import stream_metrics_text

_log = logging.getLogger("millstream.web")

PORT: Final = 9464
"""What Prometheus exporters of OpenTelemetry use."""

FRESH_US: Final = 500_000
"""A look answers all requests of this time: however many scrapers there are, the log is looked at twice a second."""

LOOKS_MIN: Final = 8
"""The watchdog looks at least so often within the time that makes a stall, also when nobody asks."""

LOOK_S_MAX: Final = 15.0

STOP_S: Final = 5.0
"""For the last answers when the application stops."""


class _Look(NamedTuple):
    at_us: int
    queues: list[QueueStats]
    stalls: list[Stall]
    streams: list[StreamInfo]
    stream_stalls: list[StreamStall]
    late: list[BatchInfo]
    """Batches whose last success is older than it may be."""
    listeners: list[ListenerInfo]


class Operations:
    """Looks at the queues and streams of a log. Safe to use from many threads.

    Args:
        own: Topic and group of the queues whose stall makes this process unhealthy: those it works on. A stall of
            another program's queue is in the metrics, and no reason to restart this one.
        streams: The same of its streams: first topic and name.
        batches: Names of its batches.
        listeners: Topics that sources of this process are read into.
    """

    def __init__(
        self,
        log: Log,
        own: Collection[tuple[str, str]],
        *,
        streams: Collection[tuple[str, str]] = (),
        batches: Collection[str] = (),
        listeners: Collection[str] = (),
        stall: timedelta | str | float = STALL,
    ) -> None:
        self._log = log
        self._own_listeners = frozenset(listeners)
        self._own = frozenset(own)
        self._own_streams = frozenset(streams)
        self._own_batches = frozenset(batches)
        self._watch = QueueWatch(log)
        self._watchdog = Watchdog(log.clock, stall=stall)
        self._stream_watch = StreamWatch(log)
        self._stream_watchdog = StreamWatchdog(log.clock, stall=stall)
        self._look_s = min(LOOK_S_MAX, duration_us(stall) / 1e6 / LOOKS_MIN)
        self._lock = threading.Lock()
        self._last: _Look | None = None
        self._told: frozenset[str] = frozenset()

    def site(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/metrics", self._metrics),
                Route("/queues", self._queues),
                Route("/queues/{group}", self._queue),
                Route("/queues/{topic}/{group}", self._queue),
                Route("/streams", self._streams),
                Route("/streams/{name}", self._stream),
                Route("/streams/{topic}/{name}", self._stream),
                Route("/listeners", self._listeners),
                Route("/health", self._health),
            ],
            exception_handlers={RequestError: _refused, HTTPException: _no_route, MillstreamError: _unusable},
        )

    def watch(self, stop: threading.Event) -> None:
        """Look until `stop` is set, and log when an own queue or stream gets stuck, and when it moves again."""
        while not stop.wait(self._look_s):
            try:
                look = self.look()
            except ClosedError:
                return
            except MillstreamError as error:
                _log.warning("queues and streams cannot be looked at, trying again: %s", error)
                continue
            stuck = {f"queue {stall.topic}/{stall.group}": stall.message for stall in self.own_stalls(look.stalls)}
            stuck |= {f"stream {s.full_name}": s.message for s in self.own_stream_stalls(look.stream_stalls)}
            stuck |= {f"listener {p.topic}/{p.listener}": p.message for p in self.own_problems(look.listeners)}
            for name in stuck.keys() - self._told:
                _log.error("%s", stuck[name])
            for name in self._told - stuck.keys():
                _log.info("%s moves again", name)
            self._told = frozenset(stuck)

    def look(self) -> _Look:
        """Return queues, streams and those that do not move, as of half a second ago at most."""
        with self._lock:
            now_us = self._log.clock.monotonic_us()
            if self._last is None or now_us - self._last.at_us >= FRESH_US:
                streams = self._stream_watch.look()
                read = {(topic, stream.name) for stream in streams for topic in stream.topics} | batch_groups(self._log)
                queues = [
                    queue
                    for queue in self._watch.look()
                    if (queue.topic, queue.group) not in read and queue.group != LISTENERS_GROUP
                ]
                stalls, stream_stalls = self._watchdog.look(queues), self._stream_watchdog.look(streams)
                late = [one for one in batch_infos(self._log) if one.late]
                listeners = listener_infos(self._log)
                self._last = _Look(now_us, queues, stalls, streams, stream_stalls, late, listeners)
            return self._last

    def own_stalls(self, stalls: Sequence[Stall]) -> list[Stall]:
        return [stall for stall in stalls if (stall.topic, stall.group) in self._own]

    def own_stream_stalls(self, stalls: Sequence[StreamStall]) -> list[StreamStall]:
        return [stall for stall in stalls if (stall.topic, stall.stream) in self._own_streams]

    def own_problems(self, listeners: Sequence[ListenerInfo]) -> list[ListenerProblem]:
        return problems_of(listeners, this_process(), self._own_listeners)

    # --- requests; plain functions, which run in threads: they wait for the file ------------------------------------

    def _metrics(self, request: Request) -> Response:
        look = self.look()
        text = metrics_text(look.queues, {f"{stall.topic}/{stall.group}" for stall in look.stalls})
        text += stream_metrics_text(look.streams, {stall.full_name for stall in look.stream_stalls})
        text += listener_metrics_text(look.listeners)
        return Response(text, headers={"content-type": CONTENT_TYPE, "cache-control": "no-store"})

    def _queues(self, request: Request) -> Response:
        return json_response({"queues": [_object(queue) for queue in self.look().queues]})

    def _queue(self, request: Request) -> Response:
        topic, group = request.path_params.get("topic"), request.path_params["group"]
        try:
            name = find_queue(self._log, f"{topic}/{group}" if topic else group)
        except (GroupNotFoundError, UsageError) as error:
            raise RequestError(404, "no_such_queue", str(error), where="path") from error
        for queue in self.look().queues:
            if (queue.topic, queue.group) == name:
                return json_response(_object(queue))
        raise RequestError(404, "no_such_queue", f"there is no queue {group!r} any more", where="path")

    def _streams(self, request: Request) -> Response:
        return json_response({"streams": [stream.to_object() for stream in self.look().streams]})

    def _stream(self, request: Request) -> Response:
        topic, name = request.path_params.get("topic"), request.path_params["name"]
        wanted = [s for s in self.look().streams if s.name == name and topic in (None, s.topics[0])]
        if len(wanted) == 1:
            return json_response(wanted[0].to_object())
        problem = f"several topics have a stream {name!r}" if wanted else f"there is no stream {name!r}"
        raise RequestError(404, "no_such_stream", problem, where="path")

    def _listeners(self, request: Request) -> Response:
        return json_response({"listeners": [one.to_object() for one in self.look().listeners]})

    def _health(self, request: Request) -> Response:
        try:
            look = self.look()
        except MillstreamError as error:
            return json_response({"status": "failing", "problems": [{"message": str(error)}]}, 503)
        problems: list[Any] = [
            *self.own_stalls(look.stalls),
            *self.own_stream_stalls(look.stream_stalls),
            *self.own_problems(look.listeners),
        ]
        problems += [{"batch": one.name, "message": one.message} for one in look.late if one.name in self._own_batches]
        if problems:
            return json_response({"status": "failing", "problems": problems}, 503)
        return json_response({"status": "ok", "problems": []})


def _object(queue: QueueStats) -> dict[str, Any]:
    return {"queued_plus_leased": queue.unsettled, **queue.to_object()}


def address_of(text: str) -> tuple[str, int]:
    """Return host and port of `--metrics`: `127.0.0.1:9464`, `[::1]:9464`, `:9464`, `9464`; loopback without a host.

    Raises:
        SettingsError: None of these.
    """
    return host_and_port(text, "the address of the metrics", PORT)


class Serving(NamedTuple):
    """Where the operations of an application are."""

    url: str
    token: str | None
    """Made up where the address is not loopback and none was given."""


@contextlib.contextmanager
def serve_operations(
    log: Log,
    own: Collection[tuple[str, str]],
    *,
    host: str = "127.0.0.1",
    port: int = PORT,
    token: str | None = None,
    stall: timedelta | str | float = STALL,
    streams: Collection[tuple[str, str]] = (),
    batches: Collection[str] = (),
    listeners: Collection[str] = (),
) -> Iterator[Serving]:
    """Answer monitors in a background thread for a while.

    Args:
        port: 0 takes any free one.
        token: What others must know, as `Authorization: Bearer TOKEN`; needed beyond loopback.

    Raises:
        SettingsError: The address cannot be listened on, or the token is too short.
    """
    operations = Operations(log, own, streams=streams, batches=batches, listeners=listeners, stall=stall)
    access = Access.on(host, token)
    if access.token is not None:
        # Monitors ask by the names of services and pods, which this process cannot know. The Host header guards
        # against pages of other sites, and none of these has the token.
        access = access.by_any_name()
    stop = threading.Event()
    with contextlib.closing(listen(host, port)) as listener:
        taken: int = listener.getsockname()[1]
        server = Server(Guard(operations.site(), access=access, clock=log.clock, port=taken), stopping=lambda: None)
        threads = [
            threading.Thread(target=_serve, args=(server, listener), name="operations", daemon=True),
            threading.Thread(target=operations.watch, args=(stop,), name="watchdog", daemon=True),
        ]
        for thread in threads:
            thread.start()
        try:
            shown = f"[{host}]" if ":" in host else host
            yield Serving(f"http://{shown}:{taken}", access.token)
        finally:
            stop.set()
            server.stop()
            for thread in threads:
                thread.join(STOP_S)


def _serve(server: Server, listener: socket.socket) -> None:
    server.run(sockets=[listener])


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return error.response()


async def _no_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "refused")
    return RequestError(
        error.status_code,
        code,
        f"{request.method} {request.url.path}: there is /metrics, /queues, /streams, /listeners, /health",
        where="path",
    ).response()


async def _unusable(request: Request, error: Exception) -> Response:
    assert isinstance(error, MillstreamError)
    return RequestError.of(error).response()
