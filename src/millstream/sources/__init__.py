"""Where bytes come from.

General layout:
    source      what a source is: Line, Reading, the Source protocol
    system      follow_system: events of sources, parsed and written to a topic; handling: what may be done between
    writer      values into a topic together with the positions they were read at: each once
    standing    how far sources are read, by their stored positions
    listening   how the sources of this process fare; troubles: what one cannot read now; spare: those nobody named;
                listener_signs: told to other processes; listener_info: what they see

    files       text files of given paths and patterns; followed: which are open; patterns: which are meant;
                looks: when they are looked at
    tail        one text file: partial lines, rotation, truncation; log_file, compressed: what it reads;
                rotation: which names it is renamed to; lineage: which of them is the one that was read;
                last_change: of an old file without years; utf16: text of Windows
    sampled     the parser of a format that a user names, or `auto`;
                heads: what a file says of its lines in front of them; file_dates: by its last change
    line_split  bytes cut into lines; event_split, multiline: into events of several lines; traces: of which languages;
                containers: the same, inside of a runtime's own lines;
                record_split: what is a record of its own; batches: in lines of many; xml_events: in XML of Windows
    process, stdin  what programs print; stream_lines: bytes of a pipe
    log_directory   which files /var/log has

    journal     the systemd journal, through journalctl; journal_export: its export format
    linux       what else a Linux system has:
    logins      wtmp, btmp, utmp: login_records (their bytes), login_file, login_snapshot;
                login_databases: wtmpdb, lastlog2, last_logins: lastlog
    devices     what is plugged in and out: uevents (messages of udev and the kernel), usb (what is there now)
    audit       the log of auditd, its records joined to events
    windows     the Windows event log, live: windows_api (what is asked for), windows_wevtapi (of whom)
    evtx        its files: evtx_file (chunks and records), evtx_lines (a whole one as lines)
    macos       the unified log, live: macos_log (one run of `log`); macos_array: a file of it

    syslog_server  syslog over UDP, TCP, TLS; syslog_frames: its messages told apart
    otlp_server OpenTelemetry logs over HTTP; otlp_site, otlp_answers: what it answers; otlp_batch: bodies as lines;
                otlp_inbox: what waits for the log, and what may come again
    messages    what a broker's messages are, and a source of them; broker_lines: as lines of `millstream logs`
    kafka       a topic of Kafka; kafka_settings: how it is reached
    nats        NATS: nats_stream (JetStream), nats_subject (plain subjects), nats_connection
"""

from __future__ import annotations

from millstream.sources.kafka import KafkaMessages, kafka
from millstream.sources.messages import Message, MessageSource
from millstream.sources.nats import NatsMessages, nats

__all__ = ["KafkaMessages", "Message", "MessageSource", "NatsMessages", "kafka", "nats"]
