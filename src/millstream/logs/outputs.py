"""Where events and alerts may go: one Struct for each kind of `[[output]]`.

    [[output]]
    name = "archive"
    kind = "files"
    folder = "archive"
    format = "parquet"
    every = "day"

Each output is a stream of its own, called as the output is: it has its own position, so one that is slow or away holds
up no other, and goes on where it was.

A new kind is a Struct here with a `tag`, its name in `Output`, and its part of docs/logs-outputs.md.
"""

from __future__ import annotations

import re
import ssl
from typing import Final, Literal

import msgspec

from millstream import sinks
from millstream.errors import UsageError
from millstream.logs.alert import Alert
from millstream.parsers.log_event import LogEvent
from millstream.sinks.command_words import Words
from millstream.sinks.files.folders import Every
from millstream.sinks.files.formats import FormatName
from millstream.sinks.files.sink import AGE, BYTES_MAX
from millstream.sinks.protocol import Sink

NAME_RULE: Final = r"^[a-z0-9][a-z0-9-]{0,63}$"


class OutputTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What all kinds share. The fields of a kind are its keys in the file."""

    name: str
    """Its position is kept under it: keep it when you change the rest."""
    of: Literal["events", "alerts"] = "events"
    where: str | None = None
    """A condition on events, or on alerts; None: all."""
    begin: Literal["start", "end"] = "start"
    """Of a new output: with all that the log has, or with what comes from now on."""

    def sink(self) -> Sink | str:
        """Return where it goes: a sink, or the name of a topic.

        Raises:
            UsageError: A key has a value that cannot be meant; says which, and what to give.
        """
        raise NotImplementedError

    def check(self) -> None:
        """Look at what does not show in types.

        Raises:
            UsageError: As `sink`.
        """
        if re.match(NAME_RULE, self.name) is None:
            raise UsageError(f"name is {self.name!r}; a name has small letters, digits and dashes, such as archive")
        self.sink()


class FilesOutput(OutputTable, frozen=True, kw_only=True, tag="files"):
    """Files in a folder: exactly once."""

    folder: str
    format: FormatName = "ndjson"
    by: list[str] = []
    """Fields that become folders."""
    every: Every | None = None
    """Folders by event time."""
    size: int = BYTES_MAX
    age: str = AGE

    def sink(self) -> Sink:
        return sinks.files(self.folder, self.format, by=self.by, every=self.every, size=self.size, age=self.age)


class TableOutput(OutputTable, frozen=True, kw_only=True, tag="table"):
    """A table of SQLite or PostgreSQL: exactly once; with a key, the last row of each."""

    url: str
    table: str
    key: list[str] = []

    def sink(self) -> Sink:
        return sinks.sql(self.url, self.table, key=self.key)


class WebhookOutput(OutputTable, frozen=True, kw_only=True, tag="webhook"):
    """Posts of JSON: at least once."""

    url: str
    body: Literal["array", "lines"] = "array"
    """An array of rows, or a line for each."""
    secret: str | None = None
    signature: Literal["github", "stripe"] = "github"
    headers: dict[str, str] = {}
    rows: int = 500
    timeout: str = "30s"

    def sink(self) -> Sink:
        return sinks.webhook(
            self.url,
            secret=self.secret,
            signature=self.signature,
            headers=self.headers,
            rows=self.rows,
            timeout=self.timeout,
            body=self.body,
        )


class CommandOutput(OutputTable, frozen=True, kw_only=True, tag="command"):
    """A program that reads lines of JSON: at least once."""

    command: list[str]
    timeout: str = "1m"
    each: bool = False
    """Run it for each, with `{by.source_ip}` and the like as arguments."""

    def sink(self) -> Sink:
        return sinks.command(self.command, timeout=self.timeout, each=self.each)

    def check(self) -> None:
        super().check()
        fields = (LogEvent if self.of == "events" else Alert).__struct_fields__
        for name in Words(self.command).names if self.each else ():
            if name.partition(".")[0] not in fields:
                raise UsageError(f"command: {self.of} have no {{{name}}}; they have {', '.join(fields)}")


class KafkaOutput(OutputTable, frozen=True, kw_only=True, tag="kafka"):
    """Messages of a topic of Kafka: exactly once, or at least once without its transactions."""

    url: str
    """Servers and topic: `kafka://HOST:PORT/TOPIC`."""
    key: str | None = None
    """A field; None: no key."""
    transactions: bool = True
    settings: dict[str, str] = {}

    def sink(self) -> Sink:
        return sinks.kafka(self.url, key=self.key, transactions=self.transactions, settings=self.settings)


class NatsOutput(OutputTable, frozen=True, kw_only=True, tag="nats"):
    """Messages of a stream of NATS JetStream: at least once, and once within its duplicate window."""

    url: str
    subject: str
    settings: dict[str, str] = {}

    def sink(self) -> Sink:
        return sinks.nats(self.url, self.subject, settings=self.settings)


class OtlpOutput(OutputTable, frozen=True, kw_only=True, tag="otlp"):
    """OpenTelemetry logs, over OTLP/HTTP: at least once."""

    url: str
    headers: dict[str, str] = {}
    rows: int = 1000
    timeout: str = "30s"

    def sink(self) -> Sink:
        return sinks.otlp(self.url, headers=self.headers, rows=self.rows, timeout=self.timeout)


class SyslogOutput(OutputTable, frozen=True, kw_only=True, tag="syslog"):
    """Messages of syslog: at least once, as far as syslog can know."""

    url: str
    framing: Literal["octets", "lines"] = "octets"
    facility: str = "user"
    timeout: str = "30s"
    authorities: str | None = None
    """Of TLS: a file with those that the receiver's certificate may be from; None: the system's."""

    def sink(self) -> Sink:
        return sinks.syslog(
            self.url,
            framing=self.framing,
            facility=self.facility,
            timeout=self.timeout,
            context=client_context(self.authorities),
        )


class MailOutput(OutputTable, frozen=True, kw_only=True, tag="mail"):
    """Mails, one for many rows: at least once."""

    url: str
    to: list[str]
    sender: str | None = None
    subject: str = "[{name}] {message}"
    every: str = "5m"
    rows: int = 50
    user: str | None = None
    password: str | None = None
    timeout: str = "30s"
    authorities: str | None = None
    """As that of syslog."""

    def sink(self) -> Sink:
        return sinks.mail(
            self.url,
            to=self.to,
            sender=self.sender,
            subject=self.subject,
            every=self.every,
            rows=self.rows,
            user=self.user,
            password=self.password,
            timeout=self.timeout,
            context=client_context(self.authorities),
        )


class StdoutOutput(OutputTable, frozen=True, kw_only=True, tag="stdout"):
    """Lines of JSON on standard output: at least once."""

    def sink(self) -> Sink:
        return sinks.stdout()


class TopicOutput(OutputTable, frozen=True, kw_only=True, tag="topic"):
    """Another topic of the same log: exactly once."""

    topic: str

    def sink(self) -> str:
        return self.topic


def client_context(authorities: str | None) -> ssl.SSLContext | None:
    """Return what speaks TLS and trusts the authorities of a file; None where that is the system's.

    Raises:
        UsageError: The file cannot be used.
    """
    if authorities is None:
        return None
    try:
        return ssl.create_default_context(cafile=authorities)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"authorities is {authorities!r}, which cannot be used: {error}") from error


Output = (
    FilesOutput
    | TableOutput
    | WebhookOutput
    | CommandOutput
    | StdoutOutput
    | TopicOutput
    | KafkaOutput
    | NatsOutput
    | OtlpOutput
    | SyslogOutput
    | MailOutput
)
