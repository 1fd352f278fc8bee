"""Results into Kafka and NATS when these are away, or not as they should be."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from tests.kafka_broker import KafkaBroker, needs_kafka
from tests.nats_broker import NatsBroker, needs_nats
from tests.waiting import until

from millstream import App, SinkError, UsageError, sinks
from millstream.sinks import Patience, Sink, kafka_writer

SHORT = Patience(attempts=2, first_s=0.01)


class Order(msgspec.Struct, frozen=True):
    number: int
    customer: str | None = None


def declare(app: App, sink: Sink) -> None:
    app.stream(app.topic("orders", Order), name="out")(lambda s: s.to(sink))


def numbers(values: list[bytes]) -> list[int]:
    return [msgspec.json.decode(value, type=Order).number for value in values]


def outage(app: App, stop: Callable[[], None], start: Callable[[], None]) -> None:
    """Append while the broker is there, away, and there again; the stream goes on by itself."""
    orders = app.topic("orders", Order)
    with app.start() as running:
        orders.extend([Order(number) for number in range(10)])
        until(lambda: app.streams["out"].info().lag == 0)
        stop()
        orders.extend([Order(number) for number in range(10, 20)])
        until(lambda: running.readers()[0].failures > 0)
        assert "SinkError" in (running.readers()[0].error or "")
        start()
        until(lambda: app.streams["out"].info().lag == 0)


@needs_kafka
def test_what_kafka_missed_is_delivered_once_when_it_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_writer, "ANSWER_S", 5.0)  # one that is away is noticed after so long
    broker = KafkaBroker(tmp_path)
    try:
        broker.make("results")
        with App(tmp_path / "log.db") as app:
            settings = {"socket.connection.setup.timeout.ms": 1000}
            declare(app, sinks.kafka(f"{broker.url}/results", settings=settings, patience=SHORT))
            outage(app, broker.stop, broker.start)
            app.run(until="now")
        found = broker.read("results", {"isolation.level": "read_committed"})
        assert numbers([one.value() for one in found]) == [*range(20)]
    finally:
        broker.stop()


@needs_nats
def test_what_nats_missed_is_delivered_when_it_returns(tmp_path: Path) -> None:
    broker = NatsBroker(tmp_path)
    try:
        broker.make("results", "results.>")
        with App(tmp_path / "log.db") as app:
            declare(app, sinks.nats(broker.url, "results.x", patience=SHORT))
            outage(app, broker.stop, broker.start)
            app.run(until="now")
        assert numbers(broker.read("results", "results.x")) == [*range(20)]
    finally:
        broker.stop()


@needs_nats
def test_a_subject_that_no_stream_takes_is_an_error_that_says_so(tmp_path: Path) -> None:
    broker = NatsBroker(tmp_path)
    try:
        with App(tmp_path / "log.db") as app:
            declare(app, sinks.nats(broker.url, "nobody.takes", patience=SHORT))
            app.topic("orders", Order).append(Order(1))
            with pytest.raises(SinkError, match="is there a stream with this subject"):
                app.run(until="now")
            broker.make("late", "nobody.>")
            app.run(until="now")
        assert numbers(broker.read("late", "nobody.takes")) == [1]
    finally:
        broker.stop()


@needs_kafka
def test_a_key_is_a_field_and_one_that_is_none_is_refused(tmp_path: Path) -> None:
    broker = KafkaBroker(tmp_path)
    try:
        broker.make("results")
        with App(tmp_path / "log.db") as app:
            declare(app, sinks.kafka(broker.url, "results", key="customer"))
            app.topic("orders", Order).extend([Order(1, "ann"), Order(2)])
            app.run(until="now")
        assert [one.key() for one in broker.read("results")] == [b"ann", None]
        sink = sinks.kafka(broker.url, "results", key="nobody")
        with App(tmp_path / "other.db") as app, pytest.raises(UsageError, match="key='nobody' is no field"):
            declare(app, sink)
    finally:
        broker.stop()


@needs_kafka
def test_old_and_new_runs_that_take_the_transactional_id_from_one_another_lose_nothing(tmp_path: Path) -> None:
    """Two programs with the same stream: one is always ahead, and fences the other."""
    broker = KafkaBroker(tmp_path)
    stop = threading.Event()
    try:
        broker.make("results")
        with App(tmp_path / "log.db") as one, App(tmp_path / "log.db") as other:
            for app in (one, other):
                declare(app, sinks.kafka(f"{broker.url}/results", patience=SHORT))
            with one.start(), other.start():
                for number in range(100):
                    one.topic("orders", Order).append(Order(number))
                    stop.wait(0.02)
                until(lambda: one.streams["out"].info().lag == 0)
            one.run(until="now")
        found = broker.read("results", {"isolation.level": "read_committed"})
        assert numbers([message.value() for message in found]) == [*range(100)]
    finally:
        broker.stop()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: sinks.kafka("kafka://a"), "names no topic"),
        (lambda: sinks.kafka("nats://a/x"), "is no address"),
        (lambda: sinks.kafka("kafka://ann:secret@a/x"), "ends up in logs"),
        (lambda: sinks.nats("nats://a", "x.*"), "is no subject"),
        (lambda: sinks.nats("kafka://a", "x"), "is no address"),
    ],
)
def test_a_place_that_is_none_is_refused(make: Callable[[], Sink], said: str) -> None:
    with pytest.raises(UsageError, match=said) as found:
        make()
    assert "secret" not in str(found.value)


def test_secrets_are_in_no_text_of_a_sink() -> None:
    one = sinks.kafka("kafka://a/x", settings={"sasl.password": "hunter2"})
    other = sinks.nats("nats://a", "x", settings={"password": "hunter2"})
    assert "hunter2" not in f"{one!r} {one} {other!r} {other}"
