"""A producer at work for a sink."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from millstream.errors import SinkError, UsageError
from millstream.sinks.noted import NotedWriter, OutsideRow, RowsNote, outside_rows
from millstream.sinks.protocol import SinkPlace, SinkWriter
from millstream.sinks.rows import Rows
from millstream.sources.kafka_settings import kafka_client, kafka_settings, without_secrets

if TYPE_CHECKING:
    from millstream.sinks.kafka import KafkaSink

ANSWER_S: Final = 15.0
"""For the broker to take rows, and to finish a transaction."""
TRANSACTION_MS: Final = 20_000
"""For the rows of one micro-batch: how long the client waits for a coordinator that is away, whatever it is told."""
MESSAGE_BYTES_MAX: Final = 1_000_000
"""The client's own limit, unless `message.max.bytes` is another."""
_OVERHEAD_BYTES: Final = 512
"""What a message takes beside key and value, generously."""

_OURS: Final = {
    "client.id": "millstream",
    "linger.ms": 5,
    "partitioner": "murmur2_random",  # that of Kafka's own client: a key goes where others send it
    "reconnect.backoff.max.ms": 5000,
    "compression.type": "lz4",
    "transaction.timeout.ms": TRANSACTION_MS,
    "log_level": 2,  # what it says of connections comes as errors too
}

_PRODUCING: Final = frozenset(
    ("linger.ms", "partitioner", "compression.type", "transaction.timeout.ms", "message.max.bytes", "acks", "retries")
)
"""Settings that a consumer does not know."""

_log = logging.getLogger("millstream.kafka")


class _Client:
    """One producer."""

    def __init__(self, sink: KafkaSink, ours: dict[str, Any]) -> None:
        self._module = kafka_client()
        self._sink = sink
        self.settings = {**kafka_settings(dict(sink.settings), _OURS), "bootstrap.servers": sink.servers}
        self._failed: Any = None
        try:
            self.producer = self._module.Producer({**self.settings, **ours}, logger=_log)
        except self._module.KafkaException as error:
            raise UsageError(f"{sink}: {self.said(error)}") from None

    def produce(self, rows: Sequence[OutsideRow]) -> None:
        """Hand rows to the client, which sends them in their order."""
        self._failed = None
        for row in rows:
            while True:
                try:
                    self.producer.produce(
                        self._sink.topic,
                        row.value,
                        row.key,
                        timestamp=0 if row.time_us is None else row.time_us // 1000,
                        on_delivery=self._delivered,
                    )
                    break
                except BufferError:  # its buffer is full; what is sent makes room
                    self.producer.poll(0.1)
            self.producer.poll(0)

    def flush(self) -> None:
        """Wait until the broker has all.

        Raises:
            SinkError: It has not.
        """
        left = self.producer.flush(ANSWER_S)
        if self._failed is not None:
            raise self.error(self._failed)
        if left:
            raise SinkError(f"{self._sink}: {left:,} rows were not taken within {ANSWER_S:g} s")

    def close(self) -> None:
        """Give up what is not sent."""
        with contextlib.suppress(self._module.KafkaException):
            self.producer.purge()

    def error(self, error: Any) -> SinkError:
        found = error.args[0] if isinstance(error, Exception) else error
        codes = self._module.KafkaError
        lasting = found.code() in (codes.MSG_SIZE_TOO_LARGE, codes.TOPIC_AUTHORIZATION_FAILED, codes.INVALID_RECORD)
        return SinkError(f"{self._sink}: {self.said(found)}", retryable=not lasting)

    def said(self, error: Any) -> str:
        found = error.args[0] if isinstance(error, Exception) and error.args else error
        return without_secrets(found.str() if hasattr(found, "str") else str(found), self.settings)

    def _delivered(self, error: Any, message: Any) -> None:
        if error is not None and self._failed is None:
            self._failed = error


