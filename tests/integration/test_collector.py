"""Clicks in: once, in order, durable before they are answered, and every refusal in one shape."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from millstream import App
from millstream.errors import StorageFullError
from millstream.serving.access import Access
from millstream.serving.answers import RequestError
from millstream.serving.guard import Guard
from millstream.testing import FakeClock
from millstream.web.clicks import Click, SentClick, SentClicks
from millstream.web.collector import Collector

LOAD = "0123456789abcdef"
OTHER = "fedcba9876543210"


def clicks(*numbers: int, load: str = LOAD, ask: list[int] | None = None) -> SentClicks:
    return SentClicks(load, [SentClick(number, "/page", "button", f"click {number}") for number in numbers], ask or [])


def seen(app: App) -> list[tuple[str, int]]:
    records = app.topic("clicks", Click, key="load").read(0)
    return [(record.value.load, record.value.seq) for record in records]


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 100))


@pytest.fixture
def app(tmp_path: Path) -> Any:
    with App(str(tmp_path / "log.db")) as app:
        yield app


def collector_of(app: App, **settings: Any) -> Collector:
    settings.setdefault("clock", FakeClock())
    return Collector(app.topic("clicks", Click, key="load"), **settings)


# --- once -----------------------------------------------------------------------------------------------------------


def test_a_click_is_in_the_log_when_it_is_answered(app: App) -> None:
    async def test() -> None:
        receipt = await collector_of(app).collect(clicks(1, 2))
        assert (receipt.accepted, receipt.offsets) == (2, {"1": 0, "2": 1})
        assert seen(app) == [(LOAD, 1), (LOAD, 2)]

    run(test())


def test_a_click_sent_again_is_answered_the_same_and_stored_once(app: App) -> None:
    async def test() -> None:
        collector = collector_of(app)
        first = await collector.collect(clicks(1))
        again = await collector.collect(clicks(1))
        assert (first.accepted, again.accepted) == (1, 0)
        assert again.offsets == first.offsets
        both = await collector.collect(clicks(1, 2))
        assert (both.accepted, both.offsets) == (1, {"1": 0, "2": 1})
        assert seen(app) == [(LOAD, 1), (LOAD, 2)]

    run(test())


def test_the_same_click_many_times_at_the_same_moment_is_stored_once(app: App) -> None:
    async def test() -> None:
        collector = collector_of(app)
        receipts = await asyncio.gather(*(collector.collect(clicks(1)) for _ in range(20)))
        assert sum(receipt.accepted for receipt in receipts) == 1
        assert all(receipt.offsets == {"1": 0} for receipt in receipts)
        assert seen(app) == [(LOAD, 1)]

    run(test())


def test_a_click_sent_again_after_a_restart_is_stored_once(app: App) -> None:
    async def test() -> None:
        await collector_of(app).collect(clicks(1, 2, 3))
        again = await collector_of(app).collect(clicks(2, 3, 4))
        assert (again.accepted, again.offsets) == (1, {"2": 1, "3": 2, "4": 3})
        assert [number for _, number in seen(app)] == [1, 2, 3, 4]

    run(test())


def test_numbers_of_other_page_loads_are_other_clicks(app: App) -> None:
    async def test() -> None:
        collector = collector_of(app)
        await collector.collect(clicks(1))
        receipt = await collector.collect(clicks(1, load=OTHER))
        assert receipt.accepted == 1

    run(test())


def test_the_collector_says_which_clicks_it_never_got(app: App) -> None:
    async def test() -> None:
        collector = collector_of(app, overtaken_seconds_max=0.01)
        await collector.collect(clicks(1, 3))
        receipt = await collector.collect(clicks(ask=[1, 2, 3, 4]))
        assert (receipt.accepted, receipt.missing) == (0, [2, 4])

    run(test())


def test_the_table_of_recent_clicks_is_bounded(app: App) -> None:
    async def test() -> None:
        collector = collector_of(app, recent_max=10)
        for number in range(1, 31):
            await collector.collect(clicks(number))
        receipt = await collector.collect(clicks(ask=list(range(1, 31))))
        assert receipt.missing == list(range(1, 21))

    run(test())


# --- in order -------------------------------------------------------------------------------------------------------


def test_a_click_that_overtook_another_waits_for_it(app: App) -> None:
    async def test() -> None:
        collector = collector_of(app, overtaken_seconds_max=10)
        requests = [asyncio.ensure_future(collector.collect(clicks(number))) for number in (5, 3, 2, 4)]
        await asyncio.sleep(0)
        assert seen(app) == []
        await collector.collect(clicks(1))
        await asyncio.gather(*requests)
        assert [number for _, number in seen(app)] == [1, 2, 3, 4, 5]

    run(test())


def test_a_click_does_not_wait_long_for_one_that_never_comes(app: App) -> None:
    async def test() -> None:
        collector = collector_of(app, overtaken_seconds_max=0.05)
        assert (await collector.collect(clicks(2))).accepted == 1
        assert (await collector.collect(clicks(1))).accepted == 1  # late, but not lost
        assert [number for _, number in seen(app)] == [2, 1]

    run(test())


def test_the_clicks_of_one_request_are_stored_in_the_order_of_their_numbers(app: App) -> None:
    async def test() -> None:
        await collector_of(app, overtaken_seconds_max=0).collect(clicks(3, 1, 2, 3))
        assert [number for _, number in seen(app)] == [1, 2, 3]

    run(test())


# --- time and answers -----------------------------------------------------------------------------------------------


def test_the_time_of_a_click_is_its_arrival_minus_its_age_at_most_a_day(app: App) -> None:
    async def test() -> None:
        clock = FakeClock()
        collector = collector_of(app, clock=clock)
        ages_ms = (0, 1500, 400 * 86_400_000)
        sent = SentClicks(LOAD, [SentClick(n, "/", age_ms=age) for n, age in enumerate(ages_ms, 1)])
        await collector.collect(sent)
        times = [record.value.time for record in app.topic("clicks", Click, key="load").read(0)]
        assert times[0] - times[1] == timedelta(milliseconds=1500)
        assert times[0] - times[2] == timedelta(days=1)

    run(test())


def test_a_button_is_answered_with_what_the_page_needs_and_its_work_is_done_once(app: App) -> None:
    async def test() -> None:
        asked: list[int] = []

        async def answer(click: Click, offset: int) -> object:
            await asyncio.sleep(0)
            asked.append(click.seq)
            return {"number": offset + 100}

        collector = collector_of(app, answers={"button": answer})
        receipts = await asyncio.gather(*(collector.collect(clicks(1)) for _ in range(5)))
        assert asked == [1]
        assert all(receipt.answers == {"1": {"number": 100}} for receipt in receipts)
        assert (await collector.collect(clicks(1, 2))).answers == {"1": {"number": 100}, "2": {"number": 101}}

    run(test())


def test_an_answer_that_fails_does_not_take_the_click_back(app: App) -> None:
    async def test() -> None:
        async def answer(click: Click, offset: int) -> object:
            raise StorageFullError("no room for jobs")

        receipt = await collector_of(app, answers={"button": answer}).collect(clicks(1))
        assert receipt.accepted == 1
        error = {"code": "storage_full", "message": "no room for jobs", "where": "button"}
        assert receipt.answers == {"1": {"error": error}}

    run(test())


# --- over HTTP ------------------------------------------------------------------------------------------------------


async def refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return error.response()


def site(collector: Collector) -> Guard:
    app = Starlette(
        routes=[Route("/collect", collector.__call__, methods=["POST"])], exception_handlers={RequestError: refused}
    )
    return Guard(app, access=Access.on("127.0.0.1"), clock=FakeClock(), port=80)


async def post(
    guard: Guard, content: bytes | str, media_type: str | None = "text/plain;charset=UTF-8"
) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(guard), base_url="http://127.0.0.1") as http:
        headers = {"content-type": media_type} if media_type else {}
        return await http.post("/collect", content=content, headers=headers)


@pytest.mark.parametrize("media_type", ["text/plain;charset=UTF-8", "application/json", "Application/JSON", None])
def test_beacons_and_fetches_are_both_understood(app: App, media_type: str | None) -> None:
    async def test() -> None:
        body = msgspec.json.encode(clicks(1))
        response = await post(site(collector_of(app)), body, media_type)
        assert response.status_code == 200
        assert response.json() == {"accepted": 1, "offsets": {"1": 0}, "missing": [], "answers": {}}

    run(test())


@pytest.mark.parametrize(
    ("body", "code", "where"),
    [
        ("", "bad_json", "body"),
        ("{", "bad_json", "body"),
        (b"\xff\xfe", "bad_json", "body"),
        (b'{"load": "\xff"}', "bad_json", "body"),
        ("[" * 50_000, "bad_click", "body"),
        ("[]", "bad_click", "body"),
        ("{}", "bad_click", "body"),
        ('{"load": "x", "clicks": []}', "bad_click", "$.load"),
        (f'{{"load": "{LOAD}", "clicks": [{{"seq": 0, "page": "/"}}]}}', "bad_click", "$.clicks[0].seq"),
        (f'{{"load": "{LOAD}", "clicks": [{{"seq": 1, "page": ""}}]}}', "bad_click", "$.clicks[0].page"),
        (f'{{"load": "{LOAD}", "clicks": [{{"seq": 1, "page": 7}}]}}', "bad_click", "$.clicks[0].page"),
        (
            f'{{"load": "{LOAD}", "clicks": [{{"seq": 1, "page": "/", "age_ms": -1}}]}}',
            "bad_click",
            "$.clicks[0].age_ms",
        ),
        (f'{{"load": "{LOAD}", "ask": [{",".join("1" * 501)}]}}', "bad_click", "$.ask"),
    ],
)
def test_a_bad_body_is_refused_in_the_one_shape(app: App, body: str | bytes, code: str, where: str) -> None:
    async def test() -> None:
        response = await post(site(collector_of(app)), body)
        assert response.status_code == 400
        error = response.json()["error"]
        assert (error["code"], error["where"]) == (code, where)
        assert error["message"]
        assert seen(app) == []

    run(test())


def test_another_media_type_is_refused(app: App) -> None:
    async def test() -> None:
        response = await post(site(collector_of(app)), "{}", "application/x-www-form-urlencoded")
        assert response.status_code == 415
        assert response.json()["error"]["where"] == "Content-Type"

    run(test())


def test_a_log_that_is_closing_says_to_try_again_and_nothing_is_lost(app: App, tmp_path: Path) -> None:
    async def test() -> None:
        collector = collector_of(app)
        guard = site(collector)
        app.close()
        body = msgspec.json.encode(clicks(1))
        for _ in range(2):
            response = await post(guard, body)
            assert response.status_code == 503
            assert response.headers["retry-after"]
        with App(str(tmp_path / "log.db")) as reopened:
            response = await post(site(collector_of(reopened)), body)
            assert response.json()["accepted"] == 1

    run(test())
