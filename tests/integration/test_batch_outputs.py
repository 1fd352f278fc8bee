"""What a handler gives to its run, and what it can ask of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from millstream import App, BatchRun, CommitConflictError, RunCancelledError, UsageError, gathered
from millstream.batch.scheduler import Scheduler
from millstream.log.topic import Topic


class Click(msgspec.Struct, frozen=True):
    page: str
    load_ms: int


class Total(msgspec.Struct, frozen=True):
    page: str
    views: int


@pytest.fixture(params=["memory", "sqlite"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[App]:
    with App("memory://" if request.param == "memory" else str(tmp_path / "log.db"), durability="relaxed") as app:
        yield app


@pytest.fixture
def clicks(app: App) -> Topic[Click]:
    topic = app.topic("clicks", Click)
    topic.extend([Click(f"/{n % 3}", n) for n in range(6)])
    return topic


@pytest.fixture
def totals(app: App) -> Topic[Total]:
    return app.topic("totals", Total)


def count(frame: pl.LazyFrame) -> pl.LazyFrame:
    return frame.group_by("page").agg(views=pl.len().cast(pl.Int64)).sort("page")


def test_outputs_appear_with_the_run(app: App, clicks: Topic[Click], totals: Topic[Total], tmp_path: Path) -> None:
    place = tmp_path / "out" / "report.parquet"

    @app.batch(clicks)
    def report(frame: pl.LazyFrame, run: BatchRun) -> None:
        run.to(totals, count(frame).collect())
        run.to(totals, [Total("all", frame.collect().height)])
        run.write(place, count(frame))
        run.write(tmp_path / "done.txt", f"run {run.id}\n")
        run.state["runs"] = run.state.get("runs", 0) + 1
        run.log(f"{len(run.ranges)} topics")
        assert not place.exists()
        assert totals.info().records == 0

    result = report.run()
    assert pl.read_parquet(place)["views"].to_list() == [2, 2, 2]
    assert (tmp_path / "done.txt").read_text() == f"run {result.id}\n"
    assert [record.value.views for record in totals.read()] == [2, 2, 2, 6]
    assert report.show(result.id).log == ["1 topics"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["report.parquet"]
    clicks.append(Click("/", 1))

    @app.batch(clicks, name="later")
    def later(frame: pl.LazyFrame, run: BatchRun) -> Any:
        return run.state

    assert later.run().result == {}


def test_a_run_that_fails_leaves_nothing(app: App, clicks: Topic[Click], totals: Topic[Total], tmp_path: Path) -> None:
    @app.batch(clicks)
    def report(frame: pl.LazyFrame, run: BatchRun) -> None:
        run.to(totals, count(frame).collect())
        run.write(tmp_path / "report.csv", count(frame).collect())
        run.state["seen"] = True
        run.log("about to fail")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        report.run()
    assert totals.info().records == 0
    assert not [path for path in tmp_path.iterdir() if "report" in path.name]
    assert report.group.state(0) == {}, "no claim, no notes of files, no state"
    assert report.lag == 6


def test_state_is_kept_from_run_to_run(app: App, clicks: Topic[Click]) -> None:
    @app.batch(clicks)
    def report(frame: pl.LazyFrame, run: BatchRun) -> int:
        run.state["sum"] = run.state.get("sum", 0) + frame.collect().height
        return int(run.state["sum"])

    first = report.run()
    assert first.result == 6
    clicks.append(Click("/", 1))
    assert report.run().result == 7
    assert report.rerun(first.id).result == 13, "a re-run sees the state, and changes nothing of it"
    assert report.run().result == 7


def test_a_rerun_replaces_files_and_appends_nothing_twice(
    app: App, clicks: Topic[Click], totals: Topic[Total], tmp_path: Path
) -> None:
    marks = iter("ABC")

    @app.batch(clicks)
    def report(frame: pl.LazyFrame, run: BatchRun) -> None:
        run.to(totals, count(frame).collect())
        run.write(tmp_path / "mark.txt", next(marks))

    first = report.run()
    again = report.rerun(first.id)
    assert again.rows == 6
    assert (tmp_path / "mark.txt").read_text() == "B"
    assert totals.info().records == 3
    report.rerun(first.id, append=True)
    assert totals.info().records == 6
    assert [(run.trigger, run.moved) for run in report.runs()] == [("call", True), ("rerun", False), ("rerun", False)]


def test_several_topics_are_read_together(app: App, clicks: Topic[Click], totals: Topic[Total]) -> None:
    totals.append(Total("/", 1))

    @app.batch([clicks, totals], name="both")
    def both(frames: dict[str, pl.LazyFrame]) -> list[int]:
        return [frames["clicks"].collect().height, frames["totals"].collect().height]

    @app.batch([clicks, totals])
    def named(totals: pl.DataFrame, clicks: pl.LazyFrame, run: BatchRun) -> list[int]:
        return [clicks.collect().height, totals.height]

    assert both.run().result == [6, 1]
    assert named.run().result == [6, 1]
    totals.append(Total("/", 2))
    run = both.run()
    assert (run.result, run.rows, both.lag) == ([0, 1], 1, 0)
    assert both.rerun(run.id).result == [0, 1]
    with pytest.raises(UsageError, match="or one for each topic: clicks, totals"):
        app.batch([clicks, totals], name="wrong")(lambda clicks, sums: None)


def test_a_handler_gets_its_input_in_the_form_it_asks_for(app: App, clicks: Topic[Click]) -> None:
    @app.batch(clicks)
    def pieces(frames: Iterator[pl.DataFrame]) -> list[int]:
        return [frame.height for frame in frames]

    @app.batch(clicks)
    def eager(frame: pl.DataFrame) -> int:
        return frame.height

    assert pieces.run().result == [6]
    assert pieces.run().result == []
    assert eager.run().result == 6


def test_a_large_input_comes_in_pieces_in_order(app: App) -> None:
    many = app.topic("many", Click, partitions=2)
    for partition in range(2):
        many.extend(
            pl.DataFrame({"page": ["/"] * 150_000, "load_ms": range(150_000), "_key": [b"%d" % partition] * 150_000})
        )
    ends = many.end_offsets()

    @app.batch(many)
    def pieces(frames: Iterator[pl.DataFrame]) -> list[tuple[int, int, int]]:
        return [(f["_partition"][0], f["_offset"].min(), f.height) for f in frames]  # type: ignore[misc]

    found = pieces.run().result
    assert sum(height for _, _, height in found) == 300_000
    assert max(height for _, _, height in found) <= 131_072
    assert found == sorted(found)
    assert {partition for partition, _, _ in found} == {p for p, end in ends.items() if end}


def test_a_handler_gets_a_relation_of_duckdb(app: App, clicks: Topic[Click]) -> None:
    duckdb = pytest.importorskip("duckdb")

    @app.batch(clicks)
    def relation(records: "duckdb.DuckDBPyRelation") -> Any:  # type: ignore[name-defined] # noqa: UP037
        return records.aggregate("page, sum(load_ms) AS total", "page").order("page").fetchall()

    assert relation.run().result == [("/0", 3), ("/1", 5), ("/2", 7)]


def test_a_backfill_runs_over_windows_of_event_time(app: App, clicks: Topic[Click], totals: Topic[Total]) -> None:
    old = app.topic("old", Click)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    for day in range(3):
        old.append(Click("/", day), time=start + timedelta(days=day, hours=12))

    @app.batch(old)
    def daily(frame: pl.LazyFrame, run: BatchRun) -> Any:
        assert run.window is not None
        run.to(totals, [Total(f"{run.window[0]:%d}", frame.collect().height)])
        return frame.collect()["load_ms"].to_list()

    runs = daily.backfill(start, start + timedelta(days=2, hours=6), by="1d")
    assert [run.result for run in runs] == [[0], [1], []]
    assert [run.window_end for run in runs][-1] == start + timedelta(days=2, hours=6)
    assert daily.lag == 3, "a backfill moves no offsets"
    assert totals.info().records == 0
    daily.backfill(start, start + timedelta(days=1), append=True)
    assert [record.value for record in totals.read()] == [Total("01", 1)]
    assert daily.rerun(runs[1].id).result == [1]
    with pytest.raises(UsageError, match="holds no time"):
        daily.backfill(start, start)
    with pytest.raises(UsageError, match="windows"):
        daily.backfill(start, start + timedelta(days=1), by="1ms")


def test_a_run_is_cancelled_from_elsewhere(app: App, clicks: Topic[Click], totals: Topic[Total]) -> None:
    begun, ended = threading.Event(), threading.Event()

    @app.batch(clicks, when=None, every="1h")
    def report(frame: pl.LazyFrame, run: BatchRun) -> None:
        run.to(totals, [Total("x", 1)])
        run.progress(0.25, "reading")
        begun.set()
        ended.wait(60)  # never looks whether it should end

    claim = report.take("every")

    def work() -> None:
        with pytest.raises(RunCancelledError):
            report.work(claim)

    thread = threading.Thread(target=work)
    thread.start()
    assert begun.wait(30)
    running = report.running()
    assert running is not None
    assert running[0].run_id == claim.run_id
    until = time.monotonic() + 30
    while (told := report.running()) is None or told[1] is None or told[1].share is None:
        assert time.monotonic() < until
        time.sleep(0.05)
    assert (told[1].share, told[1].text) == (0.25, "reading")
    with pytest.raises(UsageError, match="run x is not in progress"):
        report.cancel("x")
    with pytest.raises(CommitConflictError, match="is being run"):
        report.run()
    assert report.cancel() == claim.run_id
    thread.join(30)
    assert not thread.is_alive()
    ended.set()
    assert [run.outcome for run in report.runs()] == ["cancelled"]
    assert totals.info().records == 0
    with pytest.raises(UsageError, match="no run in progress"):
        report.cancel()
    assert report.lag == 6


def test_a_run_that_takes_too_long_has_failed(app: App, clicks: Topic[Click], totals: Topic[Total]) -> None:
    ended = threading.Event()

    @app.batch(clicks, timeout="50ms")
    def report(frame: pl.LazyFrame, run: BatchRun) -> None:
        run.to(totals, [Total("x", 1)])
        ended.wait(60)

    with pytest.raises(TimeoutError, match=r"longer than its timeout of 0\.05 s"):
        report.run()
    ended.set()
    assert totals.info().records == 0
    assert "TimeoutError" in str(report.runs()[0].error)


def test_a_run_that_was_taken_over_commits_nothing(app: App, clicks: Topic[Click], totals: Topic[Total]) -> None:
    @app.batch(clicks)
    def report(frame: pl.LazyFrame, run: BatchRun) -> None:
        run.to(totals, [Total(run.trigger, run.attempt)])
        if run.attempt == 1:
            claim, raw = report.running(), report.group.state(0)[b"claim"]
            assert claim is not None
            # As another process does that has heard nothing of this one for long.
            report.work(report.take_over(claim[0], raw))

    with pytest.raises(CommitConflictError):
        report.run()
    assert [record.value.views for record in totals.read()] == [2]
    assert [(run.outcome, run.attempt) for run in report.runs()] == [("crashed", 1), ("done", 2)]
    assert report.lag == 0


def test_a_process_that_is_not_heard_of_is_replaced(app: App, clicks: Topic[Click]) -> None:
    report = app.batch(clicks, every="1h", name="report")(lambda frame: frame.collect().height)
    dead = report.take("every")
    report.group.commit([], state=[_gone(dead)])
    Scheduler(report).tick()
    assert [(run.outcome, run.attempt, run.rows) for run in report.runs()] == [("crashed", 1, 0), ("done", 2, 6)]


def test_a_run_that_kills_its_process_again_and_again_is_given_up_on(app: App, clicks: Topic[Click]) -> None:
    report = app.batch(clicks, every="1h", name="report")(lambda frame: None)
    report.take("every")
    for crashes in range(3):
        running = report.running()
        assert running is not None
        report.group.commit([], state=[_gone(msgspec.structs.replace(running[0], crashes=crashes))])
        if crashes < 2:
            report.take_over(_claim(report), report.group.state(0)[b"claim"])
    Scheduler(report).tick()
    assert report.running() is None
    assert report.runs()[-1].error == "3 processes died of it"
    assert report.lag == 6, "its records go to the next run"


def test_a_program_that_is_stopped_hard_leaves_its_run_to_the_next(app: App, clicks: Topic[Click]) -> None:
    begun, ended = threading.Event(), threading.Event()

    @app.batch(clicks, when=gathered(records=1))
    def report(frame: pl.LazyFrame) -> int:
        begun.set()
        assert ended.wait(60)
        return frame.collect().height

    running = app.start()
    assert begun.wait(30)
    assert not running.stop(grace=0.01)
    running.abort()
    assert report.running() is None
    ended.set()
    Scheduler(report).tick()
    assert [(run.outcome, run.rows) for run in report.runs()] == [("cancelled", 0), ("done", 6)]
    assert len({run.id for run in report.runs()}) == 1


def test_a_file_of_a_handler_that_was_left_behind_is_removed(app: App, clicks: Topic[Click], tmp_path: Path) -> None:
    slow, written = threading.Event(), threading.Event()

    @app.batch(clicks, timeout="50ms")
    def report(frame: pl.LazyFrame, run: BatchRun) -> None:
        def late(number: int) -> int:
            slow.wait(60)
            return number

        content = frame.select(pl.col("load_ms").map_elements(late, return_dtype=pl.Int64))
        try:
            run.write(tmp_path / "late.csv", content)
        finally:
            written.set()

    with pytest.raises(TimeoutError):
        report.run()
    slow.set()
    assert written.wait(30)
    assert not [path for path in tmp_path.iterdir() if "late" in path.name]


def _claim(report: Any) -> Any:
    return report.running()[0]


def _gone(claim: Any) -> Any:
    """Return the claim as a process that is gone held it."""
    from millstream.batch.claim import put

    return put(b"claim", msgspec.structs.replace(claim, pid=2**22 + 1))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [("x.txt", pl.DataFrame(), "does not say how a frame"), ("x.csv", 5, "writes frames, text or bytes, not int")],
)
def test_what_cannot_be_written_is_refused(
    app: App, clicks: Topic[Click], tmp_path: Path, name: str, content: Any, says: str
) -> None:
    report = app.batch(clicks, name="report")(lambda frame, run: run.write(tmp_path / name, content))
    with pytest.raises(UsageError, match=says):
        report.run()
    with pytest.raises(UsageError, match="give a topic"):
        app.batch(clicks, name="other")(lambda frame, run: run.to("totals", [])).run()
