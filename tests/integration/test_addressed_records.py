"""A record that is for one consumer group: every other reader passes over it, and who looks at the log sees it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import polars as pl
import pytest

from millstream.app import App
from millstream.log.addressed import FOR, is_for, rows_for
from millstream.log.dead_letter import DeadLetter
from millstream.log.topic import Topic
from millstream.queue.replay import replay
from millstream.queue.retry import Retry
from millstream.stream import Stream, count, tumbling


class Mail(msgspec.Struct):
    to: str


@pytest.fixture(params=["memory", "sqlite"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[App]:
    url = "memory://" if request.param == "memory" else str(tmp_path / "log.db")
    with App(url, durability="relaxed") as app:
        yield app


@pytest.fixture
def mails(app: App) -> Topic[Mail]:
    return app.topic("mails", Mail)


def test_a_record_that_is_sent_back_reaches_the_queue_that_gave_up_and_no_other_reader(
    app: App, mails: Topic[Mail]
) -> None:
    sent: list[str] = []
    kept: list[str] = []
    counted: list[int] = []
    broken = True

    @app.queue(mails, retry=Retry(attempts=1))
    def send(mail: Mail) -> None:
        if broken:
            raise ValueError("no connection")
        sent.append(mail.to)

    @app.queue(mails)
    def keep(mail: Mail) -> None:
        kept.append(mail.to)

    @app.batch(mails)
    def count(frame: pl.LazyFrame) -> None:
        counted.append(frame.select(pl.len()).collect().item())

    mails.extend([Mail("ann"), Mail("bob")])
    app.run(until="now")
    broken = False
    app.dead("mails").redrive()
    mails.append(Mail("cid"))
    app.run(until="now")
    assert sent == ["ann", "bob", "cid"]
    assert kept == ["ann", "bob", "cid"]
    assert counted == [2, 1]
    assert mails.frame().collect().height == len(mails.read()) == 5, "the log itself hides nothing"
    assert count.info().lag == keep.info().lag == 0


def test_readers_of_the_dead_letters_get_those_of_records_that_were_sent_back(app: App, mails: Topic[Mail]) -> None:
    alarms: list[str] = []

    @app.queue(mails, retry=Retry(attempts=1))
    def send(mail: Mail) -> None:
        raise ValueError(mail.to)

    mails.append(Mail("ann"))
    app.run(until="now")
    app.dead("mails").redrive()

    @app.queue(app.topic("mails.dead", DeadLetter))
    def alarm(letter: DeadLetter) -> None:
        alarms.append(letter.message)

    app.run(until="now")
    assert alarms == ["ann", "ann"]


@pytest.mark.parametrize("count", [1, 5000], ids=["rows", "columns"])
def test_a_frame_for_a_group_leaves_out_what_is_for_others_in_both_codings(mails: Topic[Mail], count: int) -> None:
    headers = [None, {FOR: "a"}, {FOR: "b"}, {"note": f"about {FOR}"}]
    mails.extend([Mail(f"{n}") for n in range(4 * count)], headers=headers * count)
    for group, missing in (("a", 2), ("b", 1), ("c", None)):
        frame = mails.frame(group=group).collect()
        left = {0, 1, 2, 3} - ({missing} if missing is not None else {1, 2})
        assert {int(to) % 4 for to in frame["to"]} == left
        assert frame.height == len(left) * count
        assert mails.frame(group=group).select(pl.len()).collect().item() == frame.height
        assert mails.frame(group=group).select("to").head(1).collect()["to"].to_list() == ["0"]


def test_rows_without_headers_are_for_everyone(mails: Topic[Mail]) -> None:
    mails.extend([Mail("ann"), Mail("bob")])
    frame = mails.frame().collect()
    assert rows_for(frame, "any").equals(frame)
    assert is_for({}, "any")
    assert not is_for({FOR: b"other"}, "any")


@pytest.mark.parametrize("step", ["values", "columns", "window"])
def test_a_stream_passes_over_what_was_sent_back_for_a_queue(app: App, mails: Topic[Mail], step: str) -> None:
    broken = True
    sent: list[str] = []

    @app.queue(mails, retry=Retry(attempts=1))
    def send(mail: Mail) -> None:
        if broken:
            raise ValueError("no connection")
        sent.append(mail.to)

    @app.stream(mails)
    def follow(stream: Stream) -> Stream:
        match step:
            case "values":
                return stream.map(lambda mail: mail).to("followed")
            case "columns":
                return stream.filter(pl.col("to").is_not_null()).to("followed")
            case _:
                return stream.window(tumbling(hours=1), by="to").agg(mails=count()).to("followed")

    now = datetime.now(UTC)
    mails.extend([Mail("ann"), Mail("bob")], times=[now, now])
    app.run(until="now")
    broken = False
    app.dead("mails").redrive()
    mails.append(Mail("cid"), time=now + timedelta(hours=3))
    app.run(until="now")
    assert sent == ["ann", "bob", "cid"]
    rows = app.topic("followed").frame().collect()
    if step == "window":
        assert sorted(rows.select("to", "mails").rows()) == [("ann", 1), ("bob", 1)]
    else:
        assert rows["to"].to_list() == ["ann", "bob", "cid"]
    assert follow.info().lag == 0


def test_a_stream_can_be_the_one_that_a_replay_is_for(app: App, mails: Topic[Mail]) -> None:
    @app.stream(mails)
    def follow(stream: Stream) -> Stream:
        return stream.to("followed")

    @app.stream(mails)
    def other(stream: Stream) -> Stream:
        return stream.to("others")

    mails.extend([Mail("ann"), Mail("bob")])
    app.run(until="now")
    replay(app.log, "mails", to="follow", start=1)
    app.run(until="now")
    assert app.topic("followed").frame().collect()["to"].to_list() == ["ann", "bob", "bob"]
    assert app.topic("others").frame().collect()["to"].to_list() == ["ann", "bob"]
