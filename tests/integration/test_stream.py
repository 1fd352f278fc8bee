"""What a stream promises, on every engine of one process."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from millstream.app import App
from millstream.errors import CommitConflictError, UsageError
from millstream.log.topic import Topic
from millstream.records import Record, time_from_us, time_to_us
from millstream.stream import Stream, StreamReader, count, max_, mean, min_, quantile, sum_, tumbling
from millstream.stream.options import options_of
from millstream.stream.run import StreamRun
from millstream.testing.fake_clock import FakeClock

PATIENCE_S = 60.0

MINUTE_US = 60_000_000
BEGIN = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)


class Click(msgspec.Struct, frozen=True):
    page: str
    load_ms: int
    score: float = 0.0


class Named(msgspec.Struct):
    name: str


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(time_to_us(BEGIN))


@pytest.fixture(params=["memory", "sqlite"])
def app(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Iterator[App]:
    url = "memory://" if request.param == "memory" else str(tmp_path / "log.db")
    with App(url, durability="relaxed", clock=clock) as app:
        yield app


def at(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def click(topic: Topic[Click], *moments: float, page: str = "/") -> None:
    topic.extend([Click(page, int(s)) for s in moments], times=[at(s) for s in moments])


def values(app: App, topic: str) -> list[Any]:
    if topic not in app.log.topics():
        return []
    return [record.value for record in records(app, topic)]


def records(app: App, topic: str) -> list[Record[Any]]:
    found: list[Record[Any]] = []
    source: Topic[Any] = app.topic(topic)
    for partition, end in source.end_offsets().items():
        start = 0
        while start < end:
            some = source.read(start, partition=partition, records_max=10_000)
            found += some
            start = some[-1].offset + 1
    return found


# --- steps ------------------------------------------------------------------------------------------------------------


def test_records_pass_through_in_order_with_key_and_event_time(app: App) -> None:
    clicks = app.topic("clicks", Click)
    for second in range(5):
        clicks.append(Click("/", second), key=f"k{second}", time=at(second))
    app.stream(clicks, name="copy")(lambda s: s.to("copies"))
    app.run(until="now")
    copies = app.topic("copies", Click).read()
    assert [r.value for r in copies] == [Click("/", n) for n in range(5)]
    assert [r.key for r in copies] == [f"k{n}".encode() for n in range(5)]
    assert [r.event_time for r in copies] == [at(n) for n in range(5)]


def test_columns_are_filtered_added_and_selected(app: App) -> None:
    clicks = app.topic("clicks", Click)
    click(clicks, 1, 2, 3, page="/a")

    @app.stream(clicks)
    def slow(s: Stream) -> None:
        kept = s.filter(pl.col("load_ms") > 1, pl.col("page") == "/a")
        kept.to("kept")
        timed = kept.with_columns(seconds=pl.col("load_ms") / 1000)
        timed.select("page", "seconds", twice=pl.col("load_ms") * 2).to("out")

    app.run(until="now")
    assert app.topic("kept", Click).read()[0].value == Click("/a", 2)
    assert values(app, "out") == [
        {"page": "/a", "seconds": 0.002, "twice": 4},
        {"page": "/a", "seconds": 0.003, "twice": 6},
    ]


def test_functions_get_values_and_may_drop_them(app: App) -> None:
    clicks = app.topic("clicks", Click)
    click(clicks, 1, 2, 3, 4)

    class Slow(msgspec.Struct):
        name: str
        at_ms: int

    def named(value: Click) -> Slow | None:
        return Slow(value.page, value.load_ms) if value.load_ms % 2 else None

    app.stream(clicks, name="named")(lambda s: s.filter(pl.col("load_ms") < 4).map(named).to("slow"))
    app.run(until="now")
    assert [r.value for r in app.topic("slow", Slow).read()] == [Slow("/", 1), Slow("/", 3)]
    assert [r.event_time for r in app.topic("slow", Slow).read()] == [at(1), at(3)]


def test_functions_after_columns_get_a_struct_of_the_columns(app: App) -> None:
    clicks = app.topic("clicks", Click)
    click(clicks, 1, 2)

    def halved(row: Any) -> dict[str, Any]:
        return {"half": row.load_ms / 2}

    app.stream(clicks, name="half")(lambda s: s.select("load_ms").map(halved).filter(pl.col("half") > 0.5).to("halves"))
    app.run(until="now")
    assert values(app, "halves") == [{"half": 1.0}]


def test_a_function_may_work_on_whole_frames(app: App) -> None:
    clicks = app.topic("clicks", Click)
    click(clicks, 1, 2)

    def doubled(frame: pl.DataFrame) -> pl.DataFrame:
        return pl.concat([frame, frame])

    @app.stream(clicks)
    def twice(s: Stream) -> None:
        s.map_batches(doubled).window(tumbling("1m")).agg(n=count()).to("counts")

    click(clicks, 60)
    app.run(until="now")
    assert [v["n"] for v in values(app, "counts")] == [4]


def test_a_function_on_frames_may_lose_all_but_the_event_time(app: App) -> None:
    clicks = app.topic("clicks", Click)
    click(clicks, 1, 2)

    def bare(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.select("_event_time", pl.col("load_ms").alias("ms"))

    app.stream(clicks, name="bare")(lambda s: s.map_batches(bare).to("bare"))
    app.stream(clicks, name="bad")(lambda s: s.map_batches(lambda frame: frame.select("page")).to("bad"))
    with pytest.raises(UsageError, match="no _event_time"):
        app.run(until="now")
    assert [(r.key, r.event_time, r.value) for r in records(app, "bare")] == [
        (None, at(1), {"ms": 1}), (None, at(2), {"ms": 2})
    ]  # fmt: skip


def test_each_calls_a_function_in_order(app: App) -> None:
    clicks = app.topic("clicks", Click)
    click(clicks, 1, 2, 3)
    seen: list[Click] = []
    app.stream(clicks, name="look")(lambda s: s.each(seen.append))
    app.run(until="now")
    assert [value.load_ms for value in seen] == [1, 2, 3]


def test_raw_topics_are_streams_too(app: App) -> None:
    raw = app.topic("raw")
    raw.append(b"a line")

    def parsed(line: bytes) -> dict[str, str]:
        return {"text": line.decode()}

    app.stream(raw, name="parse")(lambda s: s.map(parsed).to("lines"))
    app.stream(raw, name="copy")(lambda s: s.map(bytes.upper).to("loud"))
    app.run(until="now")
    assert values(app, "lines") == [{"text": "a line"}]
    assert values(app, "loud") == [b"A LINE"]


def test_an_output_topic_of_the_program_keeps_its_own_key_and_time(app: App) -> None:
    class View(msgspec.Struct):
        page: str
        moment: datetime

    views = app.topic("views", View, key="page", time="moment")
    clicks = app.topic("clicks", Click)
    clicks.append(Click("/a", 1), key="visitor")
    app.stream(clicks, name="view")(lambda s: s.map(lambda value: View(value.page, at(99))).to(views))
    app.run(until="now")
    (record,) = views.read()
    assert (record.key, record.event_time) == (b"/a", at(99))


def test_an_output_topic_exists_before_its_first_record(app: App) -> None:
    def named(value: Click) -> Named | None:
        return None

    clicks = app.topic("clicks", Click)

    @app.stream(clicks)
    def several(s: Stream) -> None:
        s.filter(pl.col("load_ms") > 1).to("same")
        s.select("page", seconds=pl.col("load_ms") / 1000).to("columns")
        s.map(named).to("mapped")
        s.window(tumbling("1m"), by="page").agg(n=count(), low=min_("load_ms")).to("windows")

    app.run(until="now")
    shown = {name: app.topic(name).schema.describe() for name in app.log.topics() if name != "clicks"}
    assert shown == {
        "same": clicks.schema.describe(),
        "columns": "page: str | None, seconds: float | None",
        "mapped": "name: str",
        "windows": ("page: str | None, window_start: datetime, window_end: datetime, n: int, low: int | None"),
    }


def test_an_output_topic_of_json_objects_takes_everything(app: App) -> None:
    objects = app.topic("objects", dict)
    objects.append({"other": 1})
    clicks = app.topic("clicks", Click)
    click(clicks, 1, 2)

    @app.stream(clicks)
    def both(s: Stream) -> None:
        s.to("objects")
        s.select("page").to("objects")

    app.run(until="now")
    pages = [{"page": "/"}] * 2
    assert values(app, "objects") == [
        {"other": 1}, {"page": "/", "load_ms": 1, "score": 0.0}, {"page": "/", "load_ms": 2, "score": 0.0}, *pages
    ]  # fmt: skip


def test_an_expression_over_many_records_is_refused(app: App) -> None:
    clicks = app.topic("clicks", Click)
    with pytest.raises(UsageError, match=r"stream 'total', test_stream\.py:\d+: .*one value a record"):
        app.stream(clicks, name="total")(lambda s: s.select(pl.col("load_ms").sum()).to("x"))


# --- windows ----------------------------------------------------------------------------------------------------------


def test_a_window_has_its_keys_bounds_and_aggregates(app: App) -> None:
    clicks = app.topic("clicks", Click)
    clicks.extend(
        [Click("/a", 10, 0.5), Click("/a", 30, 1.5), Click("/b", 20), Click("/z", 0)],
        times=[at(0), at(59.999999), at(30), at(60)],
    )

    @app.stream(clicks)
    def per_minute(s: Stream) -> None:
        (
            s.window(tumbling(minutes=1), by="page")
            .agg(
                views=count(),
                total=sum_("load_ms"),
                scores=sum_("score"),
                low=min_("load_ms"),
                high=max_("load_ms"),
                middle=mean("load_ms"),
                slow=quantile("load_ms", 0.75),
            )
            .to("page_views")
        )

    app.run(until="now")
    window = {"window_start": at(0), "window_end": at(60)}
    rest_a = {"total": 40, "scores": 2.0, "low": 10, "high": 30, "middle": 20.0, "slow": 25.0}
    rest_b = {"total": 20, "scores": 0.0, "low": 20, "high": 20, "middle": 20.0, "slow": 20.0}
    assert values(app, "page_views") == [
        {"page": "/a", **window, "views": 2, **rest_a},
        {"page": "/b", **window, "views": 1, **rest_b},
    ]
    assert [(r.key, r.event_time) for r in records(app, "page_views")] == [(b"/a", at(0)), (b"/b", at(0))]
    assert per_minute.info().open_windows == 1


def test_a_windows_results_become_the_type_that_the_target_was_given(app: App) -> None:
    clicks = app.topic("clicks", Click)
    click(clicks, 1, 2, 61)

    class PageCount(msgspec.Struct):
        page: str
        window_start: datetime
        views: int

    counts = app.topic("counts", PageCount)

    @app.stream(clicks)
    def per_minute(s: Stream) -> None:
        s.window(tumbling(minutes=1), by="page").agg(views=count()).to(counts)

    app.run(until="now")
    assert values(app, "counts") == [{"page": "/", "window_start": at(0), "views": 2}]


def test_steps_may_follow_a_window(app: App) -> None:
    clicks = app.topic("clicks", Click)
    click(clicks, 1, 2, 61, 121)

    @app.stream(clicks)
    def busy(s: Stream) -> None:
        counted = s.window(tumbling("1m")).agg(n=count())
        counted.filter(pl.col("n") > 1).select("n").to("busy")

    app.run(until="now")
    assert values(app, "busy") == [{"n": 2}]


def test_a_late_record_is_left_out_and_counted(app: App) -> None:
    clicks = app.topic("clicks", Click)

    @app.stream(clicks)
    def per_minute(s: Stream) -> None:
        s.window(tumbling("1m")).agg(n=count()).to("counts")

    # 59 is behind the watermark, but its window was not over; 58 comes after 60 has ended it.
    click(clicks, 59.5, 59, 60, 58, 130)
    app.run(until="now")
    assert [(v["window_start"], v["n"]) for v in values(app, "counts")] == [(at(0), 2), (at(60), 1)]
    assert per_minute.info().late == 1


def test_lateness_keeps_a_window_open_for_longer(app: App) -> None:
    clicks = app.topic("clicks", Click)

    @app.stream(clicks)
    def per_minute(s: Stream) -> None:
        s.window(tumbling("1m"), lateness="10s").agg(n=count()).to("counts")

    click(clicks, 1, 69.9, 2, 70, 3)
    app.run(until="now")
    assert [(v["window_start"], v["n"]) for v in values(app, "counts")] == [(at(0), 2)]
    assert per_minute.info().late == 1


def test_a_window_closes_though_nothing_else_comes(app: App, clock: FakeClock) -> None:
    clicks = app.topic("clicks", Click)

    @app.stream(clicks)
    def per_minute(s: Stream) -> None:
        s.window(tumbling("1m"), by="page").agg(n=count()).to("counts")

    click(clicks, 50, page="/a")
    run = per_minute.open()
    run.run_now(threading.Event())
    clock.advance("10s")
    run.idle()
    assert values(app, "counts") == []
    # One second more: what happened before the window ended may still be on its way into the log.
    clock.advance("1s")
    run.idle()
    assert [v["n"] for v in values(app, "counts")] == [1]
    # The clock alone makes nothing late that is not in a closed window.
    clock.advance("1h")
    run.idle()
    click(clicks, 61, 59)
    run.run_now(threading.Event())
    assert run.progress.late == 1
    assert run.progress.open == 1


def test_idle_input_closes_windows_of_a_running_stream(tmp_path: Path) -> None:
    """The same with the machine's clock, and after a restart: nobody appends while it runs."""
    with App(str(tmp_path / "log.db"), durability="relaxed") as app:
        clicks = app.topic("clicks", Click)

        @app.stream(clicks)
        def per_second(s: Stream) -> None:
            s.window(tumbling(milliseconds=100)).agg(n=count()).to("counts")

        clicks.append(Click("/", 1))
        app.run(until="now")
        counts = app.topic("counts")
        with app.start():
            (record,) = counts.read(0, wait=PATIENCE_S)
        assert record.value["n"] == 1


