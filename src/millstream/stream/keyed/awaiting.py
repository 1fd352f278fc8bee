"""Functions that are `async`: many records of a micro-batch at a time, results in the order of the records."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, Final, TypeVar

from millstream.stream.keyed.failing import Guard

T = TypeVar("T")

CONCURRENCY: Final = 100
"""Calls under way at a time unless told: as many connections as most servers like from one client."""

_STOP_S: Final = 0.2
"""A stream that waits for calls notices within this time that it should stop."""


class AsyncCaller:
    """Calls an `async` function for each record, so many at a time, in an event loop of its own.

    The loop is the same for all micro-batches, so that what the function opens (a session, a pool) can be used again;
    it runs while a micro-batch is processed, and stands still between two. A micro-batch is done when all of its calls
    are: that is what holds back the reading of more.

    Used by one thread at a time.
    """

    def __init__(self, function: Callable[[Any], Coroutine[Any, Any, Any]], concurrency: int = CONCURRENCY) -> None:
        self._function = function
        self.concurrency = concurrency
        self._loop: asyncio.AbstractEventLoop | None = None

    def each(self, values: Sequence[Any], guard: Guard) -> list[Any]:
        """Return what the function makes of each value, None where it was given up.

        Raises:
            Exception: What it raised for the first record of those for which it did, where the stream is to stop; no
                later one is begun then.
        """
        if not values:
            return []
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            weakref.finalize(self, _close, self._loop)
        return self._loop.run_until_complete(_Calls(self._function, values, guard).run(self.concurrency))


class _Calls:
    """The calls for the records of one micro-batch."""

    def __init__(
        self, function: Callable[[Any], Coroutine[Any, Any, Any]], values: Sequence[Any], guard: Guard
    ) -> None:
        self._function = function
        self._values = values
        self._guard = guard
        self._results: list[Any] = [None] * len(values)
        self._given_up: dict[int, tuple[Exception, int]] = {}
        self._stops: dict[int, Exception] = {}

    async def run(self, concurrency: int) -> list[Any]:
        places = iter(range(len(self._values)))
        callers = [asyncio.ensure_future(self._call_each(places)) for _ in range(min(concurrency, len(self._values)))]
        try:
            await asyncio.gather(*callers)
        finally:
            for caller in callers:
                caller.cancel()
            await asyncio.gather(*callers, return_exceptions=True)
        for place in sorted(self._given_up):
            self._guard.give_up(place, *self._given_up[place])
        return self._results

    async def _call_each(self, places: Iterator[int]) -> None:
        for place in places:
            if self._stops and place > min(self._stops):
                return
            await self._call(place)

    async def _call(self, place: int) -> None:
        attempt = 1
        while True:
            try:
                self._results[place] = await self._function(self._values[place])
                return
            except Exception as error:  # noqa: BLE001 - the user's function may raise anything; the policy decides
                delay_us = self._guard.delay_us(error, attempt)
                if delay_us is None:
                    self._give_up(place, error, attempt)
                    return
                await self._wait(delay_us / 1_000_000, error)
                attempt += 1

    def _give_up(self, place: int, error: Exception, attempts: int) -> None:
        """Note it; which record the stream stops at is known once those before it have ended."""
        self._given_up[place] = error, attempts
        if self._guard.stops_for(error):
            self._stops[place] = error

    async def _wait(self, seconds: float, error: Exception) -> None:
        """Wait for the next attempt while other calls go on; raise the error where the stream is to stop."""
        while seconds > 0:
            some = min(seconds, _STOP_S)
            await asyncio.sleep(some)
            if self._guard.is_stopping():
                raise error
            seconds -= some


def _close(loop: asyncio.AbstractEventLoop) -> None:
    """End a loop that nobody uses any more. The garbage collector calls this, maybe from inside another loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        _end(loop)
    else:
        # A thread runs one loop at a time.
        thread = threading.Thread(target=_end, args=(loop,), name="millstream-loop-end")
        thread.start()
        thread.join()


def _end(loop: asyncio.AbstractEventLoop) -> None:
    """End a loop with what was left running in it."""
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.wait(left))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
