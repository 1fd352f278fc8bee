"""A stream gives one answer: however its records are cut up, wherever it is ended, in how many partitions or processes.

The pipeline has every kind of step (`millstream.testing.stream_pipeline`); what must come out of it is found by brute
force. MILLSTREAM_FULL=1 tries more.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from millstream.app import App
from millstream.errors import CommitConflictError
from millstream.records import time_to_us
from millstream.stream import StreamReader
from millstream.stream.run import StreamRun
from millstream.testing.fake_clock import FakeClock
from millstream.testing.stream_pipeline import (
    BEGIN,
    Click,
    Order,
    append,
    declare,
    difference,
    expected,
    last_records,
    outputs,
    records,
)

FULL: Final = os.environ.get("MILLSTREAM_FULL") == "1"
EXAMPLES: Final = 200 if FULL else 12
PATIENCE_S: Final = 60.0
COUNT: Final = 400


def history(count: int = COUNT, seed: int = 1) -> list[Click | Order]:
    return list(records(Random(seed), count))


@pytest.mark.parametrize("records_max", [1, 7, 1000])
@pytest.mark.parametrize(("partitions", "share"), [(1, False), (4, False), (4, True)])
def test_the_answer_does_not_depend_on_the_size_of_micro_batches_or_the_number_of_partitions(
    partitions: int, share: bool, records_max: int
) -> None:
    some = history(120 if records_max == 1 else COUNT)
    with App("memory://") as app:
        reader = declare(app, partitions=partitions, share=share)
        append(app.log, some, partitions)
        append(app.log, last_records(COUNT, partitions), partitions)
        run = reader.open_shared(records_max=records_max) if share else reader.open(records_max=records_max)
        run.run_now(threading.Event())
        assert difference(outputs(app.log), expected(some)) == {}
        assert reader.info().late == 0


@pytest.mark.parametrize(("partitions", "share"), [(1, False), (3, False), (3, True)])
def test_records_that_come_while_it_runs_give_the_answer_of_history(
    tmp_path: Path, partitions: int, share: bool
) -> None:
    some = history()
    with App(str(tmp_path / "log.db"), durability="relaxed") as app:
        reader = declare(app, partitions=partitions, share=share)
        with app.start():
            for start in range(0, len(some), 9):
                append(app.log, some[start : start + 9], partitions)
            append(app.log, last_records(COUNT, partitions), partitions)
            until_read(reader)
        assert difference(outputs(app.log), expected(some)) == {}


def until_read(reader: StreamReader) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while reader.info().lag:
        assert time.monotonic() < deadline, "it does not come to an end"
        time.sleep(0.02)


# --- whatever happens -------------------------------------------------------------------------------------------------


class Histories:
    """Processes that run the pipeline, as actions say, on a log in memory and a clock that stands still."""

    SPENT_S: Final = 50.0
    """Time that may pass in all: less than the delay, so that no record comes too late by the clock."""

    def __init__(self, app: App, clock: FakeClock, *, partitions: int, share: bool) -> None:
        self._app = app
        self._clock = clock
        self._partitions = partitions
        self._reader = declare(app, partitions=partitions, share=share)
        self._share = share
        self._source: Iterator[Click | Order] = records(Random(partitions), 1_000_000)
        self._runs: dict[tuple[int, int], StreamRun] = {}
        """By process and partition."""
        self._left_s = self.SPENT_S
        self.appended: list[Click | Order] = []
        self.conflicts = 0

    def act(self, act: str, process: int, partition: int, size: int) -> None:
        """Let something happen to one process, or to all."""
        place = (process, partition % self._partitions if self._share else 0)
        if act == "append":
            some = [next(self._source) for _ in range(3 * size)]
            append(self._app.log, some, self._partitions)
            self.appended += some
        elif act == "wait":
            passes = min(self._left_s, 2.0 * size)
            self._left_s -= passes
            self._clock.advance(timedelta(seconds=passes))
        elif act == "restart":
            self._runs.pop(place, None)
        else:
            self._disturbed(place, act, size)

    def finish(self) -> None:
        """Read all that is there."""
        append(self._app.log, last_records(len(self.appended), self._partitions), self._partitions)
        self._runs.clear()
        if self._share:
            self._reader.open_shared().run_now(threading.Event())
        else:
            self._reader.run_now(threading.Event())

    def _disturbed(self, place: tuple[int, int], act: str, size: int) -> None:
        try:
            run = self._runs.get(place)
            if run is None:
                run = self._runs[place] = self._opened(place[1], size)
            if act == "step":
                run.step()
            elif act == "idle":
                # As `StreamRun.run` does: only who has read all there is takes the input for idle.
                if not run.step():
                    run.idle()
            else:
                self._runs.pop(place).rehearse()
        except CommitConflictError:
            self._runs.pop(place, None)
            self.conflicts += 1

    def _opened(self, partition: int, size: int) -> StreamRun:
        options = self._reader.options
        run = StreamRun(self._reader.graph, options, records_max=size, partition=partition if self._share else None)
        run.begin(threading.Event(), live=True)
        return run


acts = st.tuples(
    st.sampled_from(["append", "append", "step", "step", "step", "idle", "idle", "wait", "crash", "restart"]),
    st.integers(0, 1),
    st.integers(0, 2),
    st.sampled_from([1, 2, 5, 20]),
)

BOTH_CLOSE_WINDOWS: Final = [
    *[("append", 0, 0, 20)] * 3,
    *[("step", 0, 0, 20)] * 30,
    *[("idle", 1, partition, 20) for partition in range(3)],
    ("wait", 0, 0, 20),
    *[("idle", process, partition, 5) for process in range(2) for partition in range(3)],
]
"""Both have the same windows open, and see by the clock that these are over; only one of them may close them."""


@pytest.mark.parametrize(("partitions", "share"), [(1, False), (3, False), (3, True)])
@settings(max_examples=EXAMPLES)
@given(history=st.lists(acts, min_size=10, max_size=40))
@example(history=BOTH_CLOSE_WINDOWS)
def test_two_processes_that_take_over_from_one_another_crash_and_restart_do_everything_once(
    partitions: int, share: bool, history: list[Any]
) -> None:
    clock = FakeClock(time_to_us(BEGIN))
    with App("memory://", clock=clock) as app:
        processes = Histories(app, clock, partitions=partitions, share=share)
        for act in history:
            processes.act(*act)
        processes.finish()
        assert difference(outputs(app.log), expected(processes.appended)) == {}
