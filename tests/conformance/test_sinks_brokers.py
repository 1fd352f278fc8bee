"""Messages of Kafka and NATS keep what sinks promise: a broker that speaks Kafka's protocol, and a real NATS server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest
from tests.kafka_broker import KafkaBroker, needs_kafka
from tests.nats_broker import NatsBroker, needs_nats

from millstream import sinks
from millstream.sinks import Guarantee, Sink
from millstream.testing.sink_suite import Outside, SinkSuite, Sold

_KAFKA: list[KafkaBroker] = []
_NATS: list[NatsBroker] = []
_NAMES: dict[Path, str] = {}
"""The topic, or subject, of each folder of the suite."""


@pytest.fixture(scope="module")
def kafka_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    broker = KafkaBroker(tmp_path_factory.mktemp("kafka"))
    _KAFKA.append(broker)
    yield
    _KAFKA.clear()
    broker.stop()


@pytest.fixture(scope="module")
def nats_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    broker = NatsBroker(tmp_path_factory.mktemp("nats"))
    broker.make("sold", "sold.>")
    _NATS.append(broker)
    yield
    _NATS.clear()
    broker.stop()


def _kafka_topic(folder: Path) -> str:
    if folder not in _NAMES:
        _NAMES[folder] = f"sold-{len(_NAMES)}"
        _KAFKA[0].make(_NAMES[folder])
    return _NAMES[folder]


def _kafka_seen(folder: Path) -> list[Sold]:
    found = _KAFKA[0].read(_kafka_topic(folder), {"isolation.level": "read_committed"})
    values = [msgspec.json.decode(one.value(), type=Sold) for one in found]
    assert [one.key() for one in found] == [value.item.encode() for value in values]
    assert [one.timestamp()[1] for one in found] == [round(value.at.timestamp() * 1000) for value in values]
    return values


@needs_kafka
@pytest.mark.usefixtures("kafka_broker")
class TestKafkaTransactions(SinkSuite):
    def sink(self, folder: Path) -> Sink:
        return sinks.kafka(f"{_KAFKA[0].url}/{_kafka_topic(folder)}", key="item")

    def seen(self, folder: Path) -> Sequence[Sold]:
        return _kafka_seen(folder)


@needs_kafka
@pytest.mark.usefixtures("kafka_broker")
class TestKafkaWithoutTransactions(SinkSuite):
    # Each new idempotent producer takes half a second to get its number; the other tests crash it often enough.
    test_a_second_crash_while_the_first_is_recovered_from_loses_nothing = None  # type: ignore[assignment]
    test_many_crashes_between_micro_batches_of_any_size_lose_nothing = None  # type: ignore[assignment]

    def sink(self, folder: Path) -> Sink:
        return sinks.kafka(f"{_KAFKA[0].url}/{_kafka_topic(folder)}", transactions=False)

    def seen(self, folder: Path) -> Sequence[Sold]:
        return _kafka_seen(folder)


@needs_nats
@pytest.mark.usefixtures("nats_broker")
class TestNats(SinkSuite):
    def sink(self, folder: Path) -> Sink:
        _NAMES.setdefault(folder, f"sold.{len(_NAMES)}")
        return sinks.nats(_NATS[0].url, _NAMES[folder])

    def seen(self, folder: Path) -> Sequence[Sold]:
        return [msgspec.json.decode(value, type=Sold) for value in _NATS[0].read("sold", _NAMES[folder])]

    def _guarantee(self, outside: Outside) -> Guarantee:
        """Everything here happens within the server's duplicate window, where each result is there once."""
        assert super()._guarantee(outside) == Guarantee.AT_LEAST_ONCE
        return Guarantee.EXACTLY_ONCE

    def test_the_explanation_of_a_stream_says_what_the_sink_promises(self, outside: Outside) -> None:
        assert str(Guarantee.AT_LEAST_ONCE) in outside.stream.explain()
