"""What a batch promises, on every engine of one process."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import msgspec
import polars as pl
import pytest

from millstream.app import App
from millstream.batch import Batch, Run
from millstream.errors import CommitConflictError, UsageError
from millstream.log.topic import OffsetRange, Topic
from millstream.records import time_from_us
from millstream.testing.fake_clock import FakeClock


class Click(msgspec.Struct, frozen=True):
    page: str
    load_ms: int


@pytest.fixture(params=["memory", "sqlite"])
def app(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Iterator[App]:
    url = "memory://" if request.param == "memory" else str(tmp_path / "log.db")
    with App(url, durability="relaxed", clock=clock) as app:
        yield app


def click(topic: Topic[Click], count: int, first: int = 0) -> None:
    topic.extend([Click(f"/{n % 3}", n) for n in range(first, first + count)])


def numbers(frame: pl.LazyFrame) -> list[int]:
    return frame.select("load_ms").collect()["load_ms"].to_list()


def test_a_run_gets_exactly_the_records_since_the_last_one(app: App) -> None:
    clicks = app.topic("clicks", Click)
    seen: list[list[int]] = []

    @app.batch(clicks)
    def report(frame: pl.LazyFrame) -> None:
        assert isinstance(frame, pl.LazyFrame)
        seen.append(numbers(frame))

    click(clicks, 5)
    report.run()
    click(clicks, 3, first=5)
    report.run()
    report.run()
    assert seen == [[0, 1, 2, 3, 4], [5, 6, 7], []]


def test_the_ranges_of_runs_are_adjacent_and_disjoint(app: App) -> None:
    clicks = app.topic("clicks", Click, key="page", partitions=3)
    seen: list[int] = []
    chance = random.Random(1)
    report = app.batch(clicks, name="report")(lambda frame: seen.extend(numbers(frame)))
    total = 0
    for _ in range(8):
        count = chance.randrange(20)
        click(clicks, count, first=total)
        total += count
        report.run()
    assert sorted(seen) == list(range(total))
    ends = {0: 0, 1: 0, 2: 0}
    for run in report.runs():
        for part in run.ranges:
            assert part.start == ends[part.partition]
            ends[part.partition] = part.end
    assert ends == clicks.end_offsets()


def test_records_that_come_during_a_run_belong_to_the_next_one(app: App) -> None:
    clicks = app.topic("clicks", Click)
    click(clicks, 2)
    seen: list[list[int]] = []

    @app.batch(clicks)
    def report(frame: pl.LazyFrame) -> None:
        click(clicks, 1, first=10 + len(seen))
        seen.append(numbers(frame))

    report.run()
    report.run()
    assert seen == [[0, 1], [10]]


def test_a_failing_run_leaves_its_input_to_the_next_one(app: App) -> None:
    clicks = app.topic("clicks", Click)
    click(clicks, 2)
    seen: list[list[int]] = []

    @app.batch(clicks)
    def report(frame: pl.LazyFrame) -> None:
        seen.append(numbers(frame))
        if len(seen) == 1:
            raise ValueError("no disk")

    with pytest.raises(ValueError, match="no disk"):
        report.run()
    click(clicks, 1, first=2)
    report.run()
    assert seen == [[0, 1], [0, 1, 2]]
    assert [(run.outcome, run.error) for run in report.runs()] == [("failed", "ValueError: no disk"), ("done", None)]


def test_a_run_is_remembered_with_what_it_was(app: App, clock: FakeClock) -> None:
    clicks = app.topic("clicks", Click)
    click(clicks, 4)
    begun_us = clock.now_us()

    @app.batch(clicks)
    def report(frame: pl.LazyFrame) -> pl.DataFrame:
        clock.advance("3s")
        return frame.group_by("page").len().collect()

    result = report.run()
    assert result.result.height == 3
    (run,) = report.runs()
    assert run == Run(
        id=result.id,
        batch="report",
        ranges=[OffsetRange(0, 0, 4)],
        rows=4,
        started=time_from_us(begun_us),
        duration_us=3_000_000,
        outcome=run.outcome,
        moved=True,
        process=run.process,
    )
    assert run.outcome == "done"


def test_runs_can_be_queried_as_a_topic(app: App) -> None:
    clicks = app.topic("clicks", Click)
    click(clicks, 4)
    app.batch(clicks, name="report")(lambda frame: None).run()
    assert app.sql('SELECT rows, outcome FROM "report.runs"').rows() == [(4, "done")]


def test_the_last_runs_are_listed_the_newest_last(app: App) -> None:
    clicks = app.topic("clicks", Click)
    report = app.batch(clicks, name="report")(lambda frame: None)
    assert report.runs() == []
    ids = [report.run().id for _ in range(5)]
    assert [run.id for run in report.runs()] == ids
    assert [run.id for run in report.runs(limit=2)] == ids[-2:]
    assert len(set(ids)) == 5


def test_a_rerun_gets_the_same_input_and_moves_nothing(app: App) -> None:
    clicks = app.topic("clicks", Click)
    seen: list[list[int]] = []
    report = app.batch(clicks, name="report")(lambda frame: seen.append(numbers(frame)))
    click(clicks, 3)
    first = report.run()
    click(clicks, 2, first=3)
    again = report.rerun(first.id)
    report.run()
    assert seen == [[0, 1, 2], [0, 1, 2], [3, 4]]
    assert (again.rerun_of, again.ranges, again.moved) == (first.id, first.ranges, False)


def test_a_rerun_of_an_unknown_run_is_refused(app: App) -> None:
    report = app.batch(app.topic("clicks", Click), name="report")(lambda frame: None)
    with pytest.raises(UsageError, match="no run 'x'"):
        report.rerun("x")


def test_a_run_since_the_start_sees_everything_and_moves_nothing(app: App) -> None:
    clicks = app.topic("clicks", Click)
    seen: list[list[int]] = []
    report = app.batch(clicks, name="report")(lambda frame: seen.append(numbers(frame)))
    click(clicks, 2)
    report.run()
    click(clicks, 2, first=2)
    report.run(since="start")
    report.run()
    assert seen == [[0, 1], [0, 1, 2, 3], [2, 3]]
    with pytest.raises(UsageError, match="since"):
        report.run(since="yesterday")  # type: ignore[arg-type]


def test_of_two_runs_over_the_same_records_one_commits(app: App) -> None:
    clicks = app.topic("clicks", Click)
    click(clicks, 2)

    # The same batch, as another process has it, asked to run while this one is at it.
    other = Batch(clicks, lambda frame: None, name="report")

    @app.batch(clicks)
    def report(frame: pl.LazyFrame) -> None:
        with pytest.raises(CommitConflictError, match="is being run by process"):
            other.run()

    assert report.run().rows == 2
    assert len(report.runs()) == 1
    assert report.info().lag == 0


def test_a_declared_handler_is_still_a_plain_function(app: App) -> None:
    clicks = app.topic("clicks", Click)
    click(clicks, 3)

    @app.batch(clicks)
    def report(frame: pl.LazyFrame) -> int:
        return frame.collect().height

    assert report(clicks.frame()) == 3


async def _async(frame: pl.LazyFrame) -> None: ...


def test_a_handler_that_cannot_be_called_is_refused(app: App) -> None:
    clicks = app.topic("clicks", Click)
    with pytest.raises(UsageError, match="one argument"):
        app.batch(clicks, name="report")(lambda: None)
    with pytest.raises(UsageError, match="async"):
        app.batch(clicks, name="report")(_async)
