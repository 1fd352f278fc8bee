"""Async functions of a stream: many calls at a time, one order."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import msgspec
import pytest

from millstream import App, Retry
from millstream.errors import Reject, UsageError


class Click(msgspec.Struct, frozen=True):
    page: str
    number: int


@pytest.fixture
def app() -> Iterator[App]:
    with App("memory://") as app:
        yield app


def fill(app: App, count: int) -> list[int]:
    clicks = app.topic("clicks", Click)
    clicks.extend([Click("/a", number) for number in range(count)])
    return list(range(count))


def numbers(app: App, topic: str = "out") -> list[int]:
    return app.topic(topic).frame().collect()["number"].to_list()


def test_results_keep_the_order_of_the_records(app: App) -> None:
    expected = fill(app, 50)
    under_way = most = 0

    async def slower_first(click: Click) -> Click:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        for _ in range(50 - click.number):
            await asyncio.sleep(0)
        under_way -= 1
        return click

    app.stream(app.topic("clicks", Click), name="s")(lambda s: s.map(slower_first, concurrency=7).to("out"))
    app.run(until="now")
    assert numbers(app) == expected
    assert most == 7


def test_none_drops_the_record(app: App) -> None:
    fill(app, 10)

    async def even(click: Click) -> Click | None:
        return click if click.number % 2 == 0 else None

    app.stream(app.topic("clicks", Click), name="s")(lambda s: s.map(even).to("out"))
    app.run(until="now")
    assert numbers(app) == [0, 2, 4, 6, 8]


def test_one_loop_serves_all_micro_batches(app: App) -> None:
    fill(app, 3)
    loops = set()

    async def note(click: Click) -> Click:
        loops.add(asyncio.get_running_loop())
        return click

    app.stream(app.topic("clicks", Click), name="s")(lambda s: s.map(note).to("out"))
    app.run(until="now")
    fill(app, 3)
    app.run(until="now")
    assert len(loops) == 1
    assert len(numbers(app)) == 6


def test_the_stream_stops_at_the_first_record_that_fails_whichever_call_ends_first(app: App) -> None:
    fill(app, 20)
    begun = []

    async def fail(click: Click) -> Click:
        begun.append(click.number)
        if click.number == 3:
            for _ in range(20):
                await asyncio.sleep(0)
            raise ValueError("the third")
        if click.number == 5:
            raise ValueError("the fifth")
        await asyncio.sleep(0)
        return click

    stream = app.stream(app.topic("clicks", Click), name="s")(lambda s: s.map(fail, concurrency=6).to("out"))
    with pytest.raises(ValueError, match="the third") as found:
        app.run(until="now")
    assert "offset 3" in "".join(found.value.__notes__)
    assert stream.info().committed == {0: 0}
    assert max(begun) < 10


def test_records_that_fail_are_tried_again_and_then_set_aside(app: App) -> None:
    fill(app, 6)
    calls: list[int] = []

    async def fail(click: Click) -> Click:
        calls.append(click.number)
        if click.number == 1 and calls.count(1) < 3:
            raise ConnectionError("not yet")
        if click.number == 2:
            raise Reject("never")
        if click.number == 4:
            raise ValueError("always")
        return click

    retry = Retry(attempts=3, delay="1ms", jitter=0)
    app.stream(app.topic("clicks", Click), name="s", on_error=retry)(lambda s: s.map(fail).to("out"))
    app.run(until="now")
    assert numbers(app) == [0, 1, 3, 5]
    assert {number: calls.count(number) for number in set(calls)} == {0: 1, 1: 3, 2: 1, 3: 1, 4: 3, 5: 1}
    dead = sorted((one.letter.offset, one.letter.attempts) for one in app.dead("clicks").list())
    assert dead == [(2, 1), (4, 3)]


def test_a_concurrency_of_nothing_is_refused(app: App) -> None:
    async def same(click: Click) -> Click:
        return click

    with pytest.raises(UsageError, match="concurrency=0"):
        app.stream(app.topic("clicks", Click), name="s")(lambda s: s.map(same, concurrency=0).to("out"))
