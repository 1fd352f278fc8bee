"""What every sink promises, as tests: what its guarantee says is outside after crashes, errors and older runs.

A sink binds the suite in a few lines:

    class TestMySink(SinkSuite):
        def sink(self, folder: Path) -> Sink:
            return MySink(folder / "outside", key="item")       # an idempotent one: by "item"

        def seen(self, folder: Path) -> list[Sold]:
            return [Sold(...) for row in (folder / "outside").rows()]

`folder` is empty at the beginning of each test. `seen` returns what is visible outside; rows of the same `item` in the
order in which they were written, where the outside has an order. The sink's own waits are not used: the suite's are
shorter.

The suite runs a stream of `Sold` records into the sink on a log in memory, and kills it at each step of the sink in
turn: before and after each `open`, `write`, `prepare` (then comes the commit) and `publish`. After a crash the
micro-batches are cut elsewhere.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec
import pytest

from millstream.app import App
from millstream.errors import ConflictError, SinkError
from millstream.sinks.protocol import Guarantee, Sink
from millstream.stream import StreamReader
from millstream.stream.run import StreamRun
from millstream.testing.sink_faults import Crash, InterruptedSink, Interruptions

BEGIN: Final = datetime(2026, 1, 31, 12, tzinfo=UTC)
ITEMS: Final = 5
SEEDS: Final = 12
_PATIENCE: Final = 1000
"""Runs until everything must have been processed, whatever crashes."""


class Sold(msgspec.Struct, frozen=True, order=True):
    """A record of the suite."""

    number: int
    """0, 1, 2 ..."""
    item: str
    """One of a few: what an idempotent sink has as its key."""
    at: datetime


def sold(number: int) -> Sold:
    return Sold(number, f"item {number % ITEMS}", BEGIN + timedelta(seconds=number))


class Outside:
    """A stream into a sink, to be killed and started again."""

    def __init__(self, sink: Sink, *, partitions: int = 1) -> None:
        self.app = App("memory://")
        self.interruptions = Interruptions()
        self._sink = InterruptedSink(sink, self.interruptions)
        self.topic = self.app.topic("sold", Sold, key="item", time="at", partitions=partitions)
        self.stream: StreamReader = self.app.stream(self.topic, name="sales")(lambda s: s.to(self._sink))
        self.count = 0

    def append(self, count: int) -> None:
        self.topic.extend([sold(self.count + place) for place in range(count)])
        self.count += count

    def open(self, records_max: int = 10) -> StreamRun:
        return self.stream.open(records_max=records_max)

    def finish(self) -> None:
        """Process what is there, and stop as a program does that is told to."""
        self.stream.run_now(threading.Event())

    def crash_at(self, *numbers: int) -> None:
        """Die at steps with these numbers, counted from now on."""
        begin = self.interruptions.count

        def at(number: int, step: str) -> None:
            if number - begin in numbers:
                raise Crash(f"at step {number}, {step}")

        self.interruptions.at = at

    def survive(self, sizes: Callable[[], int]) -> int:
        """Start again after each crash until all is done; return how often it died.

        Args:
            sizes: Of the micro-batches of the next run.
        """
        crashes = 0
        for _ in range(_PATIENCE):
            try:
                run = self.open(sizes())
                while run.step():
                    pass
                self.finish()
            except Crash:
                crashes += 1
            else:
                return crashes
        raise AssertionError("it never got through")


class SinkSuite:
    """All promises; subclass it as `Test...` and give it `sink` and `seen`."""

    def sink(self, folder: Path) -> Sink:
        raise NotImplementedError

    def seen(self, folder: Path) -> Sequence[Sold]:
        raise NotImplementedError

    # --- without trouble --------------------------------------------------------------------------------------------

    def test_all_results_are_outside_once_where_nothing_goes_wrong(self, outside: Outside, tmp_path: Path) -> None:
        outside.append(25)
        outside.finish()
        outside.append(3)
        outside.finish()
        self._check(outside, tmp_path, crashes=0)

    def test_a_run_without_new_records_writes_nothing(self, outside: Outside, tmp_path: Path) -> None:
        outside.append(7)
        outside.finish()
        before = list(self.seen(tmp_path))
        outside.finish()
        outside.finish()
        assert list(self.seen(tmp_path)) == before

    def test_the_explanation_of_a_stream_says_what_the_sink_promises(self, outside: Outside) -> None:
        assert str(self._guarantee(outside)) in outside.stream.explain()

    # --- crashes ----------------------------------------------------------------------------------------------------

    def test_a_crash_at_any_step_loses_nothing(self, tmp_path: Path) -> None:
        for at, (outside, folder) in enumerate(self._each_step(tmp_path), start=1):
            outside.crash_at(at)
            crashes = outside.survive(lambda: 4)
            self._check(outside, folder, crashes=crashes, told=f"crash at step {at}")

    def test_a_second_crash_while_the_first_is_recovered_from_loses_nothing(self, tmp_path: Path) -> None:
        for at, (outside, folder) in enumerate(self._each_step(tmp_path), start=1):
            outside.crash_at(at, at + 1, at + 2, at + 3)
            crashes = outside.survive(lambda: 3)
            self._check(outside, folder, crashes=crashes, told=f"crashes at steps {at} to {at + 3}")

    @pytest.mark.parametrize("seed", range(SEEDS))
    def test_many_crashes_between_micro_batches_of_any_size_lose_nothing(self, seed: int, tmp_path: Path) -> None:
        chance = random.Random(seed)
        with _opened(Outside(self.sink(tmp_path))) as outside:
            outside.interruptions.at = lambda number, step: _crash(number, step) if chance.random() < 0.06 else None
            crashes = 0
            for _ in range(4):
                outside.append(chance.randrange(1, 30))
                crashes += outside.survive(lambda: chance.choice([1, 2, 3, 7, 100]))
            outside.interruptions.at = lambda number, step: None
            outside.finish()
            self._check(outside, tmp_path, crashes=crashes, told=f"seed {seed}")

    # --- older runs -------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("step", ["before write", "before prepare", "after prepare"])
    def test_a_run_that_others_overtake_does_no_harm(self, outside: Outside, step: str, tmp_path: Path) -> None:
        """It stands still in the middle of a micro-batch; meanwhile another process does everything."""
        outside.append(20)
        run = outside.open(6)
        assert run.step()

        def overtaken(number: int, name: str) -> None:
            if name == step:
                outside.interruptions.at = lambda number, name: None
                outside.finish()

        outside.interruptions.at = overtaken
        with pytest.raises((ConflictError, SinkError)):
            _run_on(run)
        run.close()
        outside.append(3)
        outside.finish()
        self._check(outside, tmp_path, crashes=1)

    def test_a_run_that_is_overtaken_while_it_publishes_does_no_harm(self, outside: Outside, tmp_path: Path) -> None:
        outside.append(20)
        run = outside.open(6)

        def overtaken(number: int, name: str) -> None:
            if name == "before publish":
                outside.interruptions.at = lambda number, name: None
                outside.finish()

        outside.interruptions.at = overtaken
        assert run.step()
        with pytest.raises((ConflictError, SinkError)):
            _run_on(run)
        run.close()
        outside.append(3)
        outside.finish()
        self._check(outside, tmp_path, crashes=1)

    def test_a_run_that_took_over_and_did_nothing_takes_nothing_away(self, outside: Outside, tmp_path: Path) -> None:
        outside.append(10)
        run = outside.open(4)
        run.step()
        outside.open().close()
        with pytest.raises(ConflictError):
            run.step()
        run.close()
        outside.finish()
        self._check(outside, tmp_path, crashes=1)

    # --- errors -----------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("step", ["before open", "before write", "before prepare", "before publish"])
    def test_a_call_that_fails_is_made_again(self, outside: Outside, step: str, tmp_path: Path) -> None:
        failures = iter(range(3))

        def fails(number: int, name: str) -> None:
            if name == step and next(failures, None) is not None:
                raise OSError("no answer")

        outside.append(12)
        outside.interruptions.at = fails
        outside.finish()
        assert next(failures, None) is None
        self._check(outside, tmp_path, crashes=0)

    @pytest.mark.parametrize("step", ["before open", "before write", "before prepare", "before publish"])
    def test_a_sink_that_fails_for_good_stops_the_stream_and_loses_nothing(
        self, outside: Outside, step: str, tmp_path: Path
    ) -> None:
        def fails(number: int, name: str) -> None:
            if name == step:
                raise OSError("no answer")

        outside.append(12)
        outside.interruptions.at = fails
        with pytest.raises(SinkError, match="4 attempts: OSError: no answer") as failed:
            outside.finish()
        assert str(outside.stream.graph.nodes[1].step.sink) in str(failed.value)
        assert failed.value.retryable
        outside.interruptions.at = lambda number, name: None
        outside.finish()
        self._check(outside, tmp_path, crashes=1)

    # --- partitions -------------------------------------------------------------------------------------------------

    def test_partitions_that_are_runs_of_their_own_do_not_meet(self, tmp_path: Path) -> None:
        with _opened(Outside(self.sink(tmp_path), partitions=3)) as outside:
            outside.append(40)
            runs = [
                StreamRun(outside.stream.graph, outside.stream.options, records_max=4, partition=partition)
                for partition in range(3)
            ]
            while sum(run.step() for run in runs):
                pass
            for run in runs:
                run.finish()
                run.close()
            self._check(outside, tmp_path, crashes=0)

    # --- inside -----------------------------------------------------------------------------------------------------

    @pytest.fixture
    def outside(self, tmp_path: Path) -> Iterator[Outside]:
        with _opened(Outside(self.sink(tmp_path))) as outside:
            yield outside

    def _each_step(self, tmp_path: Path) -> Iterator[tuple[Outside, Path]]:
        """Return a new stream with records, once for each step that a stream without crashes makes."""
        steps, number = 1, 0
        while number < steps:
            folder = tmp_path / str(number)
            folder.mkdir()
            with _opened(Outside(self.sink(folder))) as outside:
                outside.append(14)
                if number:
                    yield outside, folder
                else:
                    outside.survive(lambda: 4)
                    steps = outside.interruptions.count + 1
            number += 1

    def _guarantee(self, outside: Outside) -> Guarantee:
        sink: Sink = outside.stream.graph.nodes[1].step.sink
        return sink.guarantee

    def _check(self, outside: Outside, folder: Path, *, crashes: int, told: str = "") -> None:
        """Compare what is outside with what was appended, by what the sink promises."""
        wanted = [sold(number) for number in range(outside.count)]
        seen = list(self.seen(folder))
        match self._guarantee(outside):
            case Guarantee.EXACTLY_ONCE:
                assert sorted(seen) == wanted, told
                assert _by_item(seen) == _by_item(wanted), told
            case Guarantee.IDEMPOTENT:
                last = {value.item: value for value in wanted}
                assert sorted(seen) == sorted(last.values()), told
            case Guarantee.AT_LEAST_ONCE:
                assert sorted(set(seen)) == wanted, told
                assert crashes or len(seen) == len(wanted), told
                # What is written again is written in order again: each value first comes after all before it.
                assert _by_item(list(dict.fromkeys(seen))) == _by_item(wanted), told


@contextmanager
def _opened(outside: Outside) -> Iterator[Outside]:
    with outside.app:
        yield outside


def _crash(number: int, step: str) -> None:
    raise Crash(f"at step {number}, {step}")


def _by_item(values: Sequence[Sold]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {f"item {number}": [] for number in range(ITEMS)}
    for value in values:
        found[value.item].append(value.number)
    return found


def _run_on(run: StreamRun) -> None:
    while run.step():
        pass