def test_a_paused_stream_waits_and_loses_nothing(app: App, clock: FakeClock) -> None:
    clicks = app.topic("clicks", Click)

    @app.stream(clicks)
    def copies(s: Stream) -> None:
        s.to("copies")
        s.window(tumbling("1m")).agg(n=count()).to("counts")

    click(clicks, 1)
    app.run(until="now")
    copies.pause()
    click(clicks, 2)
    clock.advance("1h")
    run = copies.open()
    assert run.step() == 0
    run.idle()
    assert (len(values(app, "copies")), values(app, "counts")) == (1, [])
    assert copies.info().paused
    copies.resume()
    assert run.step() == 1
    run.idle()
    assert [v["n"] for v in values(app, "counts")] == [2]


def test_a_new_stream_begins_where_it_is_told_to(app: App, clock: FakeClock) -> None:
    clicks = app.topic("clicks", Click)
    click(clicks, 0, 1)
    clock.advance("1h")
    moment = time_from_us(clock.now_us())
    click(clicks, 2, 3)
    for name, start in (("all", "start"), ("none", "end"), ("from_1", 1), ("since", moment)):
        reader = app.stream(clicks, name=name, start=start)(lambda s, name=name: s.to(name))  # type: ignore[arg-type]
        assert reader.info().lag in (0, 2, 3, 4)
    click(clicks, 4)
    app.run(until="now")
    found = {name: [v["load_ms"] for v in values(app, name)] for name in ("all", "none", "from_1", "since")}
    assert found == {"all": [0, 1, 2, 3, 4], "none": [4], "from_1": [1, 2, 3, 4], "since": [2, 3, 4]}


