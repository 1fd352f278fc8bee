"""Mails to a real server keep what sinks promise."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from tests.mail_server import MailServer

from millstream import sinks
from millstream.sinks import Sink
from millstream.testing.sink_suite import SinkSuite, Sold

pytest.importorskip("aiosmtpd", reason="needs aiosmtpd")
pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH")


class Mails(SinkSuite):
    every = timedelta(0)

    @pytest.fixture(autouse=True)
    def servers(self) -> Iterator[None]:
        self._servers: dict[Path, MailServer] = {}
        with contextlib.ExitStack() as self._opened:
            yield

    def sink(self, folder: Path) -> Sink:
        if folder not in self._servers:
            self._servers[folder] = self._opened.enter_context(contextlib.closing(MailServer()))
        port = self._servers[folder].port
        return sinks.mail(
            f"smtp://127.0.0.1:{port}", to="ann@example.com", sender="m@example.com", every=self.every, rows=1000
        )

    def seen(self, folder: Path) -> Sequence[Sold]:
        lines = [line for mail in self._servers[folder].mails for line in mail.get_content().splitlines()]
        return [msgspec.json.decode(line, type=Sold) for line in lines if line.startswith("{")]


class TestMailAtOnce(Mails):
    pass


class TestMailNowAndThen(Mails):
    every = timedelta(hours=1)
