"""Old records again: to one consumer group, or into another topic."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import polars as pl
import pytest

from millstream.app import App
from millstream.clock import SystemClock
from millstream.errors import GroupNotFoundError, TopicNotFoundError, UsageError
from millstream.log.addressed import FOR
from millstream.log.dead_letter import DeadLetter
from millstream.log.delivery import DUE
from millstream.log.topic import Topic
from millstream.queue.replay import REPLAYS_HEADER, Replay, replay
from millstream.queue.retry import Retry
from millstream.records import Record
from millstream.testing import FakeClock


class Order(msgspec.Struct):
    number: int
    item: str = "tea"


@pytest.fixture(params=["memory", "sqlite"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[App]:
    url = "memory://" if request.param == "memory" else str(tmp_path / "log.db")
    with App(url, durability="relaxed") as app:
        yield app


@pytest.fixture
def orders(app: App) -> Topic[Order]:
    return app.topic("orders", Order)


def numbers(records: list[Record[Order]]) -> list[int]:
    return [record.value.number for record in records]


def test_the_queue_gets_them_again_and_no_other_reader(app: App, orders: Topic[Order]) -> None:
    sent: list[int] = []
    kept: list[int] = []
    rows: list[int] = []

    @app.queue(orders)
    def send(order: Order) -> None:
        sent.append(order.number)

    @app.queue(orders)
    def keep(order: Order) -> None:
        kept.append(order.number)

    @app.batch(orders)
    def count(frame: pl.LazyFrame) -> None:
        rows.append(frame.collect().height)

    orders.extend([Order(n) for n in range(10)])
    app.run(until="now")
    done = replay(app.log, "orders", to="send", start=3, end=6)
    assert (done.replayed, done.copies, done.refused, done.dry_run) == (3, 0, 0, False)
    app.run(until="now")
    assert sent == [*range(10), 3, 4, 5]
    assert kept == [*range(10)]
    assert sum(rows) == 10
    assert send.info().ledger.balanced


def test_a_record_comes_again_as_it_was(app: App, orders: Topic[Order]) -> None:
    happened = datetime(2020, 5, 17, 12, tzinfo=UTC)
    orders.append(Order(1, "cake"), key="k", headers={"trace": "t1", DUE: "1"}, time=happened)
    orders.group("send")
    replay(app.log, "orders", to="send", start=0)
    (record,) = orders.read(1)
    assert (record.value, record.key, record.event_time) == (Order(1, "cake"), b"k", happened)
    assert record.headers == {"trace": b"t1", REPLAYS_HEADER: b"1", FOR: b"send"}


def test_a_dry_run_counts_and_changes_nothing(app: App, orders: Topic[Order]) -> None:
    orders.extend([Order(n) for n in range(2500)])
    orders.group("send")
    done = replay(app.log, "orders", to="send", start=500, dry_run=True)
    assert (done.replayed, done.dry_run, done.ranges[0].start, done.ranges[0].end) == (2000, True, 500, 2500)
    assert replay(app.log, "orders", into="elsewhere", start=0, dry_run=True).replayed == 2500
    assert orders.end_offsets() == {0: 2500}
    assert app.log.topics() == ["orders"]


def test_copies_of_earlier_replays_and_redrives_are_left_out(app: App, orders: Topic[Order]) -> None:
    @app.queue(orders, retry=Retry(attempts=1))
    def send(order: Order) -> None:
        if order.number == 2:
            raise ValueError

    orders.extend([Order(n) for n in range(4)])
    app.run(until="now")
    app.dead("orders").redrive()
    assert replay(app.log, "orders", to="send", start=0).replayed == 4
    done = replay(app.log, "orders", to="send", start=0)
    assert (done.replayed, done.copies) == (4, 5)
    assert replay(app.log, "orders", to="send", start=0, replays_max=2, dry_run=True).replayed == 4 + 1 + 8
    assert replay(app.log, "orders", to="send", start=0, force=True, dry_run=True).replayed == 13


def test_what_is_for_another_queue_is_no_business_of_this_one(app: App, orders: Topic[Order]) -> None:
    orders.group("send")
    orders.append(Order(1), headers={FOR: "keep"})
    assert replay(app.log, "orders", to="send", start=0, force=True).copies == 1
    assert replay(app.log, "orders", into="all", start=0).replayed == 1
    assert FOR not in app.topic("all").read()[0].headers


def test_a_time_range_is_by_append_time(tmp_path: Path) -> None:
    clock = FakeClock(SystemClock().now_us())
    with App(str(tmp_path / "log.db"), durability="relaxed", clock=clock) as app:
        orders = app.topic("orders", Order)
        orders.group("send")
        for n in range(6):
            orders.append(Order(n))
            clock.advance("1h")
        assert replay(app.log, "orders", to="send", start="2h30m", dry_run=True).replayed == 2
        assert replay(app.log, "orders", to="send", start=timedelta(hours=5), end="2h", dry_run=True).replayed == 3
        day = datetime(2000, 1, 1, tzinfo=UTC)
        assert replay(app.log, "orders", to="send", start=day, end=2, dry_run=True).replayed == 2


def test_only_one_key_or_partition(app: App) -> None:
    orders = app.topic("parted", Order, partitions=2)
    orders.group("send")
    for n in range(20):
        orders.append(Order(n), key=f"k{n % 5}")
    assert replay(app.log, "parted", to="send", start=0, key="k3", dry_run=True).replayed == 4
    each = [replay(app.log, "parted", to="send", start=0, partition=p, dry_run=True).replayed for p in (0, 1)]
    assert sum(each) == 20
    replay(app.log, "parted", to="send", start=0)
    for partition in (0, 1):
        records = orders.read(partition=partition)
        assert {r.key for r in records[: len(records) // 2]} == {r.key for r in records[len(records) // 2 :]}


def test_another_topic_is_made_like_the_first(app: App, orders: Topic[Order]) -> None:
    orders.extend([Order(n, f"i{n}") for n in range(5000)])
    assert replay(app.log, "orders", into="again", start=1000).replayed == 4000
    again = app.topic("again", Order)
    assert numbers(again.read(records_max=10_000)) == [*range(1000, 5000)]
    assert again.schema == orders.schema
    app.topic("raw").append(b"\xff")
    replay(app.log, "raw", into="raw2", start=0)
    assert app.topic("raw2").read()[0].value == b"\xff"


def test_what_does_not_fit_the_other_topic_is_refused_alone(app: App) -> None:
    class Strict(msgspec.Struct):
        n: int

    app.topic("loose", dict).extend([{"n": 1}, {"n": "two"}, {"n": 3}])
    app.topic("strict", Strict)
    for dry_run in (True, False):
        done = replay(app.log, "loose", into="strict", start=0, dry_run=dry_run)
        assert (done.replayed, done.refused) == (2, 1)
        assert done.refusals[0].position.offset == 1
    assert [record.value.n for record in app.topic("strict", Strict).read()] == [1, 3]


def test_at_a_rate_of_one_at_a_time_all_are_appended(app: App, orders: Topic[Order]) -> None:
    orders.extend([Order(n) for n in range(5)])
    orders.group("send")
    assert replay(app.log, "orders", to="send", start=0, rate="9/s").replayed == 5
    assert numbers(orders.read(5)) == [*range(5)]


def test_a_rate_spreads_them(app: App, orders: Topic[Order]) -> None:
    orders.extend([Order(n) for n in range(30)])
    orders.group("send")
    begun = time.monotonic()
    assert replay(app.log, "orders", to="send", start=0, rate="100/s").replayed == 30
    assert time.monotonic() - begun >= 0.19, "30 at 100/s: the last ten not before 0.2 s"


def test_one_that_is_stopped_says_how_far_it_came(app: App, orders: Topic[Order]) -> None:
    orders.extend([Order(n) for n in range(5)])
    wanted = Replay(app.log, "orders", into="again", start=1)
    stop = threading.Event()
    thread = threading.Thread(target=wanted.run, kwargs={"rate": "1/h", "stop": stop})
    thread.start()
    until = time.monotonic() + 60
    while wanted.done.replayed == 0 and time.monotonic() < until:
        time.sleep(0.01)
    stop.set()
    thread.join()
    [range_] = wanted.done.ranges
    assert (wanted.done.replayed, range_.start, range_.end) == (1, 1, 2)


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        ({"to": "nobody"}, GroupNotFoundError),
        ({}, UsageError),
        ({"to": "send", "into": "again"}, UsageError),
        ({"into": "orders"}, UsageError),
        ({"into": "no/name"}, UsageError),
        ({"to": "send", "start": -1}, UsageError),
        ({"to": "send", "start": "soon"}, UsageError),
        ({"to": "send", "partition": 7}, UsageError),
        ({"to": "send", "rate": "0/s"}, UsageError),
    ],
)
def test_what_cannot_be_meant_is_refused(
    app: App, orders: Topic[Order], wanted: dict[str, object], error: type[Exception]
) -> None:
    orders.append(Order(1))
    orders.group("send")
    with pytest.raises(error):
        replay(app.log, "orders", **{"start": 0, **wanted})  # type: ignore[arg-type]
    assert orders.end_offsets() == {0: 1}


def test_a_topic_that_is_not_there_is_not_made(app: App) -> None:
    with pytest.raises(TopicNotFoundError):
        replay(app.log, "nowhere", to="send", start=0)
    assert app.log.topics() == []


def test_a_replayed_record_that_fails_is_a_dead_letter_and_can_be_sent_back(app: App, orders: Topic[Order]) -> None:
    broken = False
    sent: list[int] = []

    @app.queue(orders, retry=Retry(attempts=1))
    def send(order: Order) -> None:
        if broken:
            raise ValueError
        sent.append(order.number)

    orders.append(Order(1))
    app.run(until="now")
    broken = True
    replay(app.log, "orders", to="send", start=0)
    app.run(until="now")
    assert len(app.topic("orders.dead", DeadLetter).read()) == 1
    broken = False
    assert app.dead("orders").redrive().redriven == 1
    app.run(until="now")
    assert sent == [1, 1]
