"""Where bytes come from.

General layout:
    source      what a source is: Line, Reading, the Source protocol
    journal     the systemd journal, through journalctl
    tail        one text file: partial lines, rotation, truncation; rotation: which file was renamed to which
    files       the text files of /var/log, watched
    logins      wtmp, btmp, utmp: login_records (their bytes), login_file, login_snapshot;
                login_databases: wtmpdb, lastlog2, last_logins: lastlog
    devices     what is plugged in and out: uevents (messages of udev and the kernel), usb (what is there now)
    audit       the log of auditd, its records joined to events
    linux       which of these this machine has; looks: when files should be looked at
    syslog_server  syslog over UDP, TCP, TLS; syslog_frames: its messages told apart
    otlp_server OpenTelemetry logs over HTTP; otlp_site: its answers; otlp_batch: bodies as lines; otlp_inbox: what
                waits for the log, and what may come again
    writer      values into a topic together with the positions they were read at: each once
    system      follow_system: this machine's event log, parsed and written to a topic
    messages    what a broker's messages are, and a source of them; kafka, nats: two of these
"""

from __future__ import annotations

from millstream.sources.kafka import KafkaMessages, kafka
from millstream.sources.messages import Message, MessageSource
from millstream.sources.nats import NatsMessages, nats

__all__ = ["KafkaMessages", "Message", "MessageSource", "NatsMessages", "kafka", "nats"]