def test_until_now_leaves_windows_open_that_are_not_over(app: App, clock: FakeClock) -> None:
    clicks = app.topic("clicks", Click)
    app.stream(clicks, name="per_minute")(lambda s: s.window(tumbling("1m")).agg(n=count()).to("counts"))
    click(clicks, 1)
    clock.advance("1h")
    app.run(until="now")
    assert values(app, "counts") == []
    click(clicks, 2, 60)
    app.run(until="now")
    assert [v["n"] for v in values(app, "counts")] == [2]


def test_columns_that_a_window_cannot_use_are_named(app: App) -> None:
    clicks = app.topic("clicks", Click)
    click(clicks, 1)
    cases: list[tuple[Callable[[Stream], Any], str]] = [
        (lambda s: s.window(tumbling("1m"), by="pages").agg(n=count()).to("x"), "no such column.*page, load_ms, score"),
        (lambda s: s.window(tumbling("1m")).agg(n=sum_("ms")).to("x"), "no column 'ms'.*page, load_ms, score"),
        (lambda s: s.window(tumbling("1m")).agg(n=sum_("page")).to("x"), "'page' is String"),
        (lambda s: s.window(tumbling("1m"), by="list").agg(n=count()).to("x"), "no such column"),
    ]
    for number, (description, message) in enumerate(cases):
        with pytest.raises(UsageError, match=message):
            StreamReader(clicks, description=description, name=f"s{number}")


