"""The sink that sends mails: one for many rows, and not more often than asked for."""

from __future__ import annotations

import logging
import os
import smtplib
import socket
import ssl
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from typing import Final
from urllib.parse import SplitResult, urlsplit

import msgspec

from millstream.durations import duration
from millstream.errors import SinkError, UsageError
from millstream.records import time_from_us
from millstream.serving.access import is_loopback
from millstream.sinks.mail_digest import NAMES, Digest
from millstream.sinks.protocol import PATIENCE, Guarantee, Patience, Sink, SinkPlace, SinkWriter
from millstream.sinks.rows import Rows

PORTS: Final = {"smtp": 587, "smtps": 465, "smtp+plain": 25}
ROWS_MAX: Final = 50
"""Shown in one mail: what waits for it is committed with the offsets."""
EVERY: Final = "5m"
TIMEOUT: Final = "30s"
SUBJECT: Final = "[{name}] {message}"
USER: Final = "MILLSTREAM_SMTP_USER"
PASSWORD: Final = "MILLSTREAM_SMTP_PASSWORD"
"""Of the environment."""

_log = logging.getLogger("millstream.sinks")


@dataclass(frozen=True)
class MailSink(Sink):
    """See `mail`."""

    url: SplitResult
    to: tuple[str, ...]
    sender: str
    subject: str
    every_us: int
    rows_max: int
    timeout_s: float
    login: tuple[str, str] | None = field(default=None, repr=False)
    context: ssl.SSLContext | None = field(default=None, repr=False, compare=False)
    patience: Patience = PATIENCE

    @property
    def guarantee(self) -> Guarantee:
        return Guarantee.AT_LEAST_ONCE

    def __str__(self) -> str:
        return f"mail to {', '.join(self.to)} by {self.url.scheme}://{self.url.hostname}:{self.port}"

    @property
    def port(self) -> int:
        return self.url.port or PORTS[self.url.scheme]

    def open(self, place: SinkPlace, stored: bytes | None) -> SinkWriter:
        note = Waiting() if stored is None else msgspec.msgpack.decode(stored, type=Waiting)
        return _MailWriter(self, place, note)


class Waiting(msgspec.Struct, frozen=True, array_like=True):
    """What the log keeps: rows that wait for the next mail."""

    digest: Digest = Digest()
    sent_us: int = 0
    """When the last mail was sent."""
    number: int = 0
    """Of the next mail."""


class _MailWriter(SinkWriter):
    def __init__(self, sink: MailSink, place: SinkPlace, note: Waiting) -> None:
        self._sink = sink
        self._place = place
        self._note = note
        self._finishing = False
        self.held = note.digest.count

    def write(self, rows: Rows) -> None:
        digest = self._note.digest.with_rows(rows, self._sink.rows_max)
        self._note = msgspec.structs.replace(self._note, digest=digest)

    def prepare(self) -> bytes | None:
        """Send what waits, if it is time: before the commit that forgets it."""
        now_us = self._place.clock.now_us()
        due_us = self.due_us()
        if due_us is not None and (self._finishing or now_us >= due_us):
            self._send(self._note.digest, now_us)
            self._note = Waiting(sent_us=now_us, number=self._note.number + 1)
        self._finishing = False
        self.held = self._note.digest.count
        return None if self._note == Waiting() else msgspec.msgpack.encode(self._note)

    def finish(self) -> None:
        self._finishing = True

    def due_us(self) -> int | None:
        return self._note.sent_us + self._sink.every_us if self._note.digest.count else None

    def _send(self, digest: Digest, now_us: int) -> None:
        sink = self._sink
        message = EmailMessage()
        message["From"] = sink.sender
        message["To"] = ", ".join(sink.to)
        message["Subject"] = digest.subject(sink.subject, self._place.name)
        message["Date"] = format_datetime(time_from_us(now_us))
        # The same after a crash between the mail and its commit: some servers leave a second one out.
        message["Message-ID"] = f"<{self._note.number}.{self._place.incarnation}@{sink.sender.rpartition('@')[2]}>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(digest.text())
        try:
            refused = self._deliver(message)
        except (smtplib.SMTPException, OSError) as error:
            raise SinkError(f"{sink} takes no mail: {_reason(error)}", retryable=_passes(error)) from error
        if refused:
            _log.warning("%s: the server does not deliver to %s", sink, ", ".join(sorted(refused)))

    def _deliver(self, message: EmailMessage) -> Mapping[str, object]:
        """Send a mail; return the receivers that the server did not want, if not all."""
        sink = self._sink
        host = sink.url.hostname or ""
        if sink.url.scheme == "smtps":
            context = sink.context or ssl.create_default_context()
            server: smtplib.SMTP = smtplib.SMTP_SSL(host, sink.port, timeout=sink.timeout_s, context=context)
        else:
            server = smtplib.SMTP(host, sink.port, timeout=sink.timeout_s)
        with server:
            server.ehlo_or_helo_if_needed()
            if sink.url.scheme == "smtp":
                self._start_tls(server)
            if sink.login is not None:
                server.login(*sink.login)
            return server.send_message(message, sink.sender, list(sink.to))

    def _start_tls(self, server: smtplib.SMTP) -> None:
        if server.has_extn("starttls"):
            server.starttls(context=self._sink.context or ssl.create_default_context())
            server.ehlo()
        elif not is_loopback(self._sink.url.hostname or ""):
            raise SinkError(
                f"{self._sink}: the server offers no TLS, so mails and password would be read on the way; give "
                "smtps://, or smtp+plain:// where that is meant",
                retryable=False,
            )


