"""A stream of JetStream, read on from the sequence of the last stored message."""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Generator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from millstream.errors import SourceError, UsageError
from millstream.sources.messages import READING_S, Message, Messages, read_on
from millstream.sources.nats_connection import NatsConnection
from millstream.sources.source import Note

if TYPE_CHECKING:
    from millstream.sources.nats import NatsMessages

READING_MESSAGES: Final = 5000
"""Of one pull, and one transaction: an eighth of a second at the client's speed."""
IDLE_S: Final = 300.0
"""The server forgets the consumer of a reader that is gone after this time."""
_WAIT_S: Final = 0.5
"""A stop is noticed within this time."""


def read_stream(
    source: NatsMessages,
    stream: str,
    positions: Mapping[bytes, bytes],
    stop: threading.Event,
    note: Note,
    *,
    follow: bool,
) -> Generator[Messages, None, None]:
    """See `MessageSource.messages`."""
    reader = _Reader(source, stream, positions, note, connect(source), follow=follow)
    yield from read_on(reader, stop, follow=follow, look_s=source.look_s)


def connect(source: NatsMessages) -> NatsConnection:
    """Return a connection.

    Raises:
        SourceError: No server answers, or one refuses.
    """
    try:
        return NatsConnection(list(source.servers), dict(source.settings))
    except UsageError:
        raise
    except Exception as error:
        raise SourceError(f"{source} does not answer: {type(error).__name__}: {error}".removesuffix(": ")) from error


def away(source: NatsMessages, connection: NatsConnection) -> SourceError:
    """Return the error of a connection that broke."""
    return SourceError(f"{source} does not answer: {connection.complaint or 'the connection is closed'}")


def headers_of(message: Any) -> tuple[tuple[str, bytes | None], ...]:
    """Return the headers of a message of the client."""
    given = message.headers
    return tuple((name, str(value).encode()) for name, value in given.items()) if given else ()