def test_keys_of_every_plain_type_survive_a_restart(app: App) -> None:
    class Visit(msgspec.Struct):
        name: str | None
        number: int
        ratio: float
        flag: bool
        day: datetime

    visits = app.topic("visits", Visit)
    first = Visit("a", -(2**62), 0.25, True, at(0))
    second = Visit(None, 2**62, -1.5, False, at(86400))
    reader = StreamReader(
        visits,
        description=lambda s: (
            s.window(tumbling("1m"), by=["name", "number", "ratio", "flag", "day"]).agg(n=count()).to("out")
        ),
        name="by_all",
    )
    for value in (first, second, first):
        visits.append(value, time=at(1))
        reader.run_now(threading.Event())
    visits.append(first, time=at(61))
    reader.run_now(threading.Event())
    found = {(v["name"], v["number"], v["ratio"], v["flag"], v["day"]): v["n"] for v in values(app, "out")}
    assert found == {("a", -(2**62), 0.25, True, at(0)): 2, (None, 2**62, -1.5, False, at(86400)): 1}
    assert {r.key for r in records(app, "out")} != {None}


# --- exactly once -----------------------------------------------------------------------------------------------------


class Crash(Exception):  # noqa: N818
    """This process ends here."""


def oracle(clicks: list[tuple[Click, int]], lateness_us: int) -> tuple[list[tuple[Any, ...]], int]:
    """Windows by brute force: one record at a time, as the definition says."""
    windows: dict[tuple[int, str], list[Click]] = {}
    watermark: int | None = None
    late = 0
    for value, us in clicks:
        start = us // MINUTE_US * MINUTE_US
        if watermark is not None and start + MINUTE_US + lateness_us <= watermark:
            late += 1
        else:
            windows.setdefault((start, value.page), []).append(value)
        watermark = us if watermark is None else max(watermark, us)
    assert watermark is not None
    results: list[tuple[Any, ...]] = []
    for (start, page), held in sorted(windows.items()):
        if start + MINUTE_US + lateness_us <= watermark:
            ms = pl.Series([value.load_ms for value in held])
            scores = [value.score for value in held]
            numbers = (len(held), ms.sum(), ms.min(), ms.max(), ms.quantile(0.9, "linear"), exact(scores))
            results.append((page, time_from_us(start), *numbers))
    return results, late


