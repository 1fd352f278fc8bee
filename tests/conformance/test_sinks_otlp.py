"""OTLP to our own receiver keeps what sinks promise."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from millstream import App, sinks
from millstream.sinks import Sink
from millstream.sources.otlp_server import OtlpServer
from millstream.sources.system import SystemFollower, follow_system
from millstream.testing.sink_suite import SinkSuite, Sold


class TestOtlp(SinkSuite):
    @pytest.fixture(autouse=True)
    def receivers(self) -> Iterator[None]:
        self._followers: dict[Path, SystemFollower] = {}
        with contextlib.ExitStack() as self._opened:
            yield
            # A stop takes half a second: all at once.
            with ThreadPoolExecutor(len(self._followers) or 1) as stopping:
                assert all(stopping.map(SystemFollower.stop, self._followers.values()))

    def sink(self, folder: Path) -> Sink:
        if folder not in self._followers:
            server = self._opened.enter_context(contextlib.closing(OtlpServer(port=0)))
            app = self._opened.enter_context(App("memory://"))
            self._followers[folder] = self._opened.enter_context(follow_system(app, sources=[server]))
            self._port = server.port
        return sinks.otlp(f"http://127.0.0.1:{self._port}", rows=3)

    def seen(self, folder: Path) -> Sequence[Sold]:
        """Return what is stored: all that was answered."""
        events = [record.value for record in self._followers[folder].topic.read()]
        return [msgspec.convert(event.fields and event.fields["body"], Sold) for event in events]
