"""Subjects of NATS as a source: a stream of JetStream from a sequence of our own, or plain subjects as they come.

A stream is read by a consumer without a name that the server forgets by itself: where it stands is not asked, the
sequence of the last stored message is kept in the log. Numbers that the server gives to what it delivers show whether
something got lost on the way after a broken connection; then reading begins anew behind what was received.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from millstream.errors import UsageError
from millstream.records import check_name
from millstream.sources.messages import Messages, MessageStart, check_start
from millstream.sources.nats_connection import check_stream, check_subject, nats_servers
from millstream.sources.source import Note

LOOK_S: Final = 10.0
"""How long a stream that is missing is waited for, and how often one that is quiet is looked at."""


def nats(
    url: str,
    *,
    stream: str | None = None,
    subject: str | None = None,
    start: MessageStart = "earliest",
    name: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> NatsMessages:
    """Read a stream of JetStream, exactly once; or plain subjects, at most once.

    app.source(nats("nats://127.0.0.1:4222", stream="ORDERS"), into=orders)

    Args:
        url: Servers, such as `nats://a:4222,b:4222`.
        stream: Of JetStream: each of its messages is stored once, from its first one on. None: what is published to
            `subject` while somebody listens; it is lost where nobody does.
        subject: Only what has this subject; `*` stands for one word, `>` at the end for the rest.
        start: Where a stream without a position begins, at the very first start.
        name: What the position is kept under. None: the stream's name, or made of the subject.
        settings: Of `nats.connect`; see docs for those of the environment.

    Raises:
        UsageError: It is no address, stream or subject, or the address has a password in it.
    """
    what = "nats(...)"
    servers = nats_servers(url, what)
    if stream is None and subject is None:
        raise UsageError(f"{what}: give stream=, of JetStream, or subject=, for what is published while we listen")
    if stream is not None:
        check_stream(stream, what)
    if subject is not None:
        check_subject(subject, what, wild=True)
    check_start(start, what)
    if stream is None and start != "earliest":
        raise UsageError(f"{what}: start is for a stream; of a plain subject there is only what comes from now on")
    given = check_name("source", name) if name is not None else _name_of(stream or subject or "")
    return NatsMessages(tuple(servers), stream, subject, start, given, tuple(sorted((settings or {}).items())))


@dataclass(frozen=True)
class NatsMessages:
    """See `nats`; a `MessageSource`."""

    servers: tuple[str, ...]
    stream: str | None
    subject: str | None
    start: MessageStart
    name: str
    settings: tuple[tuple[str, Any], ...] = field(repr=False)
    broker: str = "nats"
    look_s: float = LOOK_S

    def __str__(self) -> str:
        of = [f"stream {self.stream}"] * (self.stream is not None) + [f"subject {self.subject}"] * bool(self.subject)
        return f"{','.join(self.servers)} {', '.join(of)}"

    def messages(
        self, positions: Mapping[bytes, bytes], stop: threading.Event, note: Note, *, follow: bool = True
    ) -> Generator[Messages, None, None]:
        if self.stream is None:
            from millstream.sources.nats_subject import read_subject

            return read_subject(self, stop, note, follow=follow)
        from millstream.sources.nats_stream import read_stream

        return read_stream(self, self.stream, positions, stop, note, follow=follow)


def _name_of(text: str) -> str:
    """Return a name that the log can have, from that of a stream or subject: `orders.*` is `orders.any`."""
    spelled = text.replace("*", "any").replace(">", "all")
    return re.sub(r"[^A-Za-z0-9._]+", "-", spelled).strip("-.") or "nats"