def exact(numbers: list[float]) -> float:
    return float(sum(map(Fraction, numbers)))


@pytest.mark.parametrize("seed", range(6))
def test_windows_do_not_depend_on_batch_boundaries_or_crashes(app: App, seed: int) -> None:
    chance = random.Random(seed)
    lateness_s = chance.choice([0, 5, 60])
    clicks = app.topic("clicks", Click)
    crashes: list[bool] = []

    def sometimes_crashes(value: Click) -> None:
        if chance.random() < 0.01:
            crashes.append(True)
            raise Crash

    def description(s: Stream) -> None:
        windowed = s.window(tumbling("1m"), by="page", lateness=lateness_s)
        windowed.agg(
            n=count(), total=sum_("load_ms"), low=min_("load_ms"), high=max_("load_ms"),
            slow=quantile("load_ms", 0.9), score=sum_("score"),
        ).to("windows")  # fmt: skip
        s.filter(pl.col("load_ms") >= 0).to("copies")
        # The last output, so that a crash finds everything before it computed and nothing of it committed.
        s.each(sometimes_crashes)

    given: list[tuple[Click, int]] = []
    now = BEGIN
    reader = StreamReader(clicks, description=description, name="s")
    run: StreamRun | None = None
    for _ in range(12):
        batch: list[tuple[Click, datetime]] = []
        for _ in range(chance.randrange(60)):
            now += timedelta(seconds=chance.expovariate(1 / 3))
            moment = now - timedelta(seconds=chance.choice([0, 0, 0, chance.random() * 150]))
            value = Click(f"/{chance.randrange(3)}", chance.randrange(100), chance.uniform(-1e6, 1e6) / 3)
            batch.append((value, moment))
        if batch:
            clicks.extend([value for value, _ in batch], times=[moment for _, moment in batch])
        given += [(value, time_to_us(moment)) for value, moment in batch]
        while run is None or clicks.end_offsets() != dict(reader.group.info().committed):
            if run is None or chance.random() < 0.2:
                run = reader.open(records_max=chance.randrange(1, 40))
            try:
                run.step()
            except Crash:
                run = None

    expected, late = oracle(given, lateness_s * 1_000_000)
    found = [
        (v["page"], v["window_start"], v["n"], v["total"], v["low"], v["high"], v["slow"], v["score"])
        for v in values(app, "windows")
    ]
    assert crashes
    assert sorted(found) == sorted(expected)
    assert found == sorted(found, key=lambda row: (row[1], row[0]))
    assert reader.info().late == late
    assert [v["load_ms"] for v in values(app, "copies")] == [value.load_ms for value, _ in given]


