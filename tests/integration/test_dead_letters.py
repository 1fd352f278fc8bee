"""Dead letters as something to work with, on every engine of one process; and across processes."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest

from millstream.app import App
from millstream.engines.protocol import Outcome, Settlement
from millstream.errors import ConflictError, SchemaError, TopicNotFoundError, UsageError
from millstream.log.addressed import FOR
from millstream.log.dead_letter import DeadLetter, Failure, Origin, dead_letter_append, dead_topic_name
from millstream.log.topic import Topic
from millstream.queue.dead.letters import DeadLetters
from millstream.queue.dead.redrive import REDRIVES_HEADER
from millstream.queue.retry import Retry
from millstream.queue.stats import REDRIVE_GROUP
from millstream.records import Position

PATIENCE_S = 60.0


class Job(msgspec.Struct, frozen=True):
    number: int
    word: str = ""


@pytest.fixture(params=["memory", "sqlite"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[App]:
    url = "memory://" if request.param == "memory" else str(tmp_path / "log.db")
    with App(url, durability="relaxed") as app:
        yield app


def give_up(topic: Topic[Any], *, group: str = "work", errors: Sequence[str] = ("ValueError",)) -> None:
    """Let a group give up on everything that it has not settled, as a worker does."""
    standing = topic.group(group)
    dead: Topic[DeadLetter] = topic.log.topic(dead_topic_name(topic.name), DeadLetter)
    while leases := standing.lease(worker="w", records_max=1000, duration="60s"):
        for lease in leases:
            appends = []
            for place, record in enumerate(standing.records(lease)):
                failure = Failure(errors[place % len(errors)], f"failed {place}", "Traceback ...")
                appends += dead_letter_append(dead, record, failure, Origin(group, "w", 3, datetime.now(UTC)))
            standing.settle([Settlement(lease, lease.start, lease.end, Outcome.REJECT)], appends=appends)


def given_up(app: App, count: int, **more: Any) -> DeadLetters:
    jobs = app.topic("jobs", Job)
    jobs.extend([Job(n, f"w{n}") for n in range(count)])
    give_up(jobs, **more)
    return app.dead("jobs")


def numbers_in(app: App, start: int = 0) -> list[int]:
    return [record.value.number for record in app.topic("jobs", Job).read(start, records_max=100_000)]


# --- looking ----------------------------------------------------------------------------------------------------------


def test_a_topic_that_never_had_any_says_so(app: App) -> None:
    app.topic("jobs", Job)
    with pytest.raises(TopicNotFoundError, match="nothing of 'jobs' was given up on"):
        app.dead("jobs")


def test_the_newest_are_listed_first_and_as_many_as_asked_for(app: App) -> None:
    dead = given_up(app, 1200)
    assert dead.count() == 1200
    assert [one.letter.offset for one in dead.list(limit=3)] == [1199, 1198, 1197]
    assert [one.letter.offset for one in dead.list(limit=3, newest=False)] == [0, 1, 2]
    assert [one.letter.offset for one in dead.list(limit=10_000, newest=False)] == [*range(1200)]


def test_a_list_holds_what_the_filter_means(app: App) -> None:
    dead = given_up(app, 100, errors=("ValueError", "KeyError"))
    assert len(dead.list(error="keyerror")) == 50
    assert [one.letter.offset for one in dead.list(error="keyerror", limit=2)] == [99, 97]
    assert [one.letter.offset for one in dead.list(text='"number":42')] == [42]
    assert dead.list(since=datetime.now(UTC) + timedelta(hours=1)) == []
    assert [one.position for one in dead.list(at=[7, "0/9"], newest=False)] == [Position(0, 7), Position(0, 9)]


def test_looking_changes_nothing(app: App) -> None:
    dead = given_up(app, 10)
    dead.list()
    dead.get(3)
    assert dead.redrive(dry_run=True).redriven == 10
    assert app.log.engine.groups("jobs.dead") == []
    assert app.topic("jobs").end_offsets() == {0: 10}


def test_one_is_shown_with_everything_about_it(app: App) -> None:
    dead = given_up(app, 10)
    one = dead.get(3)
    assert (one.place, one.redrives, one.settled) == ("3", 0, None)
    assert (one.letter.error_type, one.letter.message, one.letter.attempts) == ("ValueError", "failed 3", 3)
    assert one.letter.traceback == "Traceback ..."
    assert dead.value(3) == {"number": 3, "word": "w3"}


@pytest.mark.parametrize("place", [10, "1/0"])
def test_there_is_none_at_a_place_without_one(app: App, place: int | str) -> None:
    with pytest.raises(UsageError, match="there is no dead letter"):
        given_up(app, 10).get(place)


# --- sending back -----------------------------------------------------------------------------------------------------


def test_all_are_sent_back_once_oldest_first(app: App) -> None:
    dead = given_up(app, 1000)
    done = dead.redrive()
    assert (done.redriven, done.refused, done.dry_run) == (1000, 0, False)
    assert numbers_in(app, 1000) == [*range(1000)]
    assert dead.count() == 0
    assert dead.list() == []
    assert dead.redrive().redriven == 0
    assert app.topic("jobs").end_offsets() == {0: 2000}


def test_only_what_the_filter_means_is_sent_back(app: App) -> None:
    dead = given_up(app, 100, errors=("ValueError", "KeyError"))
    assert dead.redrive(error="KeyError").redriven == 50
    assert numbers_in(app, 100) == [*range(1, 100, 2)]
    assert dead.count() == 50
    assert {one.letter.error_type for one in dead.list()} == {"ValueError"}
    assert dead.redrive(at=[4, 5, 6]).redriven == 2, "5 was sent back before"
    assert numbers_in(app, 150) == [4, 6]
    assert len(dead.list()) == dead.count() == 48


def test_a_record_comes_back_as_it_was(app: App) -> None:
    jobs = app.topic("jobs", Job)
    happened = datetime(2020, 5, 17, 12, tzinfo=UTC)
    jobs.append(Job(1), key="k", headers={"trace": "t1"}, time=happened)
    give_up(jobs)
    app.dead("jobs").redrive()
    (record,) = jobs.read(1)
    assert record.value == Job(1)
    assert (record.key, record.event_time) == (b"k", happened)
    assert record.headers == {"trace": b"t1", REDRIVES_HEADER: b"1", FOR: b"work"}


class Everything(msgspec.Struct, frozen=True):
    at: datetime
    data: bytes
    price: Decimal
    id: UUID
    parts: list[bytes]
    inner: Job
    loose: dict[str, Any]
    maybe: bytes | None = None


def test_every_kind_of_field_survives_the_way_through_json(app: App) -> None:
    things = app.topic("things", Everything)
    thing = Everything(
        at=datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC),
        data=b"\x00\xff",
        price=Decimal("1.10"),
        id=UUID(int=7),
        parts=[b"\xff", b""],
        inner=Job(1, "x"),
        loose={"a": [1, {"b": None}]},
    )
    things.append(thing)
    give_up(things)
    assert app.dead("things").redrive().redriven == 1
    assert things.read(1)[0].value == thing


def test_bytes_of_a_raw_topic_are_sent_back_as_they_are(app: App) -> None:
    raw = app.topic("raw")
    raw.append(b"\xff\x00not json")
    give_up(raw)
    assert app.dead("raw").redrive().redriven == 1
    assert raw.read(1)[0].value == b"\xff\x00not json"


def test_a_key_leads_back_to_its_partition(app: App) -> None:
    jobs = app.topic("jobs", Job, partitions=4, key="word")
    jobs.extend([Job(n, f"k{n % 10}") for n in range(100)])
    before = {record.value.word: p for p in range(4) for record in jobs.read(partition=p)}
    give_up(jobs)
    ends = jobs.end_offsets()
    assert app.dead("jobs").redrive().redriven == 100
    for partition in range(4):
        for record in jobs.read(ends[partition], partition=partition):
            assert before[record.value.word] == partition
    assert sum(jobs.end_offsets().values()) == 200


def test_a_record_that_keeps_coming_back_is_left_after_three_times(app: App) -> None:
    dead = given_up(app, 1)
    for times in range(1, 4):
        assert dead.redrive().redriven == 1
        give_up(app.topic("jobs", Job))
        assert dead.list()[0].redrives == times
    done = dead.redrive()
    assert (done.redriven, done.refused) == (0, 1)
    assert done.refusals[0].reason == "sent back 3 times already"
    assert dead.redrive(dry_run=True).refusals == done.refusals
    assert dead.count() == 1
    assert dead.redrive(force=True).redriven == 1


def test_the_loop_guard_takes_another_number(app: App) -> None:
    dead = given_up(app, 2)
    assert dead.redrive(redrives_max=0).refused == 2
    assert dead.redrive(redrives_max=1).redriven == 2


def test_what_does_not_fit_the_topic_stays_with_its_reason(app: App) -> None:
    dead = given_up(app, 3)
    bad = dead.list(newest=False)[1].letter
    app.topic("jobs.dead", DeadLetter).append(msgspec.structs.replace(bad, partition=-1, value=b"oops", group="put"))
    done = dead.redrive()
    assert (done.redriven, done.refused) == (3, 1)
    assert done.refusals[0].position == Position(0, 3)
    assert "no JSON" in done.refusals[0].reason
    assert dead.count() == 1


def test_a_rate_spreads_records_over_time(app: App) -> None:
    dead = given_up(app, 40)
    begun = time.monotonic()
    assert dead.redrive(rate="100/s").redriven == 40
    assert time.monotonic() - begun >= 0.25, "40 records at 100 a second; the last part is not waited for"


def test_a_delay_that_is_over_is_not_asked_for_again(app: App) -> None:
    jobs = app.topic("jobs", Job)
    jobs.append(Job(1), headers={"ms-due": "1", "ms-priority": "5"})
    give_up(jobs)
    app.dead("jobs").redrive()
    (record,) = jobs.read(1)
    assert "ms-due" not in record.headers
    assert record.headers["ms-priority"] == b"5"


def test_two_who_send_the_same_back_at_once_send_each_once(app: App) -> None:
    given_up(app, 2000)
    done: list[int] = []
    start = threading.Barrier(4)

    def send() -> None:
        dead = app.dead("jobs")
        start.wait(PATIENCE_S)
        done.append(dead.redrive().redriven)

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert sum(done) == 2000
    assert Counter(numbers_in(app, 2000)) == Counter(range(2000))
    assert app.dead("jobs").count() == 0


def test_a_process_that_is_killed_on_the_way_has_sent_each_once(tmp_path: Path) -> None:
    path = str(tmp_path / "log.db")
    with App(path, durability="relaxed") as app:
        count = 3000  # ten seconds at its rate: a test that is held up does not find all of them sent
        dead = given_up(app, count)
        script = Path(__file__).with_name("redriving_process.py")
        process = subprocess.Popen([sys.executable, str(script), path, "jobs"], stdout=subprocess.PIPE)
        deadline = time.monotonic() + PATIENCE_S
        while app.topic("jobs").end_offsets()[0] < count + 100 and time.monotonic() < deadline:
            app.topic("jobs").wait({0: count + 99}, "100ms")
        process.kill()
        process.communicate()
        sent = app.topic("jobs").end_offsets()[0] - count
        assert 100 <= sent < count, "killed on the way"
        # Its leases are free once its death is noticed.
        deadline = time.monotonic() + PATIENCE_S
        while dead.count() and time.monotonic() < deadline:
            dead.redrive()
        assert sorted(numbers_in(app, count)) == [*range(count)]


def test_an_error_on_the_way_gives_back_what_was_not_sent(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    dead = given_up(app, 500)
    pauses = iter([None] * 3)

    def interrupt(seconds: float) -> None:
        if next(pauses, "end") == "end":
            raise KeyboardInterrupt

    monkeypatch.setattr("millstream.queue.dead.redrive.sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        dead.redrive(rate="100/s")
    monkeypatch.undo()
    sent = numbers_in(app, 500)
    assert 0 < len(sent) < 500
    assert dead.count() == 500 - len(sent)
    dead.redrive()
    assert numbers_in(app, 500) == [*range(500)]


def test_a_queue_handles_what_is_sent_back(app: App) -> None:
    jobs = app.topic("jobs", Job)
    jobs.extend([Job(n) for n in range(10)])
    broken = True
    handled: list[int] = []

    @app.queue(jobs, retry=Retry(attempts=1))
    def work(job: Job) -> None:
        if broken and job.number % 2:
            raise ValueError(f"odd {job.number}")
        handled.append(job.number)

    app.run(until="now")
    broken = False
    assert app.dead(jobs).redrive().redriven == 5
    app.run(until="now")
    assert sorted(handled) == [*range(10)]
    assert (work.info().ledger.done, work.info().ledger.dead) == (10, 5)


def test_other_queues_of_the_topic_pass_over_what_they_had(app: App) -> None:
    jobs = app.topic("jobs", Job)
    jobs.extend([Job(n) for n in range(4)])
    broken = True
    audited: list[int] = []
    worked: list[int] = []

    @app.queue(jobs, retry=Retry(attempts=1))
    def work(job: Job) -> None:
        if broken and job.number % 2:
            raise ValueError(f"odd {job.number}")
        worked.append(job.number)

    @app.queue(jobs)
    def audit(job: Job) -> None:
        audited.append(job.number)

    app.run(until="now")
    broken = False
    app.dead(jobs).redrive()
    app.run(until="now")
    assert sorted(worked) == [0, 1, 2, 3]
    assert sorted(audited) == [0, 1, 2, 3]
    assert audit.info().ledger.done == 6


# --- changing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [Job(7, "new"), {"number": 7, "word": "new"}, b'{"number": 7, "word": "new"}'])
def test_a_changed_letter_takes_the_place_of_the_old_one(app: App, value: object) -> None:
    dead = given_up(app, 3)
    position = dead.edit(1, value)
    assert position == Position(0, 3)
    assert dead.count() == 3
    assert [one.place for one in dead.list()] == ["3", "2", "0"]
    assert dead.get(3).letter.message == "failed 1", "its error is still known"
    settled = dead.get(1).settled
    assert settled is not None
    assert settled.how == "edited"
    dead.redrive(at=3)
    assert app.topic("jobs", Job).read(3)[0].value == Job(7, "new")


@pytest.mark.parametrize("value", [{"number": "seven"}, {"nmber": 7}, b"[1]", b"oops", 7])
def test_a_value_that_does_not_fit_changes_nothing(app: App, value: object) -> None:
    dead = given_up(app, 3)
    with pytest.raises(SchemaError):
        dead.edit(1, value)
    assert dead.get(1).settled is None
    assert app.topic("jobs.dead").end_offsets() == {0: 3}


def test_a_letter_of_a_raw_topic_takes_bytes(app: App) -> None:
    raw = app.topic("raw")
    raw.append(b"bad")
    give_up(raw)
    dead = app.dead("raw")
    with pytest.raises(SchemaError, match="takes bytes"):
        dead.edit(0, "text")
    dead.edit(0, b"good")
    dead.redrive()
    assert raw.read(1)[0].value == b"good"


def test_what_is_settled_cannot_be_changed(app: App) -> None:
    dead = given_up(app, 3)
    dead.redrive(at=1)
    with pytest.raises(ConflictError, match="redriven already"):
        dead.edit(1, Job(1))


def test_what_somebody_else_has_in_hand_cannot_be_changed(app: App) -> None:
    dead = given_up(app, 3)
    dead.topic.group(REDRIVE_GROUP).lease(worker="other", records_max=2, duration="60s")
    with pytest.raises(ConflictError, match="in hand"):
        dead.edit(1, Job(1))
    dead.edit(2, Job(2))
    assert dead.count() == 3


# --- throwing away ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("confirm", ["", "yes", "job", "jobs.dead"])
def test_nothing_is_thrown_away_without_the_topics_name(app: App, confirm: str) -> None:
    dead = given_up(app, 3)
    with pytest.raises(UsageError, match="confirm it with that name"):
        dead.purge(confirm=confirm)
    assert dead.count() == 3


def test_what_the_filter_means_is_thrown_away(app: App) -> None:
    dead = given_up(app, 100, errors=("ValueError", "KeyError"))
    assert dead.purge(confirm="jobs", error="KeyError") == 50
    assert dead.count() == 50
    assert dead.redrive().redriven == 50
    assert numbers_in(app, 100) == [*range(0, 100, 2)]


def test_what_is_thrown_away_leaves_the_log(app: App) -> None:
    dead = given_up(app, 100)
    assert dead.purge(confirm="jobs") == 100
    assert app.topic("jobs.dead").info().records == 0
    assert dead.list() == []


def test_what_is_remembered_of_settled_letters_does_not_grow(app: App) -> None:
    for _ in range(3):
        dead = given_up(app, 300)
        dead.redrive(at=[*range(5, dead.topic.end_offsets()[0], 7)], force=True)
        dead.purge(confirm="jobs")
    assert app.log.engine.state("jobs.dead", "redrive", 0) == {}
    ledger = app.log.engine.describe_group("jobs.dead", "redrive").ledger
    assert ledger.balanced
    assert ledger.in_progress == 0
