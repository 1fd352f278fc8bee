"""Messages of Kafka and NATS into a durable topic, beside their clients alone; results back to them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from tests.kafka_broker import KafkaBroker
from tests.nats_broker import NatsBroker

from benchmarks.harness import Options, Report, Row, folder
from millstream import App, sinks
from millstream.log.topic import Topic
from millstream.sinks import Sink
from millstream.sources import MessageSource, kafka, nats
from millstream.sources.broker_lines import BrokerLines
from millstream.sources.system import follow_system

WANTED = 100_000


class Order(msgspec.Struct, frozen=True):
    number: int
    customer: str
    price: float


def measure(options: Options) -> Report:
    count = options.records(600_000)
    report = Report(
        "logs_brokers",
        "100,000 small messages of JSON a second from a local Kafka to a durable topic, each once.",
        {
            "messages": f"{count:,} of Kafka in 3 partitions, {count // 10:,} of NATS; 50 bytes of JSON each",
            "topic": "values of a Struct; records and positions in one transaction, with fsync",
            "brokers": "noida-db, which speaks Kafka's protocol, in memory; nats-server with a stream in files. "
            "Both are processes of their own on this machine, which shares the two cores",
        },
    )
    with folder(options) as directory:
        _kafka(report, options, directory, count)
        _nats(report, options, directory, count // 10)
    return report


def _kafka(report: Report, options: Options, directory: Path, count: int) -> None:
    broker = KafkaBroker(directory)
    try:
        broker.make("orders", 3)
        broker.make("results", 3)
        for partition in range(3):
            broker.send("orders", _values(count // 3), partition=partition)
        source = kafka(f"{broker.url}/orders")
        _client(report, options, "Kafka: the client alone, as Python objects", source)
        row = _into(report, options, "Kafka to a topic of Structs", source, directory)
        row.reach, row.reached = f"{WANTED:,}/s", row.median >= WANTED
        _events(report, options, "Kafka to events of `millstream logs`", source, directory)
        _out(
            report, options, "topic to Kafka, exactly once", sinks.kafka(f"{broker.url}/results"), directory, count // 3
        )
    finally:
        broker.stop()


def _nats(report: Report, options: Options, directory: Path, count: int) -> None:
    broker = NatsBroker(directory)
    try:
        broker.make("orders", "orders.>")
        broker.make("results", "results.>")
        for _ in range(count // 5000):
            broker.send("orders.new", _values(5000))
        source = nats(broker.url, stream="orders")
        _client(report, options, "NATS: the client alone, as Python objects", source)
        _into(report, options, "NATS to a topic of Structs", source, directory)
        _out(report, options, "topic to NATS", sinks.nats(broker.url, "results.all"), directory, count // 3)
    finally:
        broker.stop()


def _values(count: int) -> list[bytes]:
    return [b'{"number":%d,"customer":"ann %d","price":4.5}' % (number, number % 1000) for number in range(count)]


def _client(report: Report, options: Options, what: str, source: MessageSource) -> None:
    def run() -> int:
        found = source.messages({}, threading.Event(), print, follow=False)
        return sum(len(part.messages) for part in found)

    report.add(what, [_rate(run) for _ in range(options.runs)], "messages/s")


def _into(report: Report, options: Options, what: str, source: MessageSource, directory: Path) -> Row:
    def run() -> int:
        with App(_fresh(directory)) as app:
            reader = app.source(source, into=app.topic("orders", Order))
            app.run(until="now")
            return reader.stored

    return report.add(what, [_rate(run) for _ in range(options.runs)], "messages/s")


def _events(report: Report, options: Options, what: str, source: MessageSource, directory: Path) -> None:
    def run() -> int:
        lines = BrokerLines(source, format="json", follow=False)
        with App(_fresh(directory)) as app, follow_system(app, "logs", sources=[lines]) as follower:
            follower.join()
            return follower.records

    report.add(what, [_rate(run) for _ in range(options.runs)], "messages/s")


def _out(report: Report, options: Options, what: str, sink: Sink, directory: Path, count: int) -> None:
    def run() -> float:
        with App(_fresh(directory)) as app:
            orders: Topic[Order] = app.topic("orders", Order)
            orders.extend([Order(number, "ann", 4.5) for number in range(count)])
            app.stream(orders, name="out")(lambda s: s.to(sink))
            started = time.perf_counter()
            app.run(until="now")
            return count / (time.perf_counter() - started)

    report.add(what, [run() for _ in range(options.runs)], "rows/s")


def _rate(run: Callable[[], int]) -> float:
    started = time.perf_counter()
    return run() / (time.perf_counter() - started)


def _fresh(directory: Path) -> Path:
    for old in directory.glob("log.db*"):
        old.unlink()
    return directory / "log.db"
