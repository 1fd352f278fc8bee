"""A broker that speaks Kafka's protocol, for tests: noida-db, a small local one; not Apache Kafka itself.

It keeps topics, transactions, idempotent producers and deleted records as Kafka does (compared by its makers with a
Kafka 3.8), on one node and in one file.
"""

from __future__ import annotations

import contextlib
import importlib.util
import random
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from millstream.sources.kafka_settings import kafka_client

_START_S = 60.0


def kafka_missing() -> str | None:
    """Return why there can be no broker here; None where there can."""
    for module in ("confluent_kafka", "noida_db"):
        if importlib.util.find_spec(module) is None:
            return f"needs the package {module}"
    return None


needs_kafka = pytest.mark.skipif(kafka_missing() is not None, reason=str(kafka_missing()))


class KafkaBroker:
    """One broker on a port of this machine; its data stay in its folder when it is stopped and started again."""

    def __init__(self, folder: Path) -> None:
        spec = importlib.util.find_spec("noida_db")
        assert spec is not None
        assert spec.origin is not None
        self._program = Path(spec.origin).parent / "noida-db"
        self._folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def servers(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"kafka://{self.servers}"

    def start(self) -> None:
        self._process = subprocess.Popen(
            [str(self._program), "start", "--only", "kafka", "--kafka-port", str(self.port), "--data-dir", "data"],
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        await_port(self.port, self._process)

    def stop(self) -> None:
        """Stop it in good order, so that it keeps what it has."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(_START_S)
            self._process = None

    def make(self, topic: str, partitions: int = 1) -> None:
        admin = self._admin()
        # By the messages' own times, which tests set: the usual week of retention would delete them at once.
        kept = {"retention.ms": "-1"}
        new = importlib.import_module("confluent_kafka.admin").NewTopic(topic, partitions, 1, config=kept)
        for made in admin.create_topics([new]).values():
            made.result(_START_S)

    def widen(self, topic: str, partitions: int) -> None:
        new = importlib.import_module("confluent_kafka.admin").NewPartitions(topic, partitions)
        admin = self._admin()
        for made in admin.create_partitions([new]).values():
            made.result(_START_S)

    def delete(self, topic: str) -> None:
        admin = self._admin()
        for gone in admin.delete_topics([topic]).values():
            gone.result(_START_S)

    def trim(self, topic: str, partition: int, before: int) -> None:
        """Delete what is before an offset, as retention does."""
        place = kafka_client().TopicPartition(topic, partition, before)
        admin = self._admin()
        for gone in admin.delete_records([place]).values():
            gone.result(_START_S)

    def send(self, topic: str, values: Sequence[bytes | None], **message: Any) -> None:
        """Produce messages; `message` is what `Producer.produce` takes beside the value."""
        producer = kafka_client().Producer({"bootstrap.servers": self.servers, "linger.ms": 5})
        for value in values:
            while True:
                try:
                    producer.produce(topic, value, **message)
                    break
                except BufferError:
                    producer.poll(0.1)
        assert producer.flush(_START_S) == 0

    def read(self, topic: str, settings: Mapping[str, Any] | None = None) -> list[Any]:
        """Return all messages of finished transactions, by partition and offset."""
        client = kafka_client()
        consumer = client.Consumer(
            {
                "bootstrap.servers": self.servers,
                "group.id": "test",
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 10,
                **(settings or {}),
            }
        )
        partitions = consumer.list_topics(topic, timeout=_START_S).topics[topic].partitions
        consumer.assign([client.TopicPartition(topic, number, 0) for number in partitions])
        found: list[Any] = []
        ended: set[int] = set()
        until = time.monotonic() + _START_S
        while len(ended) < len(partitions) and time.monotonic() < until:
            for one in consumer.consume(1000, 0.05):
                if one.error() is None:
                    found.append(one)
                elif one.error().code() == client.KafkaError._PARTITION_EOF:
                    ended.add(one.partition())
        consumer.close()
        assert len(ended) == len(partitions)
        return sorted(found, key=lambda one: (one.partition(), one.offset()))

    def _admin(self) -> Any:
        """Return a client for what only administrators do; it has to outlive its answers."""
        return importlib.import_module("confluent_kafka.admin").AdminClient({"bootstrap.servers": self.servers})


def free_port() -> int:
    """Return a port that nothing listens on, and that no system gives away: it stays free while its server is away.

    One of those that systems give to connections could be taken meanwhile, even by the connection to it.
    """
    while True:
        port = random.SystemRandom().randrange(10_000, 32_768)
        with contextlib.suppress(OSError), socket.socket() as found:
            found.bind(("127.0.0.1", port))
            return port


def await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until a server listens."""
    until = time.monotonic() + _START_S
    while time.monotonic() < until:
        assert process.poll() is None, f"it ended with {process.returncode}"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise AssertionError(f"nothing listens on port {port}")
