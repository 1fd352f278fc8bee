"""A stream whose partitions are shared by the processes that run it: each is a run of its own.

A process takes the partitions that fall to it (`membership.py`) and steps their runs in turn, in one thread. Where
another still holds one, it waits a moment for it to be let go, so that no micro-batch is done for nothing.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from millstream.errors import ClosedError, CommitConflictError
from millstream.log.group import Group
from millstream.stream.flow import Flow
from millstream.stream.graph import Graph
from millstream.stream.keyed.failing import Guard, OnError
from millstream.stream.manifest import check_partitions
from millstream.stream.membership import Member, Membership, assigned
from millstream.stream.options import StreamOptions
from millstream.stream.run import RECORDS_MAX, StreamRun, worker
from millstream.stream.sinking import holds
from millstream.stream.standby import QUIET_US
from millstream.stream.waiting import wait_for_records

_log = logging.getLogger("millstream.stream")

T = TypeVar("T")

LOOK_S: Final = 1.0
"""Between two looks at who is there."""

HANDOVER_LOOK_S: Final = 0.1
"""The same while something that falls to this process is still with another, or is to be tried again."""

HANDOVER_S: Final = 3.0
"""A process that does not let go for so long is in the middle of something; then the partition is taken from it."""

RETRY_S: Final = 0.5
"""Before a partition that failed is tried again, while the others go on; doubled by each failure in a row."""

RETRY_S_MAX: Final = 30.0


class _Failed(NamedTuple):
    """A partition that is not run for a while."""

    until_s: float
    delay_s: float
    """Of this time; 0 where another process took the partition, which is no failure."""
    error: Exception


class SharedRun:
    """The runs of one process of a shared stream.

    Args:
        groups: Of its topics; the first one has the state.
        records_max: Of a micro-batch.

    Raises:
        UsageError: The log holds state of steps that the description does not have any more.
    """

    def __init__(
        self, graph: Graph, options: StreamOptions, groups: Sequence[Group[Any]], *, records_max: int = RECORDS_MAX
    ) -> None:
        self._graph = graph
        self._options = options
        self._groups = groups
        self._clock = groups[0].topic.log.clock
        self._partitions = groups[0].topic.partitions
        self._records_max = records_max
        self._latency_s = options.latency_us / 1_000_000
        self._live = False
        self._runs: dict[int, StreamRun] = {}
        self._failed: dict[int, _Failed] = {}
        self._patience_s: dict[int, float] = {}
        """Until when partitions that others hold are left to them."""
        self._look_s = 0.0
        flow = Flow(graph, Guard(OnError()), shared=True)
        check_partitions(graph.name, flow, groups[0], drop=options.changed == "drop")

    def run(self, stop: threading.Event) -> None:
        """Process the records of the partitions that fall to this process until `stop` is set.

        A partition that fails is tried again with growing waits while others go on.

        Raises:
            Exception: What was raised for the last partition that this process had.
        """
        self._live = True
        with Membership(self._groups[0], worker()) as membership, contextlib.ExitStack() as ending:
            ending.callback(self._drop_all)
            while not stop.is_set():
                if time.monotonic() >= self._look_s:
                    self._look(membership, stop)
                if not self._turns(lambda run: run.turn(stop, within_s=self._latency_s)):
                    self._turns(_idle)
                    self._wait(stop)
            self._turns(_finish)

    def run_now(self, stop: threading.Event) -> int:
        """Process what is there, together with others that are at it; return the number of records of this process.

        What falls to another process that does nothing for a while is done here.
        """
        self._live = False
        total, still_us, seen = 0, self._clock.monotonic_us(), self._lags()
        if not seen and not self._held():
            return 0
        with Membership(self._groups[0], worker()) as membership, contextlib.ExitStack() as ending:
            ending.callback(self._drop_all)
            while not stop.is_set() and (lags := self._lags()):
                now_us = self._clock.monotonic_us()
                if lags != seen:
                    seen, still_us = lags, now_us
                self._look(membership, stop, lags, all_of_them=now_us - still_us >= QUIET_US)
                moved = self._turns(lambda run: run.turn(stop))
                if not moved:
                    stop.wait(HANDOVER_LOOK_S)
                total += moved
            if not stop.is_set():
                self._take_held(membership, stop)
            self._turns(_finish)
        return total

    # --- who has what -----------------------------------------------------------------------------------------------

    def _look(
        self,
        membership: Membership,
        stop: threading.Event,
        lags: Mapping[int, int] | None = None,
        *,
        all_of_them: bool = False,
    ) -> None:
        """Let go of the partitions that fall to others now, and take those that fall to this process.

        Args:
            lags: Take only these; None: also those without records, as time closes windows.
            all_of_them: Whomever they fall to.
        """
        others = membership.others()
        mine = range(self._partitions) if all_of_them else assigned(others, membership.key, self._partitions)
        for partition in self._runs.keys() - mine:
            self._drop(partition)
        self._failed = {partition: failed for partition, failed in self._failed.items() if partition in mine}
        membership.hold(self._runs)
        missing = [p for p in mine if p not in self._runs and (lags is None or p in lags)]
        for partition in missing:
            if self._is_free(partition, others):
                self._take(partition, stop)
        membership.hold(self._runs)
        self._raise_the_last()
        waiting = any(partition not in self._runs for partition in missing)
        self._look_s = time.monotonic() + (HANDOVER_LOOK_S if waiting else LOOK_S)

    def _is_free(self, partition: int, others: Mapping[bytes, Member]) -> bool:
        """Return whether to take a partition: it did not fail just now, nor is another one about to let go of it."""
        now_s = time.monotonic()
        held = any(partition in member.holds for member in others.values())
        if held and now_s < self._patience_s.setdefault(partition, now_s + HANDOVER_S):
            return False
        self._patience_s.pop(partition, None)
        failed = self._failed.get(partition)
        return failed is None or now_s >= failed.until_s

    def _take(self, partition: int, stop: threading.Event) -> None:
        run = self._tried(
            partition,
            lambda: StreamRun(self._graph, self._options, records_max=self._records_max, partition=partition),
        )
        if run is not None:
            run.begin(stop, live=self._live)
            self._runs[partition] = run

    # --- the runs ---------------------------------------------------------------------------------------------------

    def _turns(self, act: Callable[[StreamRun], int]) -> int:
        """Let each run do something, those that failed no more; return the sum."""
        total = 0
        for partition, run in list(self._runs.items()):
            made = self._tried(partition, lambda run=run: act(run))  # type: ignore[misc]
            if made is None:
                self._look_s = 0.0
            elif made:
                self._failed.pop(partition, None)
                total += made
        return total

    def _tried(self, partition: int, act: Callable[[], T]) -> T | None:
        """Return what something for a partition gives; None where it failed, and is to be tried again later."""
        failure: Exception
        try:
            return act()
        except ClosedError:
            raise
        except CommitConflictError as error:
            _log.info("stream %s: partition %d is with another process: %s", self._graph.name, partition, error)
            delay_s, wait_s, failure = 0.0, LOOK_S, error
        except Exception as error:
            if not self._live:
                raise
            before = self._failed.get(partition)
            delay_s = min(RETRY_S_MAX, max(RETRY_S, 2 * before.delay_s if before else 0.0))
            wait_s, failure = delay_s, error
            _log.error(
                "stream %s: partition %d failed, tried again in %.1f s",
                self._graph.name,
                partition,
                delay_s,
                exc_info=error,
            )
        self._drop(partition)
        self._failed[partition] = _Failed(time.monotonic() + wait_s, delay_s, failure)
        return None

    def _drop(self, partition: int) -> None:
        """Let go of a partition, if it is run."""
        if (run := self._runs.pop(partition, None)) is not None:
            run.close()

    def _drop_all(self) -> None:
        for partition in list(self._runs):
            self._drop(partition)

    def _raise_the_last(self) -> None:
        """Raise what a partition failed for where this process has no other: the supervisor is to know, and waits."""
        failed = [failed for failed in self._failed.values() if failed.delay_s]
        if failed and not self._runs:
            raise failed[-1].error

    def _wait(self, stop: threading.Event) -> None:
        """Wait for records of any partition, or until there is something to do by time."""
        look_us = max(0, int((self._look_s - time.monotonic()) * 1_000_000))
        if not self._runs:
            stop.wait(look_us / 1_000_000)
            return
        runs = self._runs.values()
        wait_us, seen = min(look_us, *(run.wait_us() for run in runs)), _merged(run.seen() for run in runs)
        wait_for_records(self._groups[0].topic.log.engine, seen, wait_us, stop)

    def _held(self) -> list[int]:
        """Return the partitions of which sinks hold results that are committed and not visible yet."""
        group = self._groups[0]
        return [partition for partition in range(self._partitions) if holds(group, partition)]

    def _take_held(self, membership: Membership, stop: threading.Event) -> None:
        """Take what nobody has and sinks hold results of, though there is nothing to read."""
        theirs = {partition for member in membership.others().values() for partition in member.holds}
        for partition in self._held():
            if partition not in self._runs and partition not in theirs:
                self._take(partition, stop)

    def _lags(self) -> dict[int, int]:
        """Return the number of offsets that are not read, of the partitions that have some."""
        lags: dict[int, int] = {}
        for info in (group.info() for group in self._groups):
            if info.paused:
                return {}
            for partition, end in info.end_offsets.items():
                if end > info.committed[partition]:
                    lags[partition] = lags.get(partition, 0) + end - info.committed[partition]
        return lags


def _idle(run: StreamRun) -> int:
    run.idle()
    return 0


def _finish(run: StreamRun) -> int:
    run.finish()
    return 0


def _merged(seen: Iterable[Mapping[str, Mapping[int, int]]]) -> dict[str, dict[int, int]]:
    """Return the ends that several runs saw as one."""
    ends: dict[str, dict[int, int]] = {}
    for some in seen:
        for topic, found in some.items():
            ends.setdefault(topic, {}).update(found)
    return ends
