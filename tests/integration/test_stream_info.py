"""What is told of a stream: by its reader, and from the log alone."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import polars as pl
import pytest
from tests.waiting import until

from millstream.app import App
from millstream.engines.connect import connect
from millstream.errors import UsageError
from millstream.log.housekeeping import Housekeeping
from millstream.log.log import Log
from millstream.log.topic import Topic
from millstream.records import time_to_us
from millstream.stream import StreamInfo, StreamReader, StreamState, StreamWatch, count, presence, table, tumbling
from millstream.stream.dropping import drop
from millstream.stream.health import StreamWatchdog
from millstream.stream.info import find_stream, find_streams, info_of, reader_groups
from millstream.testing.fake_clock import FakeClock
from millstream.web.operations import Operations, serve_operations
from millstream.web.stream_metrics import stream_metrics_text

PATIENCE_S = 60.0
BEGIN = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)


class Click(msgspec.Struct, frozen=True):
    page: str
    load_ms: int


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(time_to_us(BEGIN))


@pytest.fixture(params=["memory", "sqlite"])
def app(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Iterator[App]:
    url = "memory://" if request.param == "memory" else str(tmp_path / "log.db")
    with App(url, durability="relaxed", clock=clock) as app:
        yield app


@pytest.fixture
def clicks(app: App) -> Topic[Click]:
    return app.topic("clicks", Click)


def click(topic: Topic[Any], *seconds: float, page: str = "/") -> None:
    topic.extend([Click(page, int(s)) for s in seconds], times=[BEGIN + timedelta(seconds=s) for s in seconds])


def views(app: App, topic: Topic[Any], name: str = "views", **options: Any) -> StreamReader:
    @app.stream(topic, name=name, **options)
    def describe(s: Any) -> None:
        slow = s.filter(pl.col("load_ms") >= 0)
        slow.window(tumbling(seconds=10), by="page").agg(n=count()).to(f"{name}_counted")

    return describe


def now(app: App) -> None:
    app.run(until="now")


class Live:
    """A reader in a thread of its own."""

    def __init__(self, reader: StreamReader) -> None:
        self._reader = reader
        self.stop = threading.Event()
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            self._reader.run(self.stop)
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self.error = error

    def __enter__(self) -> Live:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_everything_a_stream_tells(app: App, clicks: Topic[Click], clock: FakeClock) -> None:
    reader = views(app, clicks)
    click(clicks, 1, 2, 11)
    click(clicks, 3, 12, page="/tea")  # 3 is late: its window has closed with 11
    now(app)
    click(clicks, 13, 14)
    clock.advance("30s")
    info = reader.info()
    assert (info.full_name, info.topics, info.outputs) == ("clicks/views", ("clicks",), ("views_counted",))
    assert (info.lag, info.committed, info.paused) == (2, {0: 5}, False)
    assert info.watermark_us == time_to_us(BEGIN) + 12_000_000
    assert info.watermark_delay_us == 18_000_000
    assert info.progress is not None
    assert (info.progress.records_in, info.progress.records_out, info.progress.batch_records) == (5, 1, 5)
    assert (info.late, info.open_windows, info.state_rows) == (1, 2, 2)
    assert info.state_bytes > 0
    assert [step.text.split("(")[0] for step in info.progress.steps] == ["1 filter", "2 window"]
    assert all(step.busy_s > 0 for step in info.progress.steps)


def test_lag_in_seconds_is_the_age_of_the_oldest_record_that_waits(
    app: App, clicks: Topic[Click], clock: FakeClock
) -> None:
    reader = views(app, clicks)
    click(clicks, 1)
    now(app)
    assert reader.info().lag_us == 0
    clock.advance("1h")  # nothing came for an hour: that is no lag
    click(clicks, 2)
    clock.advance("7s")
    click(clicks, 3)
    clock.advance("3s")
    assert reader.info().lag_us == 10_000_000


def test_lag_in_seconds_is_known_within_merged_batches(app: App, clicks: Topic[Click], clock: FakeClock) -> None:
    reader = views(app, clicks)
    for second in range(200):
        click(clicks, second)
        clock.advance("1s")
        if second == 99:
            now(app)
    Housekeeping(app.log.engine, clock).run_once(idle_us=0)
    info = reader.info()
    assert (info.lag, info.lag_us) == (100, 100_000_000)


def test_rates_end_when_nothing_is_committed(app: App, clicks: Topic[Click], clock: FakeClock) -> None:
    reader = views(app, clicks)
    click(clicks, *range(100))
    now(app)
    assert 0 < reader.info().rate_in <= 100  # as of a second at least, however short the run was
    assert reader.info().rate_out > 0
    clock.advance("11s")
    assert (reader.info().rate_in, reader.info().rate_out) == (0.0, 0.0)


def test_the_log_alone_tells_the_same(app: App, clicks: Topic[Click], clock: FakeClock) -> None:
    reader = views(app, clicks)
    click(clicks, 1, 2, 11)
    now(app)
    other = app.log if app.log.engine.url == "memory://" else Log(connect(app.log.engine.url, clock=clock), clock=clock)
    [found] = StreamWatch(other).look()
    assert found == reader.info()
    assert find_streams(other)[0].outline.text == reader.explain()
    assert find_streams(other)[0].outline.mermaid == reader.explain("mermaid")
    if other is not app.log:
        other.close()


def test_a_stream_is_there_before_its_first_record(app: App, clicks: Topic[Click]) -> None:
    views(app, clicks)
    assert StreamWatch(app.log).look() == []
    now(app)
    [found] = StreamWatch(app.log).look()
    assert (found.name, found.progress, found.state) == ("views", None, StreamState.UP_TO_DATE)


def test_a_description_that_changed_is_told(app: App, clicks: Topic[Click]) -> None:
    views(app, clicks)
    now(app)
    before = find_stream(app.log, "views").outline
    del app.streams["views"]

    @app.stream(clicks, name="views", changed="drop")
    def describe(s: Any) -> None:
        s.filter(pl.col("load_ms") > 5).to("slow")

    now(app)
    after = find_stream(app.log, "views").outline
    assert (before.outputs, after.outputs) == (("views_counted",), ("slow",))
    assert after.text == describe.explain()


def test_a_shared_stream_is_the_sum_of_its_partitions(app: App) -> None:
    clicks = app.topic("clicks", Click, key="page", partitions=4)
    reader = views(app, clicks, share=True)
    for page in ("/", "/tea", "/cake", "/pie", "/cup"):
        click(clicks, 1, 2, 11, page=page)
    now(app)
    info = reader.info()
    assert info.progress is not None
    assert (info.lag, info.progress.records_in, info.open_windows) == (0, 15, 5)
    assert info.progress.records_out == app.topic("views_counted").info().records > 1
    assert info.late > 0  # of pages that share a partition
    assert StreamWatch(app.log).look() == [info]


def test_streams_are_no_queues(app: App, clicks: Topic[Click]) -> None:
    prices = app.topic("prices", Click)

    @app.stream(clicks, table(prices, key="page"))
    def priced(s: Any, t: Any) -> None:
        s.join(t, on="page").to("priced_clicks")

    @app.queue(clicks)
    def send(click: Click) -> None: ...

    now(app)
    assert reader_groups(app.log) == {("clicks", "priced"), ("prices", "priced")}


# --- who runs it ------------------------------------------------------------------------------------------------------


def test_a_process_that_runs_it_is_seen_until_it_ends(app: App, clicks: Topic[Click]) -> None:
    reader = views(app, clicks)
    with Live(reader):
        until(lambda: bool(reader.info().processes))
        [sign] = reader.info().processes
        assert re.fullmatch(r".+:\d+", sign.process)
        assert sign.error is None
        click(clicks, 1)
        until(lambda: reader.info().lag == 0)
    assert reader.info().processes == ()
    click(clicks, 2)
    assert reader.info().state == StreamState.NO_PROCESS


def test_a_process_that_was_killed_is_forgotten(app: App, clicks: Topic[Click], clock: FakeClock) -> None:
    reader = views(app, clicks)
    now(app)
    told = presence.Presence(reader.group, "gone:1")
    told._tell(presence.Sign("gone:1", clock.now_us()), presence.EXPIRES_US)
    assert [sign.process for sign in reader.info().processes] == ["gone:1"]
    clock.advance("17s")
    assert reader.info().processes == ()


def test_the_step_at_which_it_is_stuck_is_seen(app: App, clicks: Topic[Click], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "BEAT_S", 0.05)
    go_on = threading.Event()

    @app.stream(clicks)
    def slow(s: Any) -> None:
        s.map(lambda click: go_on.wait(PATIENCE_S) and click).to("done")

    def stuck_at() -> str | None:
        signs = slow.info().processes
        return signs[0].step if signs else None

    click(clicks, 1)
    with Live(slow):
        try:
            until(lambda: (stuck_at() or "").startswith("1 map("))
            assert slow.info().state == StreamState.WORKING
        finally:
            go_on.set()
        until(lambda: slow.info().lag == 0 and stuck_at() is None)


def test_an_error_is_told_until_something_is_committed(app: App, clicks: Topic[Click], clock: FakeClock) -> None:
    broken = True

    def check(click: Click) -> Click:
        if broken:
            raise ValueError("no such page")
        return click

    @app.stream(clicks)
    def checked(s: Any) -> None:
        s.map(check).to("done")

    click(clicks, 1)
    with pytest.raises(Exception, match="no such page"):
        now(app)
    info = checked.info()
    assert info.state == StreamState.FAILING
    assert "no such page" in (info.error or "")
    assert info.processes == ()
    assert info.failing_s == 0
    clock.advance("5s")
    with pytest.raises(Exception, match="no such page"):
        now(app)
    clock.advance("1s")
    assert checked.info().failing_s == 6, "since the first of the runs that fail"
    broken = False
    now(app)
    assert (checked.info().error, checked.info().state) == (None, StreamState.UP_TO_DATE)
    assert checked.info().failing_s is None
    broken = True
    clock.advance("1s")
    click(clicks, 2)
    with pytest.raises(Exception, match="no such page"):
        now(app)
    clock.advance("2s")
    assert checked.info().failing_s == 2, "what was committed in between counts"


def test_an_error_is_told_also_while_it_is_tried_again(app: App, clicks: Topic[Click], clock: FakeClock) -> None:
    broken = True
    trying, go_on = threading.Event(), threading.Event()

    def check(click: Click) -> Click:
        if broken:
            raise ValueError("no such page")
        trying.set()
        assert go_on.wait(PATIENCE_S)
        return click

    @app.stream(clicks)
    def checked(s: Any) -> None:
        s.map(check).to("done")

    click(clicks, 1)
    with pytest.raises(Exception, match="no such page"):
        now(app)
    broken = False
    clock.advance("1s")
    with Live(checked):
        try:
            until(lambda: bool(checked.info().processes))
            assert trying.wait(PATIENCE_S)
            info = checked.info()
            assert (info.state, "no such page" in (info.error or "")) == (StreamState.FAILING, True)
        finally:
            go_on.set()
        until(lambda: checked.info().state == StreamState.UP_TO_DATE)
        assert checked.info().error is None


# --- health -----------------------------------------------------------------------------------------------------------


def test_a_stream_with_records_and_no_progress_is_stuck(app: App, clicks: Topic[Click], clock: FakeClock) -> None:
    reader = views(app, clicks)
    click(clicks, 1)
    now(app)
    watchdog = StreamWatchdog(clock, stall="10m")

    def stalls() -> list[str]:
        return [stall.message for stall in watchdog.look(StreamWatch(app.log).look())]

    assert stalls() == []
    clock.advance("1h")
    assert stalls() == []  # nothing waits
    click(clicks, 2)
    assert stalls() == []
    clock.advance("9m")
    assert stalls() == []
    clock.advance("1m")
    [message] = stalls()
    assert "stream views of topic clicks: nothing has been processed for 10 min" in message
    assert "1 records to go, the oldest of them appended 10 min ago; no process runs it" in message
    reader.pause()
    assert stalls() == []
    reader.resume()
    clock.advance("9m")
    assert stalls() == []
    now(app)
    clock.advance("9m")
    assert stalls() == []


def test_health_names_the_stream_that_is_stuck(app: App, clicks: Topic[Click], clock: FakeClock) -> None:
    views(app, clicks)
    now(app)
    click(clicks, 1)
    with serve_operations(app.log, [], port=0, streams=[("clicks", "views")], stall="10m") as serving:
        with httpx.Client(base_url=serving.url, timeout=PATIENCE_S) as client:
            assert client.get("/health").json() == {"status": "ok", "problems": []}
            clock.advance("10m")
            answer = client.get("/health")
            assert answer.status_code == 503
            [problem] = answer.json()["problems"]
            assert (problem["topic"], problem["stream"], problem["lag"]) == ("clicks", "views", 1)
            text = client.get("/metrics").text
            assert 'millstream_stream_stalled{topic="clicks",stream="views"} 1\n' in text
            assert 'millstream_stream_lag_records{topic="clicks",stream="views"} 1\n' in text
            assert 'group="views"' not in text
            found = client.get("/streams/views").json()
            assert (found["name"], found["lag"], found["state"]) == ("views", 1, "no process")
            assert client.get("/streams/clicks/views").json()["name"] == "views"
            assert [stream["name"] for stream in client.get("/streams").json()["streams"]] == ["views"]
            missing = client.get("/streams/nothing")
            assert (missing.status_code, missing.json()["error"]["code"]) == (404, "no_such_stream")


def test_another_programs_stream_is_no_reason_to_restart_this_one(
    app: App, clicks: Topic[Click], clock: FakeClock
) -> None:
    views(app, clicks)
    now(app)
    click(clicks, 1)
    operations = Operations(app.log, [], streams=[("clicks", "other")], stall="10m")
    operations.look()
    clock.advance("10m")
    look = operations.look()
    assert [stall.stream for stall in look.stream_stalls] == ["views"]
    assert operations.own_stream_stalls(look.stream_stalls) == []


def test_every_number_is_a_metric_with_its_unit(app: App, clicks: Topic[Click]) -> None:
    reader = views(app, clicks)
    click(clicks, 1, 2, 11)
    now(app)
    lines = [line for line in stream_metrics_text([reader.info()], set()).splitlines() if not line.startswith("#")]
    values = {}
    for line in lines:
        match = re.fullmatch(r'([a-z_]+)\{topic="clicks",stream="views"(?:,step="([^"\\]|\\.)+")?\} (\S+)', line)
        assert match, line
        values[match[1]] = float(match[3])
    assert values["millstream_stream_in_records_total"] == 3
    assert values["millstream_stream_out_records_total"] == 1
    assert values["millstream_stream_open_windows"] == 1
    assert values["millstream_stream_commits_total"] == 1
    units = ("_records", "_seconds", "_bytes", "_rows", "_windows", "_processes", "_total", "_paused", "_failing")
    assert [name for name in values if not name.endswith((*units, "_stalled"))] == []


# --- the end of a stream ----------------------------------------------------------------------------------------------


def test_a_dropped_stream_begins_anew(app: App, clicks: Topic[Click]) -> None:
    views(app, clicks)
    views(app, clicks, name="others")
    click(clicks, 1, 2, 11)
    now(app)
    others = find_stream(app.log, "others")
    assert drop(app.log, find_stream(app.log, "views")) > 0
    assert [stream.name for stream in find_streams(app.log)] == ["others"]
    assert info_of(app.log, "others", others.outline).open_windows == 1
    now(app)
    assert app.topic("views_counted").info().records == 2  # put out once more
    assert app.topic("others_counted").info().records == 1


def test_large_state_is_dropped_in_pieces(app: App, clicks: Topic[Click]) -> None:
    @app.stream(clicks)
    def visits(s: Any) -> None:
        s.key_by("page").stateful_map(lambda state, click: (state + 1, None), 0).to("nothing")

    # A few keys a commit: the changes of many at once are one row of a journal.
    for part in range(20):
        clicks.extend([Click(f"/{number}", number) for number in range(part * 50, part * 50 + 50)])
        now(app)
    steps: list[int] = []
    assert drop(app.log, find_stream(app.log, "visits"), steps.append) == 1_000
    assert steps == [100, 300, 700, 1_000]


def test_all_groups_of_a_dropped_stream_go(app: App, clicks: Topic[Click]) -> None:
    prices = app.topic("prices", Click)

    @app.stream(clicks, table(prices, key="page"))
    def priced(s: Any, t: Any) -> None:
        s.join(t, on="page").to("priced_clicks")

    now(app)
    drop(app.log, find_stream(app.log, "priced"))
    assert (app.log.engine.groups("clicks"), app.log.engine.groups("prices")) == ([], [])


def test_a_stream_that_runs_is_not_dropped(app: App, clicks: Topic[Click]) -> None:
    reader = views(app, clicks)
    with Live(reader):
        until(lambda: bool(reader.info().processes))
        with pytest.raises(UsageError, match=r"is run by .+; stop it first"):
            drop(app.log, find_stream(app.log, "views"))
        assert not reader.info().paused
    drop(app.log, find_stream(app.log, "views"))


# --- what follows -----------------------------------------------------------------------------------------------------


def test_a_window_that_closes_starts_a_queue_and_a_batch(app: App, clicks: Topic[Click]) -> None:
    views(app, clicks)
    sent: list[tuple[str, int]] = []
    reported: list[int] = []

    @app.queue("views_counted")
    def alert(window: dict[str, Any]) -> None:
        sent.append((window["page"], window["n"]))

    @app.batch("views_counted")
    def report(frame: pl.LazyFrame) -> None:
        reported.append(frame.select(pl.col("n").sum()).collect().item())

    click(clicks, 1, 2, 3)
    now(app)
    assert (sent, reported) == ([], [])  # the window is open
    click(clicks, 12)
    now(app)
    assert (sent, reported) == ([("/", 3)], [3])


def test_a_replay_into_a_second_topic_gives_what_the_first_has(app: App, clicks: Topic[Click]) -> None:
    views(app, clicks)
    click(clicks, *range(0, 100, 3))
    now(app)
    views(app, clicks, name="views_2", start=0)
    now(app)
    first, second = (
        app.topic(name).frame().select("page", "window_start", "n").collect()
        for name in ("views_counted", "views_2_counted")
    )
    assert second.equals(first)


def test_a_replay_from_a_time_has_what_was_appended_since(app: App, clicks: Topic[Click], clock: FakeClock) -> None:
    click(clicks, 1, 2)
    clock.advance("1h")
    since = BEGIN + timedelta(hours=1)
    click(clicks, 21, 22, 41)
    reader: StreamReader = views(app, clicks, start=since)
    now(app)
    info: StreamInfo = reader.info()
    assert info.progress is not None
    assert (info.progress.records_in, info.lag) == (3, 0)
    assert app.topic("views_counted").frame().select("n").collect()["n"].to_list() == [2]
