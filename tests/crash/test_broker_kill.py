"""`kill -9` between any two steps of broker -> topic -> stream -> broker: each message is once in both places."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from tests.crash.broker_process import Order, declare
from tests.kafka_broker import KafkaBroker, needs_kafka
from tests.nats_broker import NatsBroker, needs_nats

from millstream import App

PROCESS = Path(__file__).parent / "broker_process.py"
KILLS = int(os.environ.get("MILLSTREAM_TEST_KILLS", "5"))
MESSAGES = 150
"""Sent at once, again and again while the process works: many small commits, to be killed within one."""
LIVES_S = 1.5
"""How long a process is left alive at most, once it has stored something."""
PATIENCE_S = 60.0


@needs_kafka
@pytest.mark.parametrize("seed", range(2))
def test_killed_between_kafka_and_kafka_nothing_is_lost_or_doubled(seed: int, tmp_path: Path) -> None:
    broker = KafkaBroker(tmp_path)
    try:
        broker.make("orders", 3)
        broker.make("results", 2)
        count = _killed("kafka", broker.url, tmp_path / "log.db", seed, lambda values: broker.send("orders", values))
        results = [one.value() for one in broker.read("results", {"isolation.level": "read_committed"})]
        _check(tmp_path / "log.db", results, count)
    finally:
        broker.stop()


@needs_nats
@pytest.mark.parametrize("seed", range(2))
def test_killed_between_nats_and_nats_nothing_is_lost_or_doubled(seed: int, tmp_path: Path) -> None:
    """Within the duplicate window of the stream that takes the results."""
    broker = NatsBroker(tmp_path)
    try:
        broker.make("orders", "orders.>")
        broker.make("results", "results.>")
        count = _killed("nats", broker.url, tmp_path / "log.db", seed, lambda values: broker.send("orders.a", values))
        _check(tmp_path / "log.db", broker.read("results", "results.all"), count)
    finally:
        broker.stop()


def _killed(broker: str, url: str, log: Path, seed: int, send: Callable[[list[bytes]], None]) -> int:
    """Start, send, kill; and so on; then let it finish. Return how many messages there were."""
    chance = random.Random(seed)
    count = 0
    for _ in range(KILLS):
        before = _stored(log)
        process = subprocess.Popen([sys.executable, str(PROCESS), str(log), broker, url], stderr=subprocess.DEVNULL)
        try:
            until = time.monotonic() + PATIENCE_S
            end = until
            while time.monotonic() < end:
                send([b'{"number":%d}' % number for number in range(count, count + MESSAGES)])
                count += MESSAGES
                if end == until and _stored(log) > before:
                    end = time.monotonic() + chance.random() * LIVES_S
            assert process.poll() is None
            assert end < until, "it stored nothing"
        finally:
            process.kill()
            process.wait(PATIENCE_S)
    with App(log) as app:
        declare(app, broker, url)
        app.run(until="now")
    return count


def _stored(log: Path) -> int:
    if not log.exists():
        return 0
    with App(log) as app:
        return sum(app.topic("orders", Order).end_offsets().values())


def _check(log: Path, results: list[bytes], count: int) -> None:
    with App(log) as app:
        stored = Counter(app.topic("orders", Order).frame().collect()["number"].to_list())
        sent = Counter(msgspec.json.decode(value, type=Order).number for value in results)
        for what, found in (("stored", stored), ("sent", sent)):
            lost = count - len(found)
            doubled = sum(found.values()) - len(found)
            assert (lost, doubled) == (0, 0), f"{what}: {lost} lost, {doubled} doubled"
