"""Random appends, crashes at any point, re-runs: every record is in exactly one run that succeeded."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.batch import Batch, BatchRun, Run
from millstream.batch.claim import Claim
from millstream.batch.files import Files
from millstream.batch.options import BatchOptions
from millstream.batch.scheduler import Scheduler
from millstream.batch.work import Again
from millstream.engines.memory.engine import MemoryEngine
from millstream.engines.protocol import StateChange
from millstream.log.log import Log
from millstream.testing.fake_clock import FakeClock

EXAMPLES: Final = 800 if os.environ.get("MILLSTREAM_FULL") == "1" else 60


class Event(msgspec.Struct, frozen=True):
    number: int


class Power(BaseException):
    """The process ends here: nothing after this line happens."""


CRASHES = ("none", "before", "written", "uncommitted", "committed", "raised")
"""Where a process dies: before the handler, after a file is prepared, before the commit, between it and the rename."""

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 5)),
        st.tuples(st.just("due"), st.sampled_from(CRASHES)),
        st.tuples(st.just("call"), st.sampled_from(CRASHES)),
        st.tuples(st.just("rerun"), st.sampled_from(("none", "raised", "uncommitted"))),
    ),
    max_size=25,
)


class Host:
    """What the processes of the test share: where the next one dies, and how many there were."""

    def __init__(self) -> None:
        self.crash = "none"
        self.dead = False
        self.born = 0

    def at(self, point: str) -> None:
        if self.crash == point:
            self.dead = True
            raise Power


class DyingFiles(Files):
    """Files of a process that may die."""

    host: Host

    def publish(self) -> None:
        self.host.at("committed")
        super().publish()

    def discard(self) -> None:
        if not self.host.dead:
            super().discard()


class DyingBatch(Batch):
    """A batch of a process that may die: nothing is given back or discarded then."""

    host: Host

    def _files(self, token: str, expect: Sequence[StateChange]) -> Files:
        files = DyingFiles(self.group, token, self.process, expect)
        files.host = self.host
        return files

    def _finish(self, blank: Run, rows: int, run: BatchRun) -> Run:
        self.host.at("uncommitted")
        return super()._finish(blank, rows, run)

    def give_back(self, claim: Claim, error: BaseException, again: Again | None = None) -> None:
        if not self.host.dead:
            super().give_back(claim, error, again)


class World:
    """A log, and programs that come and go."""

    def __init__(self, folder: Path, partitions: int) -> None:
        self.clock = FakeClock()
        self.log = Log(MemoryEngine(clock=self.clock), clock=self.clock, housekeeping=False)
        self.events = self.log.topic("events", Event, partitions=partitions)
        self.out = self.log.topic("out", Event)
        self.folder = folder
        self.host = Host()
        self.appended = 0
        self.begin()

    def begin(self) -> None:
        """Start a process."""
        options = BatchOptions.of(every="1h", missed="once", overlap="queue")
        self.batch = DyingBatch(self.events, self._handle, name="report", options=options)
        self.batch.host = self.host
        self.host.born += 1
        # No process has such a number, so that all others see this one as gone, and in this test none runs beside it.
        self.batch.process = (socket.gethostname(), 2**22 + self.host.born)
        self.scheduler = Scheduler(self.batch)

    def step(self, kind: str, argument: Any) -> None:
        if kind == "append":
            first, self.appended = self.appended, self.appended + argument
            self.events.extend([Event(number) for number in range(first, self.appended)])
            return
        self.host.crash = argument
        try:
            self._run(kind)
        except ValueError:
            pass
        except Power:
            self.host.dead = False
            self.begin()
        self.host.crash = "none"

    def check(self) -> None:
        """Compare what the log says of the runs with what came out of them."""
        runs = [run for run in self.batch.runs(limit=10_000) if run.outcome == "done" and run.moved]
        out = [record.value.number for record in self.out.read(records_max=100_000)]
        assert len(out) == len(set(out)), "no record is in two runs"
        ends = dict.fromkeys(range(self.events.partitions), 0)
        for run in runs:
            for part in run.ranges:
                assert part.start == ends[part.partition], "runs follow one another without a gap"
                ends[part.partition] = part.end
        assert ends == dict(self.batch.info().committed)
        assert len(out) == sum(ends.values()) == sum(run.rows for run in runs)
        state = self.batch.group.state(0).get(b"state")
        assert (msgspec.json.decode(state)["sum"] if state else 0) == sum(out)

    def _run(self, kind: str) -> None:
        if kind == "due":
            self.clock.advance("1h")
            for _ in range(4):
                self.scheduler.tick()
        elif kind == "call":
            self.batch.run()
        elif done := [run for run in self.batch.runs() if run.outcome == "done"]:
            self.batch.rerun(done[-1].id)

    def _handle(self, frame: pl.LazyFrame, run: BatchRun) -> None:
        self.host.at("before")
        numbers = frame.collect()["number"].to_list()
        run.to(self.out, [Event(number) for number in numbers])
        run.write(self.folder / f"{run.id}.csv", frame.select("number").collect())
        run.state["sum"] = run.state.get("sum", 0) + sum(numbers)
        self.host.at("written")
        if self.host.crash == "raised":
            raise ValueError("a bug")


@settings(max_examples=EXAMPLES, deadline=None)
@given(STEPS, st.integers(1, 3))
def test_every_record_is_in_exactly_one_run_that_succeeded(steps: list[tuple[str, Any]], partitions: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), partitions)
        for kind, argument in steps:
            world.step(kind, argument)
            world.check()
        # Whoever comes next ends what was begun, and everything is there, whole.
        world.step("call", "none")
        world.step("call", "none")
        world.check()
        assert world.batch.lag == 0
        out = sorted(record.value.number for record in world.out.read(records_max=100_000))
        assert out == list(range(world.appended))
        done = {run.id: run for run in world.batch.runs(limit=10_000) if run.outcome == "done"}
        files = {path.stem: path for path in Path(folder).iterdir()}
        assert files.keys() == done.keys(), "a file for each run that succeeded, and nothing hidden"
        for run_id, path in files.items():
            assert pl.read_csv(path).height == done[run_id].rows
        world.log.close()
