"""Topics of Kafka into topics of ours, against a broker that speaks its protocol: see tests/kafka_broker.py."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from tests.kafka_broker import KafkaBroker, needs_kafka
from tests.waiting import until

from millstream import App, SourceError, UsageError
from millstream.log.dead_letter import DeadLetter
from millstream.run.supervisor import ReaderStatus, Running
from millstream.sources import KafkaMessages, Message, kafka

pytestmark = needs_kafka

PATIENCE_S = 60.0
SECOND_MS = 1_767_225_600_000  # 2026-01-01


class Order(msgspec.Struct, frozen=True, order=True):
    number: int
    customer: str = "ann"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    broker = KafkaBroker(tmp_path_factory.mktemp("kafka"))
    yield broker
    broker.stop()


@pytest.fixture
def topic(broker: KafkaBroker, request: pytest.FixtureRequest) -> str:
    name = str(request.node.name)[:200].replace("[", "-").replace("]", "")
    broker.make(name)
    return name


def lines(start: int, end: int) -> list[bytes | None]:
    return [b'{"number":%d}' % number for number in range(start, end)]


def numbers(app: App) -> list[int]:
    return sorted(app.topic("orders", Order).frame().collect()["number"].to_list())


def dead(app: App) -> list[DeadLetter]:
    return [record.value for record in app.topic("orders.dead", DeadLetter).read()]


def run(app: App, source: KafkaMessages) -> None:
    app.sources.clear()
    app.source(source, into=app.topic("orders", Order))
    app.run(until="now")


def test_each_message_is_a_record_once_over_several_starts(broker: KafkaBroker, topic: str, tmp_path: Path) -> None:
    source = kafka(f"{broker.url}/{topic}")
    for start in (0, 50, 50, 80):
        broker.send(topic, lines(start, max(start, start + 30)) if start != 50 else [])
        with App(tmp_path / "log.db") as app:
            run(app, source)
    with App(tmp_path / "log.db") as app:
        assert numbers(app) == [*range(30), *range(80, 110)]


def test_key_headers_and_time_of_a_message_are_those_of_its_record(
    broker: KafkaBroker, topic: str, tmp_path: Path
) -> None:
    headers = [("trace", b"1"), ("trace", b"2"), ("empty", None)]
    broker.send(topic, lines(0, 1), key=b"k", headers=headers, timestamp=SECOND_MS)
    broker.send(topic, lines(1, 2), key=None, timestamp=SECOND_MS + 1000)
    with App(tmp_path / "log.db") as app:
        run(app, kafka(f"{broker.url}/{topic}"))
        first, second = app.topic("orders", Order).read()
        assert (first.key, first.event_time) == (b"k", datetime(2026, 1, 1, tzinfo=UTC))
        assert dict(first.headers) == {"trace": b"2", "empty": b""}
        assert (second.key, second.event_time) == (None, datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC))


def test_a_message_that_is_no_value_becomes_a_dead_letter_and_holds_up_nothing(
    broker: KafkaBroker, topic: str, tmp_path: Path
) -> None:
    odd: list[bytes | None] = [b"{", None, b'{"number":"x"}', b"\xff", b'{"number":%d}' % 10**30]
    broker.send(topic, [*lines(0, 3), *odd, *lines(3, 5)], key=b"k")
    with App(tmp_path / "log.db") as app:
        run(app, kafka(f"{broker.url}/{topic}"))
        assert numbers(app) == [*range(5)]
        assert app.sources[topic].refused == len(odd)
        letters = dead(app)
        assert sorted(letter.value for letter in letters) == sorted(value or b"" for value in odd)
        assert {letter.key for letter in letters} == {b"k"}
        assert all(f"kafka {topic}/0 offset " in letter.message for letter in letters)
        assert any("a tombstone" in letter.message for letter in letters)


def test_a_function_makes_values_of_messages(broker: KafkaBroker, topic: str, tmp_path: Path) -> None:
    def read(message: Message) -> Order | list[Order] | None:
        if message.value is None:
            return None
        number = int(message.value)
        assert number != 13, "unlucky"
        return Order(number, "bob") if number < 20 else [Order(number), Order(number + 1)]

    broker.send(topic, [b"1", None, b"13", b"20"])
    with App(tmp_path / "log.db") as app:
        app.source(kafka(f"{broker.url}/{topic}"), into=app.topic("orders", Order), read=read)
        app.run(until="now")
        assert [record.value for record in app.topic("orders", Order).read()] == [Order(1, "bob"), Order(20), Order(21)]
        [letter] = dead(app)
        assert (letter.value, letter.error_type) == (b"13", "AssertionError")
        assert "unlucky" in letter.message


def test_bytes_go_into_a_topic_without_a_type(broker: KafkaBroker, topic: str, tmp_path: Path) -> None:
    broker.send(topic, [b"\x00\xff", b""])
    with App(tmp_path / "log.db") as app:
        app.source(kafka(f"{broker.url}/{topic}"), into=app.topic("raw"))
        app.run(until="now")
        assert [record.value for record in app.topic("raw").read()] == [b"\x00\xff", b""]


def test_json_objects_go_into_a_topic_whose_fields_are_inferred(
    broker: KafkaBroker, topic: str, tmp_path: Path
) -> None:
    broker.send(topic, [b'{"a":1}', b"[1]", b'{"a":2,"b":"x"}'])
    with App(tmp_path / "log.db") as app:
        app.source(kafka(f"{broker.url}/{topic}"), into=app.topic("orders", dict))
        app.run(until="now")
        assert app.topic("orders", dict).frame().select("a", "b").collect().rows() == [(1, None), (2, "x")]
        assert [letter.value for letter in dead(app)] == [b"[1]"]


def test_a_new_source_begins_where_it_is_told(broker: KafkaBroker, topic: str, tmp_path: Path) -> None:
    for number in range(10):
        broker.send(topic, lines(number, number + 1), timestamp=SECOND_MS + number * 1000)
    with App(tmp_path / "time.db") as app:
        run(app, kafka(f"{broker.url}/{topic}", start=datetime(2026, 1, 1, 0, 0, 4, tzinfo=UTC)))
        assert numbers(app) == [*range(4, 10)]
    latest = kafka(f"{broker.url}/{topic}", start="latest")
    with App(tmp_path / "latest.db") as app:
        run(app, latest)
        assert numbers(app) == []
    broker.send(topic, lines(10, 12))
    with App(tmp_path / "latest.db") as app:
        run(app, latest)  # the end that was found at the first start was kept, though nothing had come
        assert numbers(app) == [10, 11]


def test_what_retention_deleted_unread_is_told_with_its_number(broker: KafkaBroker, topic: str, tmp_path: Path) -> None:
    broker.send(topic, lines(0, 10))
    source = kafka(f"{broker.url}/{topic}")
    with App(tmp_path / "log.db") as app:
        run(app, source)
        broker.send(topic, lines(10, 30))
        broker.trim(topic, 0, 25)
        run(app, source)
        assert numbers(app) == [*range(10), *range(25, 30)]
        [note] = app.sources[topic].notes
        assert "deleted 15 messages of partition 0" in note
        assert "offsets 10 to 24" in note


def test_a_topic_that_was_made_anew_is_read_from_its_start(broker: KafkaBroker, topic: str, tmp_path: Path) -> None:
    broker.send(topic, lines(0, 10))
    source = kafka(f"{broker.url}/{topic}")
    with App(tmp_path / "log.db") as app:
        run(app, source)
        broker.delete(topic)
        broker.make(topic)
        broker.send(topic, lines(100, 103))
        run(app, source)
        assert numbers(app) == [*range(10), 100, 101, 102]
        assert "the topic was made anew" in app.sources[topic].notes[0]


def test_a_topic_and_partitions_that_come_later_are_read_whole(broker: KafkaBroker, tmp_path: Path) -> None:
    source = replace(kafka(f"{broker.url}/later", start="latest"), look_s=0.1)
    with App(tmp_path / "log.db") as app:
        reader = app.source(source, into=app.topic("orders", Order))
        with app.start():
            until(lambda: any("no such topic" in note for note in reader.notes))
            broker.make("later")
            until(lambda: len(reader.positions()) == 1)
            broker.send("later", lines(0, 5))
            until(lambda: numbers(app) == [*range(5)])
            broker.widen("later", 3)
            broker.send("later", lines(5, 10), partition=2)
            until(lambda: numbers(app) == [*range(10)])


def test_a_broker_that_goes_away_and_comes_back_is_read_on_and_the_app_says_so(tmp_path: Path) -> None:
    broker = KafkaBroker(tmp_path)
    try:
        broker.make("orders")
        broker.send("orders", lines(0, 100))
        with App(tmp_path / "log.db") as app:
            app.source(kafka(f"{broker.url}/orders"), into=app.topic("orders", Order))
            with app.start() as running:
                until(lambda: numbers(app) == [*range(100)])
                broker.stop()
                until(lambda: _state(running) == ReaderStatus.FAILED)
                [state] = running.readers()
                assert state.kind == "source"
                assert "SourceError" in (state.error or "")
                broker.start()
                broker.send("orders", lines(100, 200))
                until(lambda: numbers(app) == [*range(200)])
    finally:
        broker.stop()


def _state(running: Running) -> ReaderStatus:
    return running.readers()[0].state


def test_only_finished_transactions_are_read(broker: KafkaBroker, topic: str, tmp_path: Path) -> None:
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": broker.servers, "transactional.id": topic})
    producer.init_transactions(PATIENCE_S)
    for number, finish in enumerate([producer.commit_transaction, producer.abort_transaction] * 2):
        producer.begin_transaction()
        producer.produce(topic, b'{"number":%d}' % number)
        finish(PATIENCE_S)
    with App(tmp_path / "log.db") as app:
        run(app, kafka(f"{broker.url}/{topic}"))
        assert numbers(app) == [0, 2]


def test_two_processes_store_each_message_once(broker: KafkaBroker, topic: str, tmp_path: Path) -> None:
    source = kafka(f"{broker.url}/{topic}")
    with App(tmp_path / "log.db") as one, App(tmp_path / "log.db") as other:
        for app in (one, other):
            app.source(source, into=app.topic("orders", Order))
        with one.start(), other.start():
            for start in range(0, 2000, 100):
                broker.send(topic, lines(start, start + 100))
            until(lambda: len(numbers(one)) >= 2000)
        one.run(until="now")
        assert numbers(one) == [*range(2000)]


def test_a_broker_that_is_away_is_an_error_that_names_it(tmp_path: Path) -> None:
    with App(tmp_path / "log.db") as app, pytest.raises(SourceError, match=r"kafka://127\.0\.0\.1:9/orders does not"):
        run(app, kafka("kafka://127.0.0.1:9/orders"))


def test_a_setting_that_is_none_is_an_error_without_its_secret() -> None:
    secret = {"sasl.password": "hunter2", "ssl.key.pem": "hunter2", "no.such.setting": "1"}
    source = kafka("kafka://127.0.0.1:9/orders", settings=secret)
    assert "hunter2" not in f"{source!r} {source}"
    with pytest.raises(UsageError, match=r"no\.such\.setting") as found:
        next(source.messages({}, threading.Event(), print))
    assert "hunter2" not in str(found.value)


def test_partitions_of_several_brokers_are_read_once(tmp_path: Path) -> None:
    """A second counterpart: the cluster that the client itself has for tests, of three brokers."""
    from confluent_kafka import Producer

    cluster = Producer({"bootstrap.servers": "none", "test.mock.num.brokers": 3, "log_level": 0})
    brokers = cluster.list_topics(timeout=PATIENCE_S).brokers.values()
    source = kafka("kafka://" + ",".join(f"{one.host}:{one.port}" for one in brokers), "spread")
    for start in (0, 1000):
        for number in range(start, start + 1000):
            cluster.produce("spread", b'{"number":%d}' % number, partition=number % 4)
        assert cluster.flush(PATIENCE_S) == 0
        with App(tmp_path / "log.db") as app:
            run(app, source)
            assert numbers(app) == [*range(start + 1000)]
            assert len(app.sources["spread"].positions()) == 4
