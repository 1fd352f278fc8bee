"""What others send, and brokers keep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import msgspec

from millstream.errors import UsageError
from millstream.logs.listeners.table import ListenerTable, address_of, server_context
from millstream.sources.broker_lines import BrokerLines
from millstream.sources.kafka import kafka
from millstream.sources.messages import start_of
from millstream.sources.nats import nats
from millstream.sources.otlp_server import OtlpServer
from millstream.sources.source import Source
from millstream.sources.syslog_server import SyslogServer


class SyslogListener(ListenerTable, frozen=True, kw_only=True, tag="syslog"):
    """Syslog from the network; addresses are `PORT` or `HOST:PORT`."""

    waits: ClassVar[bool] = True

    udp: str | None = None
    tcp: str | None = None
    tls: str | None = None
    certificate: str | None = None
    """File with the server's certificate and those that lead to its authority, in PEM."""
    key: str | None = None
    """File with its private key; None: the certificate's file has it."""
    clients: str | None = None
    """File with the authorities of clients: only those with a certificate of theirs may send over TLS."""

    def check(self) -> None:
        if not self._places():
            raise UsageError('give udp, tcp or tls: where to listen, such as udp = "0.0.0.0:514"')
        if (self.tls is None) != (self.certificate is None):
            raise UsageError("tls and certificate go together: give both, or none")
        if self.tls is None and (self.key or self.clients):
            raise UsageError("key and clients are for tls: give that too, or leave them out")

    def open(self, *, follow: bool = True) -> Sequence[Source]:
        return [SyslogServer(**self._places(), tls_context=server_context(self.certificate, self.key, self.clients))]

    def _places(self) -> dict[str, tuple[str, int]]:
        given = {name: getattr(self, name) for name in ("udp", "tcp", "tls")}
        return {name: address_of(text, name) for name, text in given.items() if text is not None}


class OtlpListener(ListenerTable, frozen=True, kw_only=True, tag="otlp"):
    """OpenTelemetry logs from the network: OTLP/HTTP."""

    waits: ClassVar[bool] = True

    listen: str = "4318"
    """`PORT` or `HOST:PORT`."""
    token: str | None = None
    """What senders send as `Authorization: Bearer ...`; needed where other machines reach it."""
    certificate: str | None = None
    """As those of syslog: with one, HTTPS is spoken."""
    key: str | None = None
    clients: str | None = None

    def check(self) -> None:
        host, _ = address_of(self.listen, "listen")
        from millstream.serving.access import Access, is_loopback

        if self.token is None and not is_loopback(host):
            raise UsageError(
                f"listen is {self.listen!r}, which other machines reach; give a token too, such as "
                'token = "${OTLP_TOKEN}" in [[source]] of a file for --config'
            )
        Access.on(host, self.token)
        if self.certificate is None and (self.key or self.clients):
            raise UsageError("key and clients go with certificate: give that too")

    def open(self, *, follow: bool = True) -> Sequence[Source]:
        self.check()
        context = server_context(self.certificate, self.key, self.clients)
        return [OtlpServer(*address_of(self.listen, "listen"), token=self.token, tls_context=context)]


class KafkaListener(ListenerTable, frozen=True, kw_only=True, tag="kafka"):
    """A topic of Kafka whose messages are lines."""

    url: str
    """Servers and topic: `kafka://HOST:PORT/TOPIC`."""
    start: str = "earliest"
    format: str = "auto"
    name: str | None = None
    settings: dict[str, str] = msgspec.field(default_factory=dict)

    def check(self) -> None:
        self._source()

    def open(self, *, follow: bool = True) -> Sequence[Source]:
        return [self._source(follow=follow)]

    def _source(self, *, follow: bool = True) -> Source:
        source = kafka(self.url, start=start_of(self.start), name=self.name, settings=self.settings)
        return BrokerLines(source, format=self.format, follow=follow)


class NatsListener(ListenerTable, frozen=True, kw_only=True, tag="nats"):
    """A stream of NATS JetStream, or plain subjects, whose messages are lines."""

    url: str
    stream: str | None = None
    subject: str | None = None
    start: str = "earliest"
    format: str = "auto"
    name: str | None = None
    settings: dict[str, str] = msgspec.field(default_factory=dict)

    def check(self) -> None:
        self._source()

    def open(self, *, follow: bool = True) -> Sequence[Source]:
        if not follow and self.stream is None:
            raise UsageError("subjects without a stream keep nothing that could be read; leave out --no-follow")
        return [self._source(follow=follow)]

    def _source(self, *, follow: bool = True) -> Source:
        source = nats(
            self.url,
            stream=self.stream,
            subject=self.subject,
            start=start_of(self.start),
            name=self.name,
            settings=self.settings,
        )
        return BrokerLines(source, format=self.format, follow=follow)
