"""Live events: a snapshot, then every change; slow pages are cut off; a stop says goodbye."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import msgspec
import pytest
from starlette.types import Message

from millstream.serving.answers import RequestError
from millstream.web.live import Live, encode_event


class Browser:
    """An open page, seen from the server: takes what is sent, as fast as it is allowed to."""

    def __init__(self, live: Live) -> None:
        self.sent: list[Message] = []
        self.reads = asyncio.Event()
        self.reads.set()
        self.left = asyncio.Event()
        self._arrived = asyncio.Condition()
        self.task = asyncio.ensure_future(live({"type": "http"}, self._receive, self._send))

    async def _receive(self) -> Message:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        await self.reads.wait()
        async with self._arrived:
            self.sent.append(message)
            self._arrived.notify_all()

    def events(self) -> list[tuple[str, Any]]:
        text = b"".join(message.get("body", b"") for message in self.sent).decode()
        blocks = [block for block in text.split("\n\n") if "event: " in block]
        return [
            (
                block.partition("event: ")[2].partition("\n")[0],
                msgspec.json.decode(block.partition("data: ")[2]),
            )
            for block in blocks
        ]

    async def until(self, count: int) -> list[tuple[str, Any]]:
        async with self._arrived:
            await asyncio.wait_for(self._arrived.wait_for(lambda: len(self.events()) >= count), 60)
        return self.events()


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 100))


def test_a_page_gets_a_snapshot_then_every_change_once_and_in_order() -> None:
    async def test() -> None:
        numbers: list[int] = []
        live = Live(lambda: list(numbers))

        def happen(number: int) -> None:
            numbers.append(number)
            live.publish("number", number)

        early = Browser(live)
        await early.until(1)
        for number in range(50):
            happen(number)
        late = Browser(live)
        await late.until(1)
        for number in range(50, 100):
            happen(number)
        for page in (early, late):
            ((_, snapshot), *changes) = await page.until(1 + 100 - len(page.events()[0][1]))
            assert [*snapshot, *(value for _, value in changes)] == list(range(100))
        assert len(late.events()[0][1]) == 50
        live.close()
        await asyncio.gather(early.task, late.task)

    run(test())


def test_a_page_that_leaves_is_forgotten() -> None:
    async def test() -> None:
        live = Live(list)
        page = Browser(live)
        await page.until(1)
        assert len(live) == 1
        page.left.set()
        await page.task
        assert len(live) == 0

    run(test())


def test_a_slow_page_is_cut_off_with_a_word_and_does_not_hold_up_the_others() -> None:
    async def test() -> None:
        live = Live(list, events_max=10)
        slow, quick = Browser(live), Browser(live)
        await slow.until(1)
        await quick.until(1)
        slow.reads.clear()
        for number in range(30):
            live.publish("number", number)
            await quick.until(2 + number)
        assert live.slow_pages == 1
        assert len(live) == 1
        slow.reads.set()
        await slow.task
        assert slow.events()[-1] == ("cut", {"message": "this page read too slowly and begins anew"})
        assert slow.sent[-1]["more_body"] is False
        assert len(slow.events()) <= 2 + 10
        live.close()
        await quick.task

    run(test())


def test_a_page_that_takes_nothing_does_not_stay_for_ever() -> None:
    async def test() -> None:
        live = Live(list, send_seconds_max=0.05)
        page = Browser(live)
        page.reads.clear()
        page.task.cancel()
        await asyncio.gather(page.task, return_exceptions=True)
        stuck = Browser(live)
        await stuck.until(1)
        stuck.reads.clear()
        live.publish("number", 1)
        await stuck.task
        assert len(live) == 0

    run(test())


def test_a_stop_says_goodbye_and_lets_nobody_in() -> None:
    async def test() -> None:
        live = Live(list)
        page = Browser(live)
        await page.until(1)
        live.close()
        await page.task
        assert [name for name, _ in page.events()] == ["snapshot", "bye"]
        with pytest.raises(RequestError, match="stopping"):
            await Browser(live).task

    run(test())


def test_there_is_a_limit_of_open_pages() -> None:
    async def test() -> None:
        live = Live(list, pages_max=2)
        pages = [Browser(live), Browser(live)]
        for page in pages:
            await page.until(1)
        with pytest.raises(RequestError, match="2 pages are open"):
            await Browser(live).task
        live.close()
        await asyncio.gather(*(page.task for page in pages))

    run(test())


def test_a_value_never_breaks_the_line_protocol() -> None:
    event = encode_event("text", "one\ntwo\r\n\nevent: forged")
    assert event.count(b"\n") == 3
    assert event.endswith(b"\n\n")
