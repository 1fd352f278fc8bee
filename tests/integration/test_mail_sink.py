"""Mails: what is in them, storms, servers that refuse, TLS, logins, hostile rows."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.mail_server import MailServer

from millstream import App, UsageError, sinks
from millstream.errors import SinkError
from millstream.logs.alert import Alert, Level
from millstream.sinks import Patience, Rows, SinkPlace
from millstream.sinks.mail_digest import LINE_CHARACTERS_MAX, SUBJECT_CHARACTERS_MAX, Digest
from millstream.testing import FakeClock

pytest.importorskip("aiosmtpd", reason="needs aiosmtpd")

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
QUICK = Patience(attempts=3, first_s=0.01, most_s=0.1)


def alert(message: str, *, level: Level = Level.HIGH) -> Alert:
    return Alert(time=NOW, rule="guessing", level=level, message=message, count=3, first=NOW, by={}, raw="")


@pytest.fixture
def server() -> Iterator[MailServer]:
    with closing(MailServer()) as server:
        yield server


def sink_of(server: MailServer, **settings: Any) -> sinks.Sink:
    given = {"to": "ann@example.com", "sender": "millstream@example.com", "environment": {}, "patience": QUICK}
    return sinks.mail(f"smtp://127.0.0.1:{server.port}", **{**given, **settings})


def sent(sink: sinks.Sink, alerts: list[Alert]) -> None:
    with App("memory://") as app:
        topic = app.topic("alerts", Alert, time="time")
        app.stream(topic, name="mails")(lambda s: s.to(sink))
        topic.extend(alerts)
        app.run(until="now")


def test_mail_says_what_happened(server: MailServer) -> None:
    sent(sink_of(server, to=["ann@example.com", "Bob <bob@example.com>"]), [alert("3 failed logins — from ä")])
    [mail] = server.mails
    assert mail["Subject"] == "[mails] 2026-03-01 12:00:00 high 3 failed logins — from ä"
    assert (mail["From"], mail["To"]) == ("millstream@example.com", "ann@example.com, bob@example.com")
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail.get_content().replace("\r\n", "\n") == (
        "1 row, 2026-03-01 12:00:00 UTC\n\n2026-03-01 12:00:00 high 3 failed logins — from ä\n"
    )


def test_storm_is_one_mail_with_the_first_rows_and_their_number(server: MailServer) -> None:
    sent(sink_of(server, rows=10), [alert(f"number {number}") for number in range(5000)])
    [mail] = server.mails
    lines = mail.get_content().splitlines()
    assert lines[0] == "5,000 rows, 2026-03-01 12:00:00 UTC"
    assert [line.split()[-1] for line in lines[2:12]] == [str(number) for number in range(10)]
    assert lines[12:] == ["... and 4,990 more, which are in the log"]
    assert mail["Subject"].endswith("number 0 (and 4,999 more)")


def rows_of(*texts: str) -> Rows:
    return Rows.of(
        pl.DataFrame({"message": list(texts)}).with_columns(
            _key=pl.lit(None, dtype=pl.Binary), _event_time=pl.lit(NOW).cast(pl.Datetime("us", "UTC"))
        )
    )


def test_first_is_sent_at_once_and_what_follows_is_gathered_also_over_a_restart(server: MailServer) -> None:
    clock = FakeClock()
    sink = sink_of(server, every="10m")
    place = SinkPlace(name="mails", incarnation="ab", turn=1, clock=clock)
    writer = sink.open(place, None)
    writer.write(rows_of("one"))
    note = writer.prepare()
    assert (len(server.mails), writer.held, writer.due_us()) == (1, 0, None)
    writer.write(rows_of("two", "three"))
    note = writer.prepare()
    assert (len(server.mails), writer.held) == (1, 2)
    # Killed, and started again.
    writer = sink.open(msgspec.structs.replace(place, turn=2), note)
    assert (writer.held, writer.due_us()) == (2, clock.now_us() + 600_000_000)
    writer.write(rows_of("four"))
    writer.prepare()
    assert (len(server.mails), writer.held) == (1, 3)
    clock.advance(timedelta(minutes=10))
    writer.prepare()
    assert (len(server.mails), writer.held) == (2, 0)
    assert [line.split()[-1] for line in server.mails[1].get_content().splitlines()[2:]] == ["two", "three", "four"]
    assert server.mails[0]["Message-ID"] != server.mails[1]["Message-ID"]


def test_mail_that_is_sent_again_after_a_crash_has_the_same_id(server: MailServer) -> None:
    sink = sink_of(server)
    place = SinkPlace(name="mails", incarnation="ab", turn=1, clock=FakeClock())
    for _ in range(2):
        writer = sink.open(place, None)
        writer.write(rows_of("one"))
        writer.prepare()  # and no commit
    first, second = server.mails
    assert first["Message-ID"] == second["Message-ID"]


def test_server_that_has_no_time_is_asked_again(server: MailServer) -> None:
    server.answers = ["451 later", "452 later"]
    sent(sink_of(server), [alert("x")])
    assert len(server.mails) == 1


def test_server_that_refuses_for_good_stops_the_stream(server: MailServer) -> None:
    server.answers = ["554 spam"]
    with pytest.raises(SinkError, match="takes no mail: 554 spam"):
        sent(sink_of(server), [alert("x")])
    assert not server.answers
    assert not server.mails


def test_nothing_of_a_row_becomes_a_header_or_ends_the_mail(server: MailServer) -> None:
    hostile = "x\r\nBcc: eve@example.com\r\n\r\n<script>\r\n.\r\nMAIL FROM:<eve@example.com>\x1b[31m"
    sent(sink_of(server, subject="{message}"), [alert(hostile), alert("second")])
    [mail] = server.mails
    assert mail["Bcc"] is None
    assert "\\x0d\\x0aBcc" in mail["Subject"]
    lines = mail.get_content().splitlines()
    assert len(lines) == 4
    assert "\\x1b[31m" in lines[2]


@given(st.lists(st.text(max_size=400), min_size=1, max_size=5), st.integers(1, 3))
def test_no_text_is_too_odd_for_a_mail(texts: list[str], rows_max: int) -> None:
    digest = Digest().with_rows(rows_of(*texts), rows_max)
    subject = digest.subject("{message}", "mails")
    assert subject.isprintable()
    assert len(subject) <= SUBJECT_CHARACTERS_MAX
    assert all(line.isprintable() and len(line) <= LINE_CHARACTERS_MAX for line in digest.lines)
    more = len(texts) > rows_max
    assert len(digest.text().split("\n")) == 2 + min(len(texts), rows_max) + more + 1


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return what a server speaks TLS with, and a client that trusts it."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(key), "-out", str(certificate), "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("needs openssl to make a certificate")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context, ssl.create_default_context(cafile=str(certificate))


def test_starttls_is_used_where_it_is_offered_and_logs_in(certificate: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    from aiosmtpd.smtp import AuthResult, LoginPassword

    logins: list[tuple[bytes, bytes]] = []

    def authenticate(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        logins.append((data.login, data.password))
        return AuthResult(success=data.password == b"secret", handled=False)

    offered, trusting = certificate
    settings = {"tls_context": offered, "require_starttls": True, "authenticator": authenticate, "auth_required": True}
    environment = {"MILLSTREAM_SMTP_USER": "ann", "MILLSTREAM_SMTP_PASSWORD": "secret"}
    with closing(MailServer(**settings)) as server:
        sent(sink_of(server, context=trusting, environment=environment), [alert("x")])
        assert (server.encrypted, logins) == ([True], [(b"ann", b"secret")])
        with pytest.raises(SinkError, match="535") as said:
            sent(sink_of(server, context=trusting, user="ann", password="wrong"), [alert("x")])
        assert "wrong" not in str(said.value)
        with pytest.raises(SinkError, match="certificate verify failed"):
            sent(sink_of(server), [alert("x")])


def test_tls_from_the_first_byte(certificate: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    offered, trusting = certificate
    with closing(MailServer(ssl_context=offered)) as server:
        sink = sinks.mail(
            f"smtps://localhost:{server.port}", to="a@example.com", sender="m@example.com", context=trusting
        )
        sent(sink, [alert("x")])
        assert len(server.mails) == 1


@pytest.mark.parametrize(
    ("url", "settings", "words"),
    [
        ("http://host", {}, "smtp://host:587"),
        ("smtp://", {}, "smtp://host:587"),
        ("smtp://ann:secret@host", {}, "MILLSTREAM_SMTP_PASSWORD"),
        ("smtp://host", {"to": "nobody"}, "ann@example.com"),
        ("smtp://host", {"to": "a@b.example\nBcc: c@d.example"}, "ann@example.com"),
        ("smtp://host", {"to": []}, "at least one"),
        ("smtp://host", {"subject": "{user}"}, "count, message, name"),
        ("smtp://host", {"subject": "{"}, "brace"),
        ("smtp://host", {"rows": 0}, "1 or more"),
        ("smtp://host", {"user": "ann"}, "a user and a password"),
        ("smtp+plain://host", {"user": "ann", "password": "secret"}, "read on the way"),
    ],
)
def test_what_cannot_be_meant_is_said(url: str, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words) as said:
        sinks.mail(url, **{"to": "a@example.com", "sender": "m@example.com", "environment": {}, **settings})
    assert "secret" not in str(said.value)
