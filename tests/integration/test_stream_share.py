"""Processes that share the partitions of a stream: each partition is run once, whoever comes, goes or fails."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest
from tests.waiting import until

from millstream import sinks
from millstream.app import App
from millstream.errors import UsageError
from millstream.stream import StreamReader, count, table, tumbling
from millstream.stream.membership import assigned, members
from millstream.stream.run import StreamRun

PARTITIONS = 4
BEGIN = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)


class Click(msgspec.Struct, frozen=True):
    visitor: str
    n: int


class Visitor(msgspec.Struct, frozen=True):
    visitor: str
    country: str


def declare(app: App, *, share: bool = True, name: str = "visits", **options: Any) -> StreamReader:
    clicks = app.topic("clicks", Click, key="visitor", partitions=PARTITIONS)

    def describe(s: Any) -> None:
        s.window(tumbling("1m"), by="visitor").agg(n=count()).to("counts")
        s.stateful_map(numbered, 0).to("numbered")

    return app.stream(clicks, name=name, share=share, **options)(describe)


def numbered(state: int, click: Any) -> tuple[int, dict[str, Any]]:
    return state + 1, {"visitor": click.visitor, "n": click.n, "nth": state + 1}


def click(app: App, visitors: int, second: float, n: int = 0) -> None:
    clicks = app.topic("clicks", Click)
    values = [Click(f"v{visitor}", n) for visitor in range(visitors)]
    clicks.extend(values, times=[BEGIN + timedelta(seconds=second)] * visitors)


def values(app: App, topic: str) -> list[Any]:
    if topic not in app.log.topics():
        return []
    return [record.value for record in app.topic(topic).read(records_max=1_000_000)]


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "log.db")


@contextmanager
def another(path: str, **options: Any) -> Iterator[tuple[App, StreamReader]]:
    """Run the stream as another process does: with connections of its own."""
    with App(path, durability="relaxed") as app:
        reader = declare(app, **options)
        with app.start():
            yield app, reader


# --- until now --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["memory", "sqlite"])
def test_each_partition_is_a_stream_of_its_own(path: str, url: str) -> None:
    with App("memory://" if url == "memory" else path, durability="relaxed") as app:
        reader = declare(app)
        for minute in range(3):
            click(app, 20, 60 * minute, minute)
        assert reader.run_now(threading.Event()) == 60
        found = Counter((row["visitor"], row["window_start"]) for row in values(app, "counts"))
        assert found == {(f"v{v}", BEGIN + timedelta(minutes=m)): 1 for v in range(20) for m in range(2)}
        assert {row["n"] for row in values(app, "counts")} == {1}
        assert sorted((row["visitor"], row["n"], row["nth"]) for row in values(app, "numbered")) == sorted(
            (f"v{v}", m, m + 1) for v in range(20) for m in range(3)
        )
        info = reader.info()
        assert (info.lag, info.open_windows) == (0, 20)
        assert info.progress is not None
        assert info.progress.records_in == 60
        assert reader.run_now(threading.Event()) == 0
        assert members(reader.group) == {}, "who is done has left"


def test_what_was_read_until_now_goes_on_where_it_ended(path: str) -> None:
    for minute in range(3):
        with App(path, durability="relaxed") as app:
            declare(app)
            click(app, 8, 60 * minute)
            app.run(until="now")
    with App(path) as app:
        assert Counter(row["visitor"] for row in values(app, "counts")) == {f"v{v}": 2 for v in range(8)}
        assert {row["nth"] for row in values(app, "numbered")} == {1, 2, 3}


# --- several at a time ------------------------------------------------------------------------------------------------


def test_partitions_are_dealt_out_in_turn() -> None:
    keys = [b"a", b"b", b"c"]
    assert [list(assigned(keys, key, 7)) for key in keys] == [[0, 3, 6], [1, 4], [2, 5]]
    assert list(assigned([], b"a", 2)) == [0, 1]
    assert list(assigned([b"a", b"b"], b"z", 2)) == []


def test_a_second_process_gets_its_part_and_gives_it_back_when_it_stops(path: str) -> None:
    with App(path, durability="relaxed") as app:
        reader = declare(app)
        held = lambda: [member.holds for member in members(reader.group).values()]  # noqa: E731
        with app.start():
            until(lambda: held() == [(0, 1, 2, 3)], "one process had all")
            with another(path):
                until(lambda: held() == [(0, 2), (1, 3)], "two processes shared")
                for minute in range(3):
                    click(app, 20, 60 * minute, minute)
                until(lambda: reader.info().lag == 0, "all was read")
            until(lambda: held() == [(0, 1, 2, 3)], "the first process had all again")
            click(app, 20, 180, 3)
            until(lambda: reader.info().lag == 0, "all was read")
    with App(path) as app:
        found = sorted((row["visitor"], row["n"], row["nth"]) for row in values(app, "numbered"))
        assert found == sorted((f"v{v}", m, m + 1) for v in range(20) for m in range(4))
        assert Counter(row["n"] for row in values(app, "counts")) == {1: 60}


def test_more_processes_than_partitions_do_no_harm(path: str) -> None:
    with App(path, durability="relaxed") as app:
        reader = app.stream(app.topic("ones", Click, key="visitor"), name="ones", share=True)(lambda s: s.to("out"))
        with app.start(), App(path, durability="relaxed") as other:
            other.stream(other.topic("ones", Click, key="visitor"), name="ones", share=True)(lambda s: s.to("out"))
            with other.start():
                until(lambda: len(members(reader.group)) == 2, "both were there")
                app.topic("ones", Click).extend([Click("a", n) for n in range(100)])
                until(lambda: reader.info().lag == 0, "all was read")
        assert [row["n"] for row in values(app, "out")] == [*range(100)]


def test_until_now_beside_a_process_that_runs_on_ends_when_all_is_done(path: str) -> None:
    with App(path, durability="relaxed") as app, another(path) as (_, other):
        until(lambda: len(members(other.group)) == 1, "the other one was there")
        declare(app)
        click(app, 50, 0)
        app.run(until="now")
        assert other.info().lag == 0
        assert len(values(app, "numbered")) == 50


def test_one_partition_that_fails_does_not_stop_the_others(path: str, caplog: pytest.LogCaptureFixture) -> None:
    with App(path, durability="relaxed") as app:
        clicks = app.topic("clicks", Click, key="visitor", partitions=PARTITIONS)
        broken = threading.Event()
        broken.set()

        def picky(click: Click) -> Click:
            if click.visitor == "v3" and broken.is_set():
                raise ValueError("not this one")
            return click

        reader = app.stream(clicks, name="picky", share=True)(lambda s: s.map(picky).to("out"))
        with app.start():
            click(app, 40, 0)
            until(lambda: sum(end > 0 for end in reader.info().committed.values()) == 3, "three partitions were read")
            broken.clear()
            until(lambda: reader.info().lag == 0, "the fourth was read when its trouble had passed")
        assert Counter(row["visitor"] for row in values(app, "out")) == {f"v{v}": 1 for v in range(40)}
    assert "not this one" in caplog.text


# --- what is refused --------------------------------------------------------------------------------------------------


def refused(app: App, describe: Callable[..., Any], *sources: Any) -> str:
    with pytest.raises(UsageError) as error:
        app.stream(*sources, name=f"s{time.monotonic_ns()}", share=True)(describe)
    return str(error.value)


def test_a_step_that_does_not_work_by_the_key_is_refused(path: str) -> None:
    with App(path) as app:
        clicks = app.topic("clicks", Click, key="visitor", partitions=PARTITIONS)
        everyone = tumbling("1m")
        message = refused(app, lambda s: s.window(everyone).agg(n=count()).to("x"), clicks)
        assert "window" in message
        assert "'visitor'" in message
        assert "test_stream_share.py:" in message
        refused(app, lambda s: s.window(everyone, by="n").agg(n=count()).to("x"), clicks)
        refused(app, lambda s: s.dedupe("n", within="1h").to("x"), clicks)
        refused(app, lambda s: s.key_by("n").stateful_map(numbered, 0).to("x"), clicks)
        refused(app, lambda s: s.stateful_map(numbered, 0, by="n").to("x"), clicks)
        made = pl.col("visitor").str.to_lowercase()
        refused(
            app, lambda s: s.with_columns(visitor=made).window(everyone, by="visitor").agg(n=count()).to("x"), clicks
        )
        refused(app, lambda s: s.map(lambda click: click).window(everyone, by="visitor").agg(n=count()).to("x"), clicks)


def test_a_step_that_works_by_the_key_among_others_is_taken(path: str) -> None:
    with App(path) as app:
        clicks = app.topic("clicks", Click, key="visitor", partitions=PARTITIONS)

        @app.stream(clicks, share=True)
        def fine(s: Any) -> None:
            s.window(tumbling("1m"), by=["n", "visitor"]).agg(m=count()).window(tumbling("1h"), by="visitor").agg(
                k=count()
            ).to("a")
            s.with_columns(who="visitor").select("who").dedupe("who", within="1h").to("b")
            s.key_by("visitor", "n").stateful_map(numbered, 0).to("c")
            s.map(lambda click: click).stateful_map(numbered, 0, name="other").to("d")
            s.select("n").to("e")


def test_joins_are_on_the_keys_of_both_sides(path: str) -> None:
    with App(path) as app:
        clicks = app.topic("clicks", Click, key="visitor", partitions=PARTITIONS)
        visitors = app.topic("visitors", Visitor, key="visitor", partitions=PARTITIONS)
        others = app.topic("others", Visitor, key="country", partitions=PARTITIONS)
        few = app.topic("few", Visitor, key="visitor", partitions=2)
        joined = lambda a, b: a.join(b, on="visitor", within="1m").to("x")  # noqa: E731
        assert "join" in refused(app, joined, clicks, others)
        assert "same number of partitions" in refused(app, joined, clicks, few)
        app.stream(clicks, visitors, name="fine", share=True)(joined)
        looked_up = lambda a, b: a.join(b, on="visitor").to("y")  # noqa: E731
        app.stream(clicks, table(visitors), name="too", share=True)(looked_up)
        refused(app, lambda a, b: a.join(b, left_on="visitor", right_on="country").to("x"), clicks, table(visitors))
        refused(app, looked_up, clicks, table(others, key="visitor"))


# --- what changes -----------------------------------------------------------------------------------------------------


def test_state_of_all_partitions_is_not_taken_for_that_of_one_or_the_other_way_round(path: str) -> None:
    for share in (False, True):
        with App(f"{path}{share}", durability="relaxed") as app:
            declare(app, share=share)
            click(app, 20, 0)
            app.run(until="now")
        with App(f"{path}{share}", durability="relaxed") as app:
            declare(app, share=not share)
            click(app, 20, 1)
            with pytest.raises(UsageError, match="share=True"):
                app.run(until="now")
            assert len(values(app, "numbered")) == 20
        with App(f"{path}{share}", durability="relaxed") as app:
            reader = declare(app, share=not share, changed="drop")
            app.run(until="now")
            click(app, 20, 60)
            app.run(until="now")
            assert Counter(row["nth"] for row in values(app, "numbered")) == {1: 40, 2: 20}
            assert Counter(row["n"] for row in values(app, "counts")) == {1: 20}
            assert reader.info().lag == 0
        with App(f"{path}{share}", durability="relaxed") as app:
            declare(app, share=not share)
            app.run(until="now")


def test_what_a_sink_holds_of_partitions_that_were_let_go_is_published_when_all_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with App(str(tmp_path / "log.db"), durability="relaxed") as app:
        topic = app.topic("numbers", dict, partitions=2)
        declare: Callable[..., StreamReader] = app.stream(topic, name="kept", share=True)
        reader = declare(lambda s: s.to(sinks.files(folder)))
        for n in range(20):
            topic.append({"n": n}, key=str(n))
        for partition in range(2):
            # It has committed what it read, and is gone before its file is complete.
            assert StreamRun(reader.graph, reader.options, partition=partition).step()
        assert not list(folder.glob("*.ndjson"))
        assert reader.run_now(threading.Event()) == 0
        lines = [line for path in folder.glob("*.ndjson") for line in path.read_bytes().splitlines()]
        assert sorted(msgspec.json.decode(line)["n"] for line in lines) == [*range(20)]