def test_a_log_that_was_left_open_by_a_dead_process_goes_on(tmp_path: Path) -> None:
    """Half of the records by a process that ends without closing anything, the others by the next one."""
    path = str(tmp_path / "log.db")

    def make() -> tuple[App, Topic[Click], StreamReader]:
        app = App(path, durability="relaxed")
        clicks = app.topic("clicks", Click)
        reader = app.stream(clicks, name="s")(lambda s: s.window(tumbling("1m")).agg(n=count()).to("windows"))
        return app, clicks, reader

    first, clicks, reader = make()
    click(clicks, *range(100))
    run = reader.open(records_max=7)
    for _ in range(5):
        run.step()
    second, clicks, reader = make()
    click(clicks, *range(100, 181))
    second.run(until="now")
    assert [v["n"] for v in values(second, "windows")] == [60, 60, 60]
    second.close()
    first.close()


def test_partitions_are_read_together(app: App) -> None:
    clicks = app.topic("clicks", Click, key="page", partitions=4)
    app.stream(clicks, name="s")(lambda s: s.window(tumbling("1m"), by="page").agg(n=count()).to("windows"))
    for page in "abcdefgh":
        click(clicks, *range(60), page=page)
    for page in "abcdefgh":
        click(clicks, 61, page=page)
    app.run(until="now")
    assert {v["page"]: v["n"] for v in values(app, "windows")} == dict.fromkeys("abcdefgh", 60)


def test_a_second_run_of_a_stream_is_told_that_it_is_not_alone(app: App) -> None:
    clicks = app.topic("clicks", Click)
    reader = app.stream(clicks, name="s")(lambda s: s.to("copies"))
    click(clicks, 1, 2)
    one, other = (reader.open() for _ in range(2))
    one.step()
    with pytest.raises(CommitConflictError):
        other.step()
    assert len(values(app, "copies")) == 2


def test_an_error_in_a_function_stops_the_stream_and_skips_nothing(app: App) -> None:
    clicks = app.topic("clicks", Click)
    click(clicks, 1, 2, 3)
    broken = [True]

    def picky(value: Click) -> Click:
        if broken and value.load_ms == 2:
            raise ValueError("not this one")
        return value

    app.stream(clicks, name="s")(lambda s: s.map(picky).to("out"))
    with pytest.raises(ValueError, match="not this one"):
        app.run(until="now")
    assert values(app, "out") == []
    broken.clear()
    app.run(until="now")
    assert [v["load_ms"] for v in values(app, "out")] == [1, 2, 3]


def test_state_of_a_step_that_changed_is_not_forgotten_silently(app: App, caplog: pytest.LogCaptureFixture) -> None:
    clicks = app.topic("clicks", Click)
    click(clicks, 1)

    def described(size: str, **settings: Any) -> StreamReader:
        def description(s: Stream) -> None:
            s.window(tumbling(size)).agg(n=count()).to("sized")
            s.window(tumbling("2m"), by="page").agg(n=count()).to("pages")

        return StreamReader(clicks, description=description, name="s", options=options_of(**settings))

    described("1m").run_now(threading.Event())
    with pytest.raises(UsageError, match=r"state of steps that are not described any more: window.tumbling.1m.*"):
        described("5m").run_now(threading.Event())
    with caplog.at_level("INFO", "millstream.stream"):
        described("5m", changed="drop").run_now(threading.Event())
    assert any("1 of the steps go on with what they hold" in message for message in caplog.messages)
    click(clicks, 2, 600)
    described("5m").run_now(threading.Event())
    assert [v["n"] for v in values(app, "pages")] == [2]
    assert [v["n"] for v in values(app, "sized")] == [1]


def test_a_declared_description_is_still_a_plain_function(app: App) -> None:
    @app.stream(app.topic("clicks", Click))
    def copy(s: Stream) -> str:
        s.to("copies")
        return "described"

    class Described:
        def to(self, target: str) -> None:
            assert target == "copies"

    assert copy(Described()) == "described"
