"""A connection to NATS that breaks in the middle of deliveries: what it swallowed is read again, and nothing twice."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from tests.nats_broker import NatsBroker, needs_nats

from millstream import App
from millstream.sources import nats

pytestmark = needs_nats

MESSAGES = 20_000
CUTS = 8
PATIENCE_S = 90.0


class Order(msgspec.Struct, frozen=True):
    number: int


class Cutter:
    """Passes bytes on to a server, and cuts each of the first connections after some of them."""

    def __init__(self, port: int, after: Iterator[int]) -> None:
        self._target = port
        self._after = after
        self.cuts = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                threading.Thread(target=self._pass, args=(client, server, None), daemon=True).start()
                limit = next(self._after, None)
                threading.Thread(target=self._pass, args=(server, client, limit), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, limit: int | None) -> None:
        passed = 0
        with contextlib.suppress(OSError), source, target:
            while data := source.recv(1500):
                if limit is not None and passed + len(data) > limit:
                    target.sendall(data[: limit - passed])
                    self.cuts += 1
                    return
                target.sendall(data)
                passed += len(data)


@pytest.mark.parametrize("seed", range(2))
def test_a_connection_that_breaks_in_the_middle_loses_and_doubles_nothing(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    broker = NatsBroker(tmp_path)
    cutter = Cutter(broker.port, iter([chance.randrange(20_000, 400_000) for _ in range(CUTS)]))
    try:
        broker.make("orders", "orders.>")
        broker.send("orders.a", [b'{"number":%d}' % number for number in range(MESSAGES)])
        with App(tmp_path / "log.db") as app:
            orders = app.topic("orders", Order)
            app.source(nats(f"nats://127.0.0.1:{cutter.port}", stream="orders"), into=orders)
            with app.start():
                until = time.monotonic() + PATIENCE_S
                while orders.end_offsets()[0] < MESSAGES:
                    assert time.monotonic() < until, f"{orders.end_offsets()} after {cutter.cuts} cuts"
                    time.sleep(0.05)
            assert cutter.cuts > 0
            assert orders.frame().collect()["number"].to_list() == [*range(MESSAGES)]
    finally:
        cutter.close()
        broker.stop()