def mail(
    url: str,
    *,
    to: str | Sequence[str],
    sender: str | None = None,
    subject: str = SUBJECT,
    every: timedelta | str | float = EVERY,
    rows: int = ROWS_MAX,
    user: str | None = None,
    password: str | None = None,
    timeout: timedelta | str | float = TIMEOUT,
    context: ssl.SSLContext | None = None,
    patience: Patience = PATIENCE,
    environment: Mapping[str, str] = os.environ,
) -> MailSink:
    """Send rows by mail, before the offsets move: at least once.

    The first row is sent at once; all that come within `every` after a mail are the next one, so that a storm is a
    mail now and then. A mail shows the first `rows` of them and says how many there are. What waits is kept with the
    stream's state; when the stream stops it is sent.

    Args:
        url: `smtp://host:587`, with STARTTLS, without which only a server of this machine is spoken to;
            `smtps://host:465`, TLS from the first byte; `smtp+plain://host:25`, none. These are the ports where none
            is given.
        to: An address, or several.
        sender: None: millstream@ this machine.
        subject: Text with `{count}`, `{message}` (the first row) and `{name}` (of the stream). Without `{count}`, how
            many more there are is said behind it.
        every: The least time between two mails.
        rows: Shown in one mail.
        user: To log in with; None: `MILLSTREAM_SMTP_USER` of the environment, or no login. The same for `password`.
        timeout: Of each step of the conversation.
        context: Of TLS; None: the system's authorities, and the host's name is checked.

    Raises:
        UsageError: The address of the server, a receiver or the sender is none; the subject has other names; a user
            without a password, or one whose password would be sent in the clear.
    """
    found = urlsplit(url)
    if found.scheme not in PORTS or not found.hostname or found.path not in ("", "/"):
        raise UsageError(f"mail({url!r}): give a server such as smtp://host:587 or smtps://host:465")
    if found.username or found.password:
        raise UsageError(f"mail: an address with a password ends up in logs; set {USER} and {PASSWORD}")
    receivers = (to,) if isinstance(to, str) else tuple(to)
    if not receivers:
        raise UsageError("mail(to=[]): give at least one address")
    if rows < 1:
        raise UsageError(f"mail(rows={rows}): give 1 or more")
    _check_subject(subject)
    return MailSink(
        found,
        tuple(_address(one, "to") for one in receivers),
        _address(sender or f"millstream@{socket.getfqdn()}", "sender"),
        subject,
        duration(every) // timedelta(microseconds=1),
        rows,
        duration(timeout).total_seconds(),
        _login(found, user or environment.get(USER), password or environment.get(PASSWORD)),
        context,
        patience,
    )


def _login(url: SplitResult, user: str | None, password: str | None) -> tuple[str, str] | None:
    if not user and not password:
        return None
    if not user or not password:
        raise UsageError(f"mail: a login has a user and a password; set {USER} and {PASSWORD}, or none of them")
    if url.scheme == "smtp+plain" and not is_loopback(url.hostname or ""):
        raise UsageError("mail: over smtp+plain:// the password would be read on the way; give smtp:// or smtps://")
    return user, password


def _address(text: str, what: str) -> str:
    """Return an address of mail, without a name."""
    found = parseaddr(text)[1]
    try:
        Address(addr_spec=found)
    except (ValueError, IndexError) as error:
        raise UsageError(f"mail({what}={text!r}): give an address such as ann@example.com") from error
    if not found.rpartition("@")[0] or not text.isprintable():
        raise UsageError(f"mail({what}={text!r}): give an address such as ann@example.com")
    return found


def _check_subject(subject: str) -> None:
    try:
        names = [name for _, name, _, _ in string.Formatter().parse(subject) if name is not None]
    except ValueError as error:
        raise UsageError(f"mail(subject={subject!r}): {error}; write {{count}}, and {{{{ for a brace") from error
    for name in names:
        if name not in NAMES:
            raise UsageError(f"mail(subject={subject!r}): there is no {{{name}}}; there is {', '.join(NAMES)}")


def _reason(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPResponseException):
        said = error.smtp_error
        text = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
        return f"{error.smtp_code} {text}"
    return f"{type(error).__name__}: {error}"


def _passes(error: Exception) -> bool:
    """Say whether an error may pass: SMTP says it with a number of 400 to 499."""
    if isinstance(error, smtplib.SMTPResponseException):
        return error.smtp_code < 500
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return any(code < 500 for code, _ in error.recipients.values())
    return not isinstance(error, smtplib.SMTPNotSupportedError | ssl.SSLCertVerificationError)
