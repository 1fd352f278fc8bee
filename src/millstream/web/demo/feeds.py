"""Followers of the log: each a thread that waits for records of one topic and hands them to the event loop."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

from millstream.errors import ClosedError, MillstreamError, OffsetOutOfRangeError
from millstream.log.topic import Topic
from millstream.records import Record

_log = logging.getLogger("millstream.web")

RECORDS_MAX: Final = 500
"""Handed over at a time; the next are read when the loop has taken these, so nothing piles up between."""

WAIT_SECONDS: Final = 0.5
"""How long a follower waits before it looks whether it should stop."""

RETRY_SECONDS: Final = 2.0

Take = Callable[[Sequence[Record[Any]]], None]


class Feeds:
    """Followers that start and stop together. `start` and `stop` are called in the event loop."""

    def __init__(self) -> None:
        self._follows: list[tuple[Topic[Any], int, Take]] = []
        self._threads: list[threading.Thread] = []
        self._stopping = threading.Event()

    def add(self, topic: Topic[Any], take: Take, *, last: int) -> None:
        """Follow a topic of one partition, from its last records on."""
        (info,) = topic.info().partitions
        self._follows.append((topic, max(info.start_offset, info.end_offset - last), take))

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        for topic, offset, take in self._follows:
            follow = (topic, offset, take, loop)
            self._threads.append(
                threading.Thread(target=self._follow, args=follow, name=f"feed-{topic.name}", daemon=True)
            )
        for thread in self._threads:
            thread.start()

    async def stop(self) -> None:
        """Return when no follower runs; the loop goes on meanwhile, as they may be handing something over."""
        self._stopping.set()
        for thread in self._threads:
            await asyncio.to_thread(thread.join)

    def _follow(self, topic: Topic[Any], offset: int, take: Take, loop: asyncio.AbstractEventLoop) -> None:
        async def hand_over(records: Sequence[Record[Any]]) -> None:
            take(records)

        while not self._stopping.is_set():
            try:
                records = topic.read(offset, records_max=RECORDS_MAX, wait=WAIT_SECONDS)
            except ClosedError:
                return
            except OffsetOutOfRangeError as error:
                offset = error.start_offset
            except MillstreamError as error:
                _log.warning("cannot read topic %s, trying again: %s", topic.name, error)
                self._stopping.wait(RETRY_SECONDS)
            else:
                if records:
                    asyncio.run_coroutine_threadsafe(hand_over(records), loop).result()
                    offset = records[-1].offset + 1
