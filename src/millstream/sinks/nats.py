"""The sink that publishes to a stream of NATS JetStream."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from millstream.errors import SinkError, UsageError
from millstream.sinks.noted import NotedWriter, OutsideRow, RowsNote
from millstream.sinks.protocol import PATIENCE, Guarantee, Patience, Sink, SinkPlace, SinkWriter
from millstream.sources.nats_connection import NatsConnection, check_subject, nats_servers

ANSWER_S: Final = 30.0
"""For the server to store the rows of one micro-batch."""
PENDING_MAX: Final = 1000
"""Messages on their way at the same time."""
MESSAGE_BYTES_MAX: Final = 1024 * 1024
"""What servers take unless they are told otherwise; the connected one says its own."""


@dataclass(frozen=True)
class NatsSink(Sink):
    """See `nats`."""

    servers: tuple[str, ...]
    subject: str
    settings: tuple[tuple[str, Any], ...] = field(repr=False)
    patience: Patience = PATIENCE

    @property
    def guarantee(self) -> Guarantee:
        return Guarantee.AT_LEAST_ONCE

    def __str__(self) -> str:
        return f"{','.join(self.servers)} subject {self.subject}"

    def open(self, place: SinkPlace, stored: bytes | None) -> SinkWriter:
        return _NatsWriter(self, place, stored)


class _NatsWriter(NotedWriter):
    """Sends the rows of the note, each under an identifier that is the same whenever it is sent."""

    def __init__(self, sink: NatsSink, place: SinkPlace, stored: bytes | None) -> None:
        super().__init__(stored)
        self._sink = sink
        self._name = f"{place.name}-{place.incarnation}"
        self._connection: NatsConnection | None = None
        try:
            self.recover()
        except BaseException:
            self.close()
            raise

    @property
    def key_field(self) -> str | None:
        return None

    def check(self, row: OutsideRow) -> None:
        limit = MESSAGE_BYTES_MAX if self._connection is None else self._connection.client.max_payload
        if len(row.value) > limit:
            raise UsageError(f"{self._sink}: a row is {len(row.value):,} bytes, the server takes {limit:,} at most")

    def send(self, note: RowsNote) -> None:
        if self._connection is not None and not self._connection.connected:
            self.close()  # an answer would be waited for in vain; a new connection says at once what is the matter
        try:
            connection = self._connection = self._connection or NatsConnection(
                list(self._sink.servers), dict(self._sink.settings)
            )
            connection.call(self._publish(connection.client, note), ANSWER_S)
        except (UsageError, SinkError):
            raise
        except Exception as error:
            said = self._connection and self._connection.complaint
            self.close()
            raise SinkError(
                f"{self._sink}: {said or type(error).__name__}: {error}".removesuffix(": ")
                + ("; is there a stream with this subject?" if "NoStream" in type(error).__name__ else "")
            ) from error

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    async def _publish(self, client: Any, note: RowsNote) -> None:
        import asyncio

        jetstream = client.jetstream(publish_async_max_pending=PENDING_MAX)
        answers = [
            await jetstream.publish_async(
                self._sink.subject,
                row.value,
                wait_stall=ANSWER_S,
                headers={"Nats-Msg-Id": f"{self._name}-{note.number}-{place}"},
            )
            for place, row in enumerate(note.rows)
        ]
        await asyncio.gather(*answers)


def nats(
    url: str, subject: str, *, settings: Mapping[str, Any] | None = None, patience: Patience = PATIENCE
) -> NatsSink:
    """Publish each result as a message of JSON to a stream of JetStream: at least once.

    Each message has an identifier (`Nats-Msg-Id`) that is the same after a crash, and the server leaves out what it has
    seen within the stream's duplicate window (2 minutes, unless the stream has another): where the program is back
    within that time, each result is there once.

    Args:
        url: Servers, such as `nats://127.0.0.1:4222`.
        subject: That a stream takes.
        settings: Of `nats.connect`; see docs for those of the environment.

    Raises:
        UsageError: It is no address or no subject, or the address has a password in it.
    """
    what = "sinks.nats(...)"
    servers = nats_servers(url, what)
    check_subject(subject, what, wild=False)
    return NatsSink(tuple(servers), subject, tuple(sorted((settings or {}).items())), patience)
