"""Where results leave the log: `s.to(sinks.files("out", "parquet"))`.

General layout:

    protocol.py     Sink, SinkWriter: what a sink is, what it may promise, and why that holds
    rows.py         Rows: what a sink gets; texts.py: as lines of JSON and cells of CSV
    outlet.py       Outlet: calls a sink, again where it fails, and keeps its note with the stream's state
    files/          files in a folder: exactly once
    sql/            a table of SQLite or PostgreSQL: idempotent with a key, exactly once without
    command.py      a program that reads lines of JSON: at least once; command_words.py: values as its arguments
    kafka.py        messages of a topic of Kafka: exactly once with its transactions; kafka_writer.py: at work
    nats.py         messages of a stream of NATS: once within the server's window, at least once beyond
    noted.py        rows that the log keeps until they are outside; what these two stand on
    function.py     a function of frames: at least once
    webhook.py      posts to an address: at least once; posting.py: how sinks of HTTP post
    mail.py         one mail for many rows: at least once; mail_digest.py: what it says
    otlp.py         OpenTelemetry logs: at least once; otlp_records.py: rows as records
    syslog.py       syslog messages: at least once; syslog_message.py: rows as messages
    stdout.py       lines of JSON to standard output: at least once
"""

from __future__ import annotations

from millstream.sinks.command import command
from millstream.sinks.files import files
from millstream.sinks.function import function
from millstream.sinks.kafka import kafka
from millstream.sinks.mail import mail
from millstream.sinks.nats import nats
from millstream.sinks.otlp import otlp
from millstream.sinks.protocol import Guarantee, Patience, Sink, SinkPlace, SinkWriter
from millstream.sinks.rows import Rows
from millstream.sinks.sql import sql
from millstream.sinks.stdout import stdout
from millstream.sinks.syslog import syslog
from millstream.sinks.webhook import webhook

__all__ = [
    "Guarantee",
    "Patience",
    "Rows",
    "Sink",
    "SinkPlace",
    "SinkWriter",
    "command",
    "files",
    "function",
    "kafka",
    "mail",
    "nats",
    "otlp",
    "sql",
    "stdout",
    "syslog",
    "webhook",
]
