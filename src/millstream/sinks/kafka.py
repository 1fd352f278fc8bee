"""The sink that produces to a topic of Kafka: exactly once with transactions, at least once without."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from millstream.errors import UsageError
from millstream.sinks.protocol import PATIENCE, Guarantee, Patience, Sink, SinkPlace, SinkWriter
from millstream.sources.kafka_settings import check_topic, kafka_place

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class KafkaSink(Sink):
    """See `kafka`."""

    servers: str
    topic: str
    key: str | None
    transactions: bool
    settings: tuple[tuple[str, Any], ...] = field(repr=False)
    patience: Patience = PATIENCE

    @property
    def guarantee(self) -> Guarantee:
        return Guarantee.EXACTLY_ONCE if self.transactions else Guarantee.AT_LEAST_ONCE

    def __str__(self) -> str:
        return f"kafka://{self.servers}/{self.topic}"

    def check(self, schema: pl.Schema) -> None:
        if self.key is not None and schema and self.key not in schema:
            raise UsageError(f"key={self.key!r} is no field of the rows, which have {', '.join(schema)}")

    def open(self, place: SinkPlace, stored: bytes | None) -> SinkWriter:
        from millstream.sinks.kafka_writer import KafkaWriter, TransactionWriter

        return TransactionWriter(self, place, stored) if self.transactions else KafkaWriter(self)


def kafka(
    url: str,
    topic: str | None = None,
    *,
    key: str | None = None,
    transactions: bool = True,
    settings: Mapping[str, Any] | None = None,
    patience: Patience = PATIENCE,
) -> KafkaSink:
    """Produce each result as a message of JSON: exactly once, for consumers that read committed messages only.

    The rows and their number, as a committed offset of a group of the sink's own, are one transaction of Kafka. Until
    it is done the log's note holds the rows: after a crash the number says whether they arrived. The earlier run is
    fenced by the transactional id.

    Args:
        url: Servers and topic, such as `kafka://127.0.0.1:9092/totals`.
        key: A field whose value is the message's key; None: the record's key.
        transactions: False: an idempotent producer without them, at least once: for brokers or rights without them.
        settings: Of librdkafka; see docs for those of the environment.

    Raises:
        UsageError: It is no address or no topic, or the address has a password in it.
    """
    what = "sinks.kafka(...)"
    servers, named = kafka_place(url, what)
    given = topic or named
    if given is None:
        raise UsageError(f"{what}: {url!r} names no topic; give one, such as kafka://127.0.0.1:9092/totals")
    check_topic(given, what)
    return KafkaSink(servers, given, key, transactions, tuple(sorted((settings or {}).items())), patience)