class KafkaWriter(SinkWriter):
    """Without transactions: all rows are with the broker before the log commits."""

    def __init__(self, sink: KafkaSink) -> None:
        self._sink = sink
        self._limit = row_bytes_max(sink)
        self._client: _Client | None = None
        self._rows: list[OutsideRow] = []

    def write(self, rows: Rows) -> None:
        found = outside_rows(rows, self._sink.key)
        for row in found:
            check_row(self._sink, row, self._limit)
        self._rows += found

    def prepare(self) -> None:
        if not self._rows:
            return
        client = self._client = self._client or _Client(self._sink, {"enable.idempotence": True})
        try:
            client.produce(self._rows)
            client.flush()
        except SinkError:
            self.close()  # what is on its way must not come behind what is sent again
            raise
        except kafka_client().KafkaException as error:
            self.close()
            raise client.error(error) from None
        self._rows = []

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None


class TransactionWriter(NotedWriter):
    """With transactions: rows and their number arrive together, after the log has committed them as its note.

    Whoever opens the transactional id fences all others that had it, and sees the number of what they finished. So
    opening, comparing and sending is safe for whoever does it; a run that was overtaken finds its number there.
    """

    def __init__(self, sink: KafkaSink, place: SinkPlace, stored: bytes | None) -> None:
        super().__init__(stored)
        self._sink = sink
        self._limit = row_bytes_max(sink)
        self._name = f"millstream-{place.name}-{place.incarnation}"
        self._module = kafka_client()
        self._client: _Client | None = None
        self._consumer: Any = None
        try:
            self._open()
            self.recover()
        except BaseException:
            self.close()
            raise

    @property
    def key_field(self) -> str | None:
        return self._sink.key

    def check(self, row: OutsideRow) -> None:
        check_row(self._sink, row, self._limit)

    def send(self, note: RowsNote) -> None:
        try:
            if self._client is None:
                self._open()
            if self._arrived < note.number:
                self._transact(note)
        except self._module.KafkaException as error:
            failed = self._client.error(error) if self._client is not None else SinkError(f"{self._sink}: {error}")
            self.close()  # whether it was finished is found by opening it anew
            raise failed from None
        except SinkError:
            self.close()
            raise

    def close(self) -> None:
        client, self._client = self._client, None
        consumer, self._consumer = self._consumer, None
        if client is not None:
            client.close()
        if consumer is not None:
            consumer.close()

    def _open(self) -> None:
        """Take the transactional id, and find what has arrived.

        Raises:
            SinkError: The broker does not answer, or refuses.
        """
        client = self._client = _Client(self._sink, {"transactional.id": self._name, "enable.idempotence": True})
        try:
            client.producer.init_transactions(ANSWER_S)
            self._consumer = self._module.Consumer(
                {
                    **{name: value for name, value in client.settings.items() if name not in _PRODUCING},
                    "bootstrap.servers": self._sink.servers,
                    "group.id": self._name,
                    "enable.auto.commit": False,
                    "isolation.level": "read_committed",  # a number counts once its transaction is finished
                    "log_level": 2,
                },
                logger=_log,
            )
            [place] = self._consumer.committed([self._place(0)], timeout=ANSWER_S)
            if place.error is not None:
                raise client.error(place.error)
        except self._module.KafkaException as error:
            failed = client.error(error)
            self.close()
            raise failed from None
        self._arrived = max(place.offset, 0)

    def _transact(self, note: RowsNote) -> None:
        client = self._client
        assert client is not None
        client.producer.begin_transaction()
        client.produce(note.rows)
        client.producer.send_offsets_to_transaction(
            [self._place(note.number)], self._consumer.consumer_group_metadata(), ANSWER_S
        )
        client.producer.commit_transaction(ANSWER_S)
        self._arrived = note.number

    def _place(self, number: int) -> Any:
        return self._module.TopicPartition(self._sink.topic, 0, number)


def row_bytes_max(sink: KafkaSink) -> int:
    """Return how long a message may be."""
    return int(kafka_settings(dict(sink.settings), {}).get("message.max.bytes", MESSAGE_BYTES_MAX))


def check_row(sink: KafkaSink, row: OutsideRow, limit: int) -> None:
    """Raise UsageError where a message would be longer than the client takes."""
    size = len(row.value) + len(row.key or b"") + _OVERHEAD_BYTES
    if size > limit:
        raise UsageError(
            f"{sink}: a row is a message of {size:,} bytes, the client's limit is {limit:,}: give "
            "settings={'message.max.bytes': ...}, which the topic must allow too"
        )
