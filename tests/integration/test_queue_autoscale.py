"""Workers between a minimum and a maximum, in threads of several processes of one queue."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.waiting import until

from millstream.app import App
from millstream.queue import QueueReader
from millstream.queue.autoscale import Scaling
from millstream.queue.presence import hear

PATIENCE_S = 60.0
JOBS = 200


@pytest.fixture
def two(tmp_path: Path) -> Iterator[list[App]]:
    """Two applications on one log, as two processes would have them."""
    with ExitStack() as stack:
        yield [stack.enter_context(App(str(tmp_path / "log.db"), durability="relaxed")) for _ in range(2)]


def queue_of(app: App) -> QueueReader:
    @app.queue("jobs", name="work", workers=Scaling(1, 8, drain="3s", down_after="2s"))
    def work(job: bytes) -> None:
        time.sleep(0.1)

    return work


@pytest.mark.timeout(4 * PATIENCE_S)
def test_processes_scale_each_for_its_part_of_the_load_and_go_back(
    two: list[App], caplog: pytest.LogCaptureFixture
) -> None:
    queues = [queue_of(app) for app in two]
    with caplog.at_level(logging.INFO, "millstream.queue"), two[0].start(), two[1].start():
        until(lambda: hear(two[0].log).sharing("jobs", "work") == 2)
        two[0].topic("jobs").extend([b"%d" % number for number in range(JOBS)])
        until(lambda: all(len(queue.workers()) > 1 for queue in queues))
        assert queues[0].join(PATIENCE_S)
        until(lambda: all(len(queue.workers()) == 1 for queue in queues))
    waiting = [int(number) for number in re.findall(r"workers: .*?(\d+) wait", caplog.text)]
    assert waiting
    assert max(waiting) <= JOBS // 2, "one of them took the whole load for its own"
    assert queues[0].info().ledger.done == JOBS