class _Reader:
    """One connection, and the consumer that it reads with."""

    def __init__(
        self,
        source: NatsMessages,
        stream: str,
        positions: Mapping[bytes, bytes],
        note: Note,
        connection: NatsConnection,
        *,
        follow: bool,
    ) -> None:
        self._source = source
        self._stream = stream
        self._note = note
        self._connection = connection
        self._follow = follow
        self._errors = importlib.import_module("nats.errors")
        self._jetstream_errors = importlib.import_module("nats.js.errors")
        self._api = importlib.import_module("nats.js.api")
        self._jetstream = connection.client.jetstream()
        self._key = f"nats:{source.name}:{stream}".encode()
        self._last: int | None = None
        """The sequence of the last message."""
        self._created = ""
        if (stored := positions.get(self._key)) is not None:
            last, _, self._created = stored.decode().partition(" ")
            self._last = int(last)
        self._pull: Any = None
        self._delivered = 0
        """The number that the server gave to its last delivery to this consumer."""
        self.ended = False
        """Whether all there was is read, where no more is wanted."""

    def close(self) -> None:
        self._leave()
        self._connection.close()

    def begin(self) -> Mapping[bytes, bytes] | None:
        """Make a consumer that goes on behind the last message; None where there is no such stream (yet).

        Raises:
            SourceError: The server does not answer, or refuses.
        """
        self._leave()
        try:
            info = self._call(self._jetstream.stream_info(self._stream))
        except self._jetstream_errors.NotFoundError:
            self._note(f"{self._source}: there is no such stream; it is read once it is made")
            return None
        self._check(info)
        config = self._api.ConsumerConfig(
            ack_policy=self._api.AckPolicy.NONE,
            mem_storage=True,
            num_replicas=1,
            inactive_threshold=IDLE_S,
            **self._start(info),
        )
        subject = self._source.subject or ">"
        self._pull = self._call(self._jetstream.pull_subscribe(subject, stream=self._stream, config=config))
        self._delivered = 0
        return {} if self._last is None else self._positions()

    def read(self, stop: threading.Event) -> Generator[Messages, None, None]:
        """Yield messages until told to stop, the end, or until a new consumer is wanted."""
        looked = time.monotonic()
        while not stop.is_set():
            found = self._fetch()
            if found is None:
                return
            messages = self._messages(found)
            if messages:
                yield Messages(messages, self._positions())
            if len(messages) < len(found):
                return  # one is missing in between: what was behind it comes again
            if messages:
                looked = time.monotonic()
            elif not self._connection.connected:
                raise away(self._source, self._connection)
            elif not self._follow or time.monotonic() - looked > self._source.look_s:
                looked = time.monotonic()
                waiting = self._waiting()
                if waiting is None:
                    return
                if not self._follow and not waiting:
                    self.ended = True
                    return

    def _fetch(self) -> list[Any] | None:
        """Return what is there, or comes within a moment; None where the consumer is gone."""
        try:
            found = self._connection.call(self._pulled())
        except (TimeoutError, self._errors.TimeoutError):
            return []
        except (self._errors.Error, OSError) as error:
            if not self._connection.connected:
                raise away(self._source, self._connection) from error
            return None
        return found

    async def _pulled(self) -> list[Any]:
        found: list[Any] = await self._pull.fetch(1, timeout=_WAIT_S)
        try:
            found += await self._pull.fetch(READING_MESSAGES - 1, timeout=READING_S)
        except self._errors.TimeoutError:
            pass
        return found

    def _messages(self, found: list[Any]) -> list[Message]:
        """Return messages in their order, up to one that is missing."""
        messages: list[Message] = []
        for one in found:
            # $JS.ACK.<stream>.<consumer>.<attempt>.<sequence>.<delivery>.<time>.<pending>, or with domain and account
            # behind ACK and a token at the end.
            parts = one.reply.split(".")
            sequence, delivery, time_ns = parts[5:8] if len(parts) == 9 else parts[7:10]
            if int(delivery) != self._delivered + 1:
                break
            self._delivered += 1
            self._told_gap(int(sequence))
            self._last = int(sequence)
            messages.append(
                Message(one.data, None, headers_of(one), int(time_ns) // 1000, one.subject, offset=self._last)
            )
        return messages

    def _told_gap(self, sequence: int) -> None:
        """Tell of messages that are not there, where all of the stream is read."""
        last = self._last
        if last is not None and sequence > last + 1 and self._source.subject in (None, ">"):
            self._note(
                f"{self._source}: {sequence - last - 1:,} messages are not there, sequences {last + 1} to "
                f"{sequence - 1}: limits of the stream, or somebody, deleted them before they were read"
            )

    def _check(self, info: Any) -> None:
        """Compare a position with the stream as it is."""
        created = info.created.isoformat() if isinstance(info.created, datetime) else str(info.created)
        last = self._last
        if last is not None and (created != self._created or last > info.state.last_seq):
            self._note(f"{self._source}: the stream was made anew, and is read from its start")
            self._last = info.state.first_seq - 1
        elif last is not None and info.state.first_seq > last + 1 and self._source.subject not in (None, ">"):
            self._note(
                f"{self._source}: up to {info.state.first_seq - last - 1:,} messages were deleted before they were "
                f"read, sequences {last + 1} to {info.state.first_seq - 1} of all subjects"
            )
        self._created = created

    def _start(self, info: Any) -> dict[str, Any]:
        """Return where the consumer begins, as settings of it."""
        policy = self._api.DeliverPolicy
        if self._last is None and self._source.start == "latest":
            self._last = info.state.last_seq
        if self._last is not None:
            return {"deliver_policy": policy.BY_START_SEQUENCE, "opt_start_seq": max(self._last + 1, 1)}
        if isinstance(self._source.start, datetime):
            since = self._source.start.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            return {"deliver_policy": policy.BY_START_TIME, "opt_start_time": since}
        return {"deliver_policy": policy.ALL}

    def _waiting(self) -> int | None:
        """Return how many messages wait for the consumer; None where it is gone."""
        try:
            waiting: int = self._call(self._pull.consumer_info()).num_pending
        except self._jetstream_errors.NotFoundError:
            return None
        return waiting

    def _leave(self) -> None:
        """Let go of the consumer; a server that does not answer forgets it by itself."""
        if self._pull is None:
            return
        pull, self._pull = self._pull, None
        try:
            name = self._connection.call(pull.consumer_info(), _WAIT_S).name
            self._connection.call(self._jetstream.delete_consumer(self._stream, name), _WAIT_S)
            self._connection.call(pull.unsubscribe(), _WAIT_S)
        except (TimeoutError, OSError, self._errors.Error):
            pass

    def _positions(self) -> dict[bytes, bytes]:
        return {self._key: f"{self._last} {self._created}".encode()}

    def _call(self, work: Any) -> Any:
        """Ask the server.

        Raises:
            NotFoundError: Of the client: there is no such thing.
            SourceError: It does not answer, or refuses.
        """
        try:
            return self._connection.call(work)
        except self._jetstream_errors.NotFoundError:
            raise
        except (TimeoutError, OSError, self._errors.Error) as error:
            said = self._connection.complaint or f"{type(error).__name__}: {error}".removesuffix(": ")
            raise SourceError(f"{self._source} does not answer: {said}") from error
