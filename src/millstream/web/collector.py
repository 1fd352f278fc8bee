"""Clicks in: durable before they are answered, each once, those of a page load in order.

*Once*: a browser that got no answer sends again. A bounded table of recent clicks, filled from the log at the start,
knows them, so a repeated click gets the offset and the answer of the first time.

*In order*: two beacons travel on two connections and may overtake each other. A click that is ahead of its page load's
numbers waits a moment for those before it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from millstream.clock import Clock
from millstream.errors import MillstreamError
from millstream.log.topic import Topic
from millstream.serving.answers import RequestError, json_response
from millstream.web.clicks import Click, Receipt, SentClick, SentClicks

RECENT_CLICKS_MAX: Final = 50_000
"""Clicks known by number. Browsers send again within minutes; these are a thousand a minute for most of an hour."""

SEEDED_CLICKS_MAX: Final = 10_000
"""Clicks read from the end of the log at the start, so that a restart between two tries does not double a click."""

OVERTAKEN_SECONDS_MAX: Final = 0.3
"""How long a click waits for one that it overtook. Longer than a request takes, too short to be felt."""

MEDIA_TYPES: Final = ("application/json", "text/plain")
"""`text/plain` is what `sendBeacon` calls a string; it needs no preflight."""

Answer = Callable[[Click, int], Awaitable[object]]
"""Given a click and its offset, returns what the page needs (something that is JSON)."""


class _Known(msgspec.Struct):
    """A click that is in the log, or on its way into it."""

    offset: asyncio.Future[int] | int
    answer: asyncio.Future[object] | None = None

    def arrived(self, offset: int) -> None:
        if isinstance(self.offset, asyncio.Future):
            self.offset.set_result(offset)
        self.offset = offset

    def failed(self, error: BaseException) -> None:
        if not isinstance(self.offset, asyncio.Future):
            return
        if isinstance(error, MillstreamError):
            self.offset.set_exception(error)
            self.offset.exception()  # marks it as seen: often nobody else waits for it
        else:
            self.offset.cancel()


class _PageLoad(msgspec.Struct):
    """The highest number that arrived, and who waits for a higher one."""

    seq: int = 0
    waiting: list[asyncio.Future[None]] = []
    requests: int = 0

    def arrived(self, seq: int) -> None:
        self.seq = max(self.seq, seq)
        waiting, self.waiting = self.waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)


class Collector:
    """`POST /collect`. Lives in the event loop; one collector a topic and process."""

    def __init__(
        self,
        topic: Topic[Click],
        *,
        clock: Clock,
        answers: Mapping[str, Answer] | None = None,
        recent_max: int = RECENT_CLICKS_MAX,
        overtaken_seconds_max: float = OVERTAKEN_SECONDS_MAX,
    ) -> None:
        """Read the end of the log (blocking), then be ready.

        Args:
            answers: What to do for a click of some `element`, once, after it is durable; its result goes to the page.
        """
        self.topic = topic
        self._clock = clock
        self._answers = dict(answers or {})
        self._recent_max = recent_max
        self._overtaken_seconds_max = overtaken_seconds_max
        self._recent: OrderedDict[tuple[str, int], _Known] = OrderedDict()
        self._loads: OrderedDict[str, _PageLoad] = OrderedDict()
        self._decoder = msgspec.json.Decoder(SentClicks)
        self._seed()

    async def __call__(self, request: Request) -> Response:
        media_type = request.headers.get("content-type", "text/plain").partition(";")[0].strip().lower()
        if media_type not in MEDIA_TYPES:
            raise RequestError(
                415, "wrong_media_type", f"send {' or '.join(MEDIA_TYPES)}, not {media_type}", where="Content-Type"
            )
        sent = self._decode(await request.body())
        try:
            return json_response(await self.collect(sent))
        except MillstreamError as error:
            raise RequestError.of(error) from error

    async def collect(self, sent: SentClicks) -> Receipt:
        """Append what is new, then answer for all of it.

        Raises:
            MillstreamError: Nothing of the request was appended; it can be sent again as it is.
        """
        clicks = sorted({click.seq: click for click in sent.clicks}.values(), key=lambda click: click.seq)
        load = self._load(sent.load)
        load.requests += 1
        try:
            if clicks:
                await self._wait_for_earlier(load, clicks[0].seq)
            new = [click for click in clicks if (sent.load, click.seq) not in self._recent]
            for click in new:
                self._recent[sent.load, click.seq] = _Known(asyncio.get_running_loop().create_future())
            known = {click.seq: self._recent[sent.load, click.seq] for click in clicks}
            if new:
                await self._append(sent.load, new)
                load.arrived(new[-1].seq)
        finally:
            load.requests -= 1
        offsets = {str(seq): await _offset(entry) for seq, entry in known.items()}
        # shield: two requests may wait for one answer, and neither may stop it for the other.
        answers = {str(seq): await asyncio.shield(entry.answer) for seq, entry in known.items() if entry.answer}
        missing = [seq for seq in sent.ask if (sent.load, seq) not in self._recent]
        return Receipt(len(new), offsets, missing, answers)

    def _decode(self, body: bytes) -> SentClicks:
        try:
            return self._decoder.decode(body)
        except msgspec.ValidationError as error:
            message, _, where = str(error).partition(" - at ")
            raise RequestError(400, "bad_click", message, where=where.strip("`") or "body") from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise RequestError(400, "bad_json", f"the body is not JSON: {error}", where="body") from error

    async def _wait_for_earlier(self, load: _PageLoad, seq: int) -> None:
        """Return when every lower number arrived, or the time for that is over."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._overtaken_seconds_max
        while load.seq + 1 < seq and loop.time() < until:
            arrival = loop.create_future()
            load.waiting.append(arrival)
            await asyncio.wait((arrival,), timeout=until - loop.time())

    async def _append(self, name: str, new: Sequence[SentClick]) -> None:
        values = [click.arrived(name, self._clock.now_us()) for click in new]
        try:
            ranges = await self.topic.extend_async(values)
        except BaseException as error:
            self._forget(name, new, error)
            raise
        offsets = (offset for span in ranges for offset in range(span.start, span.end))
        for value, offset in zip(values, offsets, strict=True):
            entry = self._recent[name, value.seq]
            entry.arrived(offset)
            if answer := self._answers.get(value.element):
                entry.answer = asyncio.ensure_future(_settled(answer, value, offset))
        self._trim()

    def _forget(self, name: str, clicks: Sequence[SentClick], error: BaseException) -> None:
        """The append failed: whoever waits for it fails too, and the next try appends."""
        for click in clicks:
            self._recent.pop((name, click.seq)).failed(error)

    def _load(self, name: str) -> _PageLoad:
        load = self._loads.get(name)
        if load is None:
            load = self._loads[name] = _PageLoad()
        self._loads.move_to_end(name)
        return load

    def _trim(self) -> None:
        while len(self._recent) > self._recent_max:
            _, oldest = next(iter(self._recent.items()))
            if isinstance(oldest.offset, asyncio.Future):
                break  # still on its way, and so is all after it
            self._recent.popitem(last=False)
        while len(self._loads) > self._recent_max and not next(iter(self._loads.values())).requests:
            self._loads.popitem(last=False)

    def _seed(self) -> None:
        for partition, end in self.topic.end_offsets().items():
            offset = max(end - SEEDED_CLICKS_MAX, _start(self.topic, partition))
            while offset < end:
                records = self.topic.read(offset, partition=partition, records_max=1000)
                if not records:
                    break
                for record in records:
                    self._recent[record.value.load, record.value.seq] = _Known(record.offset)
                    self._load(record.value.load).arrived(record.value.seq)
                offset = records[-1].offset + 1
        self._trim()


async def _settled(answer: Answer, click: Click, offset: int) -> object:
    """Return the answer; where it fails, say so in it: the click itself is in the log and must not be sent again."""
    try:
        return await answer(click, offset)
    except MillstreamError as error:
        refused = RequestError.of(error)
        return {"error": {"code": refused.code, "message": refused.message, "where": click.element}}


async def _offset(entry: _Known) -> int:
    return entry.offset if isinstance(entry.offset, int) else await asyncio.shield(entry.offset)


def _start(topic: Topic[Click], partition: int) -> int:
    return next(info.start_offset for info in topic.info().partitions if info.partition == partition)
