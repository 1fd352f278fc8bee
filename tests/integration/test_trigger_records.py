"""Records as triggers: those that match, so many of them, and those that do not come."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import msgspec
import polars as pl
import pytest

from millstream import Absent, App, Matched, UsageError, absence, matching
from millstream.testing import FakeClock


class Order(msgspec.Struct):
    number: int
    total: int = 0


class Beat(msgspec.Struct):
    device: str


@pytest.fixture
def app(tmp_path: Path, clock: FakeClock) -> Iterator[App]:
    with App(str(tmp_path / "app.db"), clock=clock) as app:
        yield app


@pytest.mark.parametrize("where", [pl.col("total") > 5, lambda order: order.total > 5])
def test_records_that_match_come_one_by_one(app: App, where: object) -> None:
    orders = app.topic("orders", Order)
    orders.append(Order(0, 99))
    got: list[Matched] = []

    @app.on(matching(orders, where=where))  # type: ignore[arg-type]
    def large(match: Matched) -> None:
        got.append(match)

    app.run(until="now")  # a new trigger begins at the end
    orders.extend([Order(1, 3), Order(2, 7), Order(3, 9)])
    app.run(until="now")
    app.run(until="now")
    assert [(match.offset, match.value) for match in got] == [
        (2, {"number": 2, "total": 7}),
        (3, {"number": 3, "total": 9}),
    ]


def test_so_many_records_make_one_event(app: App) -> None:
    orders = app.topic("orders", Order)
    trigger = matching("orders", count=3, start="start")
    app.on(trigger, name="three")(lambda match: None)
    for number in range(8):
        orders.append(Order(number))
        if number % 2:
            app.run(until="now")
    found = [record.value for record in trigger.events(app.log).read()]
    assert [(match.first_offset, match.offset, match.count) for match in found] == [(0, 2, 3), (3, 5, 3)]


def test_two_that_follow_for_one_trigger_count_each_record_once(tmp_path: Path) -> None:
    url = str(tmp_path / "a.db")
    draw = random.Random(5)
    with App(url) as one, App(url) as two:
        orders = one.topic("orders", Order, partitions=3, key="number")
        triggers = [matching("orders", count=4, where=pl.col("total") == 1, start="start") for _ in range(2)]
        sources = [trigger.source(app.log) for trigger, app in zip(triggers, (one, two), strict=True)]
        stop = threading.Event()
        threads = [threading.Thread(target=source.run, args=(stop,)) for source in sources]
        for thread in threads:
            thread.start()
        matches = 0
        for number in range(120):
            values = [Order(number * 100 + at, draw.randrange(2)) for at in range(draw.randrange(1, 8))]
            orders.extend(values)
            matches += sum(value.total for value in values)
        events = triggers[0].events(one.log)
        until = time.monotonic() + 60
        while sum(events.end_offsets().values()) < matches // 4:
            assert time.monotonic() < until
            time.sleep(0.02)
        stop.set()
        for thread in threads:
            thread.join(60)
        found = [record.value for record in events.read(records_max=10_000)]
    assert len(found) == matches // 4
    assert len({(match.partition, match.offset) for match in found}) == len(found)


def test_a_silence_is_told_once_and_again_after_records_came(app: App, clock: FakeClock) -> None:
    beats = app.topic("beats", Beat)
    got: list[Absent] = []
    app.on(absence(beats, "5m"), name="silent")(got.append)
    app.run(until="now")
    clock.advance("4m")
    beats.append(Beat("a"))
    app.run(until="now")
    for _ in range(4):
        clock.advance("3m")
        app.run(until="now")
    assert len(got) == 1
    assert got[0].key is None
    assert got[0].time - got[0].since == timedelta(minutes=5)
    beats.append(Beat("a"))
    app.run(until="now")
    clock.advance("6m")
    app.run(until="now")
    assert len(got) == 2


def test_a_topic_in_which_there_never_was_anything_is_silent_too(app: App, clock: FakeClock) -> None:
    got: list[Absent] = []
    app.topic("beats", Beat)
    app.on(absence("beats", "5m"), name="silent")(got.append)
    app.run(until="now")
    clock.advance("6m")
    app.run(until="now")
    assert len(got) == 1


def test_each_key_is_watched_for_itself_also_after_a_restart(tmp_path: Path, clock: FakeClock) -> None:
    got: list[str | None] = []

    def run(*beats: str) -> None:
        with App(str(tmp_path / "a.db"), clock=clock) as app:
            topic = app.topic("beats", Beat)
            app.on(absence(topic, "5m", by="device"), name="silent")(lambda absent: got.append(absent.key))
            topic.extend(Beat(device) for device in beats)
            app.run(until="now")

    run()
    run("a", "b")
    clock.advance("4m")
    run("a")
    clock.advance("2m")
    run()
    assert got == ["b"]
    clock.advance("4m")
    run("b")
    assert got == ["b", "a"]
    clock.advance("6m")
    run()
    assert got == ["b", "a", "b"]


def test_a_silence_is_told_while_the_app_runs(tmp_path: Path) -> None:
    told = threading.Event()
    with App(str(tmp_path / "a.db")) as app:
        app.topic("beats", Beat)
        app.on(absence("beats", "100ms"), name="silent")(lambda absent: told.set())
        with app.start():
            assert told.wait(60)


def test_a_declaration_that_cannot_work_says_why(app: App) -> None:
    with pytest.raises(UsageError, match="count is 0"):
        matching("orders", count=0)
    with pytest.raises(UsageError, match="give a Polars expression"):
        matching("orders", where="total > 5")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="after is 0"):
        absence("orders", 0)
