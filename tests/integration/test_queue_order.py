"""In which order a queue hands over: by key, by priority, by rate, newest first, not before its time."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from millstream.app import App
from millstream.errors import SettingsError
from millstream.log.topic import Topic
from millstream.queue import DeadLetter, Retry
from millstream.records import time_from_us
from millstream.testing.fake_clock import FakeClock

PATIENCE_S = 60.0

MakeApp = Callable[..., App]


class Order(msgspec.Struct, frozen=True):
    customer: str
    number: int
    urgency: int = 0


def fill(app: App, count: int, *, customers: str = "abc") -> Topic[Order]:
    orders = app.topic("orders", Order)
    orders.extend([Order(customers[n % len(customers)], n) for n in range(count)])
    return orders


def ledger(reader: Any) -> dict[str, int]:
    found = reader.info().ledger
    assert found.balanced
    return {
        name: getattr(found, name) for name in ("ready", "leased", "waiting", "done", "dead") if getattr(found, name)
    }


# --- by key -----------------------------------------------------------------------------------------------------------


def test_records_of_one_key_are_handled_one_after_another_in_their_order(app: App) -> None:
    orders = fill(app, 300)
    seen: dict[str, list[int]] = defaultdict(list)
    at_work: set[str] = set()
    clashes: list[str] = []

    @app.queue(orders, workers=4, order_by="customer")
    def work(order: Order) -> None:
        if order.customer in at_work:
            clashes.append(order.customer)
        at_work.add(order.customer)
        seen[order.customer].append(order.number)
        at_work.discard(order.customer)

    app.run(until="now")
    assert clashes == []
    assert {customer: numbers == sorted(numbers) for customer, numbers in seen.items()} == dict.fromkeys("abc", True)
    assert ledger(work) == {"done": 300}


def test_different_keys_are_handled_at_the_same_time(app: App) -> None:
    orders = fill(app, 3)
    everybody = threading.Barrier(3)

    @app.queue(orders, workers=3, order_by=lambda order: order.customer)
    def work(order: Order) -> None:
        everybody.wait(PATIENCE_S)

    app.run(until="now")
    assert ledger(work) == {"done": 3}


def test_a_failing_record_holds_up_its_key_until_its_retry_and_no_other_key(
    make_app: MakeApp, clock: FakeClock
) -> None:
    app = make_app(clock=clock)
    orders = fill(app, 9)
    seen: list[int] = []
    failures: list[int] = []

    @app.queue(orders, order_by="customer", retry=Retry(attempts=3, delay="10s", jitter=0))
    def work(order: Order) -> None:
        if order.number == 0 and len(failures) < 2:
            failures.append(0)
            raise ConnectionError
        seen.append(order.number)

    app.run(until="now")
    assert sorted(seen) == [1, 2, 4, 5, 7, 8]
    clock.advance("10s")
    app.run(until="now")
    assert len(seen) == 6
    clock.advance("20s")
    app.run(until="now")
    assert seen[6:] == [0, 3, 6]
    assert ledger(work) == {"done": 9}


def test_a_key_goes_on_after_a_record_that_was_given_up_on(app: App) -> None:
    orders = fill(app, 6, customers="a")
    seen: list[int] = []

    @app.queue(orders, order_by="customer", retry=Retry(attempts=1))
    def work(order: Order) -> None:
        if order.number == 2:
            raise ValueError
        seen.append(order.number)

    app.run(until="now")
    assert seen == [0, 1, 3, 4, 5]
    assert ledger(work) == {"done": 5, "dead": 1}


def test_a_record_whose_key_cannot_be_found_fails_and_the_others_go_on(app: App) -> None:
    orders = fill(app, 6)
    seen: list[int] = []

    def key(order: Order) -> str:
        if order.number == 1:
            raise KeyError("no customer")
        return order.customer

    app.queue(orders, name="work", order_by=key, retry=Retry(attempts=1))(lambda order: seen.append(order.number))
    app.run(until="now")
    assert sorted(seen) == [0, 2, 3, 4, 5]
    assert [record.value.error_type for record in app.topic("orders.dead", DeadLetter).read()] == ["KeyError"]


@pytest.mark.parametrize("limit", [1, 2])
def test_no_more_records_of_a_key_than_allowed_are_handled_at_once(app: App, limit: int) -> None:
    orders = app.topic("orders", Order)
    orders.extend([Order("a", n) for n in range(20)], keys=["tenant"] * 20)
    lock = threading.Lock()
    at_work, most = 0, 0

    @app.queue(orders, workers=4, concurrency=limit)
    def work(order: Order) -> None:
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
        threading.Event().wait(0.005)
        with lock:
            at_work -= 1

    app.run(until="now")
    assert most <= limit
    assert ledger(work) == {"done": 20}


# --- by priority ------------------------------------------------------------------------------------------------------


def test_the_most_urgent_of_all_that_is_there_comes_first(app: App) -> None:
    orders = app.topic("orders", Order)
    orders.extend([Order("a", n, urgency=n % 5) for n in range(5000)])
    seen: list[int] = []
    app.queue(orders, name="work", priority="urgency")(lambda order: seen.append(order.urgency))
    app.run(until="now")
    assert seen == sorted(seen, reverse=True)


def test_a_priority_given_with_the_record_goes_before_that_of_its_value(app: App) -> None:
    orders = app.topic("orders", Order)
    orders.append(Order("a", 1, urgency=1))
    orders.append(Order("a", 2, urgency=2))
    orders.append(Order("a", 3), priority=9)
    orders.append(Order("a", 4), priority=-1)
    seen: list[int] = []
    app.queue(orders, name="work", priority="urgency")(lambda order: seen.append(order.number))
    app.run(until="now")
    assert seen == [3, 2, 1, 4]


def test_records_of_the_same_priority_keep_their_order(app: App) -> None:
    orders = app.topic("orders", Order)
    for number in range(10):
        orders.append(Order("a", number), priority=number % 2)
    seen: list[int] = []
    app.queue(orders, name="work", priority=True)(lambda order: seen.append(order.number))
    app.run(until="now")
    assert seen == [1, 3, 5, 7, 9, 0, 2, 4, 6, 8]


# --- newest first -----------------------------------------------------------------------------------------------------


def test_a_lifo_queue_hands_over_the_newest_first(app: App) -> None:
    orders = fill(app, 100)
    seen: list[int] = []

    @app.queue(orders, mode="lifo", retry=Retry(attempts=1))
    def work(order: Order) -> None:
        seen.append(order.number)
        if order.number == 50:
            raise ValueError

    app.run(until="now")
    assert seen == list(range(99, -1, -1))
    assert ledger(work) == {"done": 99, "dead": 1}


# --- not before its time ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"order_by": "customer"}, {"priority": True}, {"mode": "lifo"}])
def test_a_delayed_record_waits_for_its_time_and_uses_no_attempt(
    make_app: MakeApp, clock: FakeClock, settings: dict[str, Any]
) -> None:
    app = make_app(clock=clock)
    orders = app.topic("orders", Order)
    orders.append(Order("a", 1), due="10m")
    orders.append(Order("b", 2))
    orders.append(Order("c", 3), due=time_from_us(clock.now_us()) + timedelta(minutes=5))
    seen: list[tuple[int, int]] = []
    work = app.queue(orders, name="work", **settings)(lambda order: None)
    numbers = {0: 1, 1: 2, 2: 3}
    work.observe(lambda e: seen.append((numbers[e.position.offset], e.attempt)) if e.kind == "taken" else None)
    app.run(until="now")
    app.run(until="now")
    assert seen == [(2, 1)]
    clock.advance("5m")
    app.run(until="now")
    assert seen == [(2, 1), (3, 1)]
    clock.advance("5m")
    app.run(until="now")
    assert seen == [(2, 1), (3, 1), (1, 1)]
    assert ledger(work) == {"done": 3}


def test_a_waiting_worker_starts_a_delayed_record_when_it_is_due(app: App) -> None:
    orders = app.topic("orders", Order)
    started = threading.Event()
    app.queue(orders, name="work")(lambda order: started.set())
    with app.start():
        before = app.log.clock.now_us()
        orders.append(Order("a", 1), due="300ms")
        assert started.wait(PATIENCE_S)
        assert app.log.clock.now_us() - before >= 300_000


# --- at a rate --------------------------------------------------------------------------------------------------------


def test_a_rate_holds_for_each_key_and_uses_no_attempts(make_app: MakeApp, clock: FakeClock) -> None:
    app = make_app(clock=clock)
    orders = app.topic("orders", Order)
    orders.extend([Order("a", n) for n in range(5)], keys=["busy"] * 5)
    orders.extend([Order("b", n) for n in range(5, 7)], keys=["quiet"] * 2)
    seen: list[int] = []
    attempts: list[int] = []
    work = app.queue(orders, name="work", rate="2/s per key", retry=Retry(attempts=1))(
        lambda order: seen.append(order.number)
    )
    work.observe(lambda event: attempts.append(event.attempt) if event.kind == "taken" else None)
    app.run(until="now")
    assert sorted(seen) == [0, 1, 5, 6]
    for _ in range(10):
        clock.advance("500ms")
        app.run(until="now")
    assert sorted(seen) == list(range(7))
    assert set(attempts) == {1}
    assert ledger(work) == {"done": 7}


def test_a_rate_without_a_key_is_that_of_the_whole_queue(make_app: MakeApp, clock: FakeClock) -> None:
    app = make_app(clock=clock)
    orders = fill(app, 6)
    seen: list[int] = []
    app.queue(orders, name="work", rate="3/10s")(lambda order: seen.append(order.number))
    app.run(until="now")
    assert seen == [0, 1, 2]
    clock.advance("10s")
    app.run(until="now")
    assert len(seen) > 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rate": "fast"}, "rate is"),
        ({"rate": "0/s"}, "at least one record"),
        ({"mode": "filo"}, "mode is"),
        ({"mode": "lifo", "priority": True}, "leave order_by"),
        ({"concurrency": 0}, "1 or more"),
        ({"timeout": 0}, "timeout is 0"),
        ({"kind": "fibers"}, "kind is"),
        ({"batch": 0}, "batch is"),
        ({"order_by": "customer", "rate": "1/s"}, "per key"),
        ({"full": "cry"}, "full is"),
    ],
)
def test_settings_that_cannot_work_are_refused(app: App, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        app.queue(fill(app, 0), name="work", **settings)(lambda order: None)
