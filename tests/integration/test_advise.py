"""`millstream advise`, on real logs: what it sees, what it says, and that the code it gives runs."""

from __future__ import annotations

import random
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.command_line import Command, command_line

from millstream import App
from millstream.advise.arrivals import arrivals_us
from millstream.advise.choice import choose
from millstream.advise.facts import Approach
from millstream.advise.observing import observe
from millstream.testing.fake_clock import FakeClock

PATIENCE_S = 60.0


class Mail(msgspec.Struct, frozen=True):
    to: str
    size: int = 0


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MILLSTREAM_URL", raising=False)
    monkeypatch.setenv("MILLSTREAM_DURABILITY", "relaxed")
    return tmp_path


@pytest.fixture
def millstream(folder: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    return command_line(capsys)


@pytest.fixture
def mails(folder: Path) -> Iterator[App]:
    """A log with 600 mails at random, two a second, half of them to one person."""
    draw, clock = random.Random(1), FakeClock()
    with App(str(folder / "millstream.db"), clock=clock) as app:
        topic = app.topic("mails", Mail, key="to")
        for number in range(600):
            clock.advance(draw.expovariate(2.0))
            topic.append(Mail("many@example.org" if number % 2 else f"{number}@example.org", number))
        yield app


# --- what the log saw -------------------------------------------------------------------------------------------------


def test_arrivals_are_the_append_times_also_after_merging(make_app: Callable[..., App], clock: FakeClock) -> None:
    app = make_app(clock=clock)
    topic = app.topic("t", Mail, partitions=2, key="to")
    for number in range(300):
        clock.advance(0.5)
        topic.extend([Mail(f"{number % 7}", number)] * 20)
    records = [record for partition in (0, 1) for record in topic.read(0, partition=partition, records_max=10_000)]
    expected = sorted(record.append_time_us for record in records)
    assert len(expected) == 6000
    assert arrivals_us(app.log, topic) == expected
    app.log.keep_house()
    assert arrivals_us(app.log, topic) == expected
    half = expected[3000]
    found = observe(app.log, "t")
    assert found.record_bytes is not None
    assert found.record_bytes > 0
    assert arrivals_us(app.log, topic, since_us=half) == [moment for moment in expected if moment >= half]


def test_arrivals_of_cold_records_are_their_append_times(millstream: Command, mails: App, folder: Path) -> None:
    topic = mails.topic("mails", Mail)
    before = arrivals_us(mails.log, topic)
    bytes_before = observe(mails.log, "mails").record_bytes
    assert len(set(before)) == 600
    assert millstream("compact", "mails").code == 0
    assert arrivals_us(mails.log, topic) == before
    found = observe(mails.log, "mails")
    assert bytes_before is not None
    assert found.record_bytes is None  # nothing is left beside the Parquet files
    assert found.keys is not None
    topic.append(Mail("new@example.org", 1))
    assert (observe(mails.log, "mails").record_bytes or 0) > 5


def test_an_observed_topic_has_its_numbers(mails: App) -> None:
    found = observe(mails.log, "mails")
    assert found.records == 600
    assert found.pattern is not None
    assert found.pattern.rate_per_s == pytest.approx(2.0, rel=0.15)
    assert found.keys is not None
    assert (found.keys.top, found.keys.top_share, found.keys.distinct) == (b"many@example.org", 0.5, 301)
    assert (found.facts.key_field, found.facts.fields, found.facts.raw) == ("to", ("to", "size"), False)
    assert found.readers == ()


def test_an_empty_topic_and_a_raw_one_are_observed(make_app: Callable[..., App]) -> None:
    app = make_app()
    app.topic("empty")
    app.topic("raw").append(b"x")
    assert (observe(app.log, "empty").pattern, observe(app.log, "empty").facts.raw) == (None, False)
    assert observe(app.log, "raw").facts.raw


def test_a_file_that_was_loaded_at_once_is_no_stream_of_arrivals(make_app: Callable[..., App]) -> None:
    app = make_app()
    app.topic("rows", dict).extend([{"n": number} for number in range(20_000)])
    found = observe(app.log, "rows")
    assert found.facts.rate_per_s is None
    assert found.facts.records_per_append is not None
    assert found.facts.records_per_append >= 1000
    assert choose(found.facts).approach is Approach.BATCH


def test_readers_are_told_apart(mails: App) -> None:
    topic = mails.topic("mails", Mail)

    @mails.batch(topic)
    def report(frame: Any) -> None:
        pass

    @mails.queue(topic)
    def send(mail: Mail) -> None:
        pass

    @mails.stream(topic)
    def per_minute(s: Any) -> Any:
        return s.filter(lambda mail: mail.size == 1).to("ones")

    mails.run(until="now")
    kinds = {reader.name: reader.approach for reader in observe(mails.log, "mails").readers}
    assert kinds == {"report": Approach.BATCH, "send": Approach.QUEUE, "per_minute": Approach.STREAM}


# --- which approach ---------------------------------------------------------------------------------------------------


def test_a_topic_gets_an_answer_with_numbers_changes_and_code(millstream: Command, mails: App) -> None:
    result = millstream("advise", "mails", "--use", "each", "--latency", "2s", "--service", "300ms")
    assert result.code == 0, result.err
    assert result.out.startswith("mails: a queue\n")
    for text in (
        "600 records",
        "a second over",
        "many@example.org, has 50%",
        "what would change it",
        "@app.queue(mails",
    ):
        assert text in result.out


def test_as_json_it_has_everything(millstream: Command, mails: App) -> None:
    found = millstream("advise", "mails", "--use", "combine", "--json").object
    assert (found["topic"], found["approach"], found["sure"]) == ("mails", "stream", True)
    assert found["points"]["stream"] == sum(r["points"] for r in found["reasons"] if r["approach"] == "stream")
    assert found["arrivals"]["records"] == 600
    assert {"condition", "approach"} == set(found["changes"][0])


@pytest.mark.parametrize(
    ("use", "written"), [("each", "working on"), ("combine", "mails_per_minute"), ("whole", "600 records")]
)
def test_the_code_to_start_from_runs(millstream: Command, mails: App, folder: Path, use: str, written: str) -> None:
    latency = "1d" if use == "whole" else "5s"
    code = millstream("advise", "mails", "--use", use, "--latency", latency, "--json").object["code"]
    mails.close()
    (folder / "app.py").write_text(code)
    command = [sys.executable, "-W", "error", "-m", "millstream", "run", "app.py", "--until", "now"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr
    topics = subprocess.run(
        [sys.executable, "-m", "millstream", "topics"], cwd=folder, capture_output=True, text=True, check=True
    )
    assert written in done.stdout + topics.stdout


@pytest.mark.parametrize("use", ["each", "combine", "whole"])
def test_the_code_for_a_topic_that_does_not_exist_yet_runs(millstream: Command, folder: Path, use: str) -> None:
    code = millstream("advise", "--use", use, "--json").object["code"]
    (folder / "app.py").write_text(code)
    command = [sys.executable, "-m", "millstream", "run", "app.py", "--until", "now"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr


def test_questions_are_asked_and_their_answers_read(
    millstream: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO("sometimes\nwhole\n1d\n\n\n"))
    result = millstream("advise", "--describe", "--rate", "3")
    assert result.code == 0, result.err
    assert result.out.startswith("events: a batch\n")
    assert "'sometimes' is not one of each, combine, whole" in result.err
    assert "records come in a second" not in result.err  # that was said


def test_questions_without_anybody_to_answer_end(
    millstream: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO("each\n"))
    result = millstream("advise", "--describe")
    assert result.code == 2
    assert "ended before latency" in result.err


def test_answers_come_from_a_file(millstream: Command, folder: Path) -> None:
    (folder / "answers.toml").write_text('topic = "orders"\nuse = "each"\nlatency = "5s"\nservice = "2s"\n')
    result = millstream("advise", "--answers", "answers.toml")
    assert result.out.startswith("orders: a queue\n")


def test_an_app_is_judged_topic_by_topic(millstream: Command, mails: App, folder: Path) -> None:
    mails.close()
    (folder / "app.py").write_text(
        "from millstream import App\n"
        "app = App()\n"
        "@app.queue(app.topic('mails'))\n"
        "def send(mail): ...\n"
        "@app.batch(app.topic('visits', dict))\n"
        "def report(frame): ...\n"
    )
    result = millstream("advise", "app.py", "--latency", "1s", "--use", "each")
    assert result.code == 0, result.err
    assert "send reads it as a queue: as it should be" in result.out
    assert "report reads it as a batch: not as a queue" in result.out


def test_every_topic_of_a_reader_of_several_is_judged(millstream: Command, folder: Path) -> None:
    (folder / "app.py").write_text(
        "from millstream import App\n"
        "app = App()\n"
        "left, right = app.topic('left', dict), app.topic('right', dict)\n"
        "@app.task\n"
        "def thumbnail(path: str) -> None: ...\n"
        "@app.stream(left, right)\n"
        "def copied(a, b):\n"
        "    a.to('a')\n"
        "    b.to('b')\n"
        "@app.batch([left, right])\n"
        "def report(left, right): ...\n"
    )
    result = millstream("advise", "app.py", "--json")
    assert result.code == 0, result.err
    found = {one["topic"]: [(r["approach"], r["name"]) for r in one["declared"]] for one in result.objects}
    both = [("stream", "copied"), ("batch", "report")]
    assert found == {"tasks.thumbnail": [("queue", "thumbnail")], "left": both, "right": both}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "--describe"),
        (["nothing"], "no topic 'nothing'"),
        (["mails", "--use", "x"], "each, combine, whole"),
        (["mails", "--order", "x"], "none, key, all"),
        (["mails", "--latency", "soon"], "duration"),
        (["mails", "--deadline", "1m"], "--workers"),
        (["mails", "--growth", "2"], "--growth is for --workers"),
        (["mails", "--workers"], "--service"),
        (["mails", "--workers", "--service", "1s", "--group", "x"], "no queue 'x'"),
        (["mails", "--workers", "--service", "1s", "--backlog", "-1"], "--backlog"),
        (["mails", "--workers", "--service", "1s", "--share", "2"], "--share"),
        (["--workers", "--service", "1s"], "--rate"),
        (["app.py", "--workers"], "one topic"),
    ],
)
def test_what_cannot_work_is_told_in_a_line(millstream: Command, mails: App, arguments: list[str], says: str) -> None:
    result = millstream("advise", *arguments)
    assert result.code == 2
    assert says in result.err
    assert len(result.err.splitlines()) == 1


# --- how many workers -------------------------------------------------------------------------------------------------


def test_workers_are_told_with_formula_simulation_range_and_a_picture(
    millstream: Command, mails: App, folder: Path
) -> None:
    arguments = ("advise", "mails", "--workers", "--service", "700ms", "--latency", "4s")
    result = millstream(*arguments, "--svg", "plan.svg")
    assert result.code == 0, result.err
    assert "by simulation" in result.out
    assert "as recorded" in result.out
    assert "┃ wanted" in result.out
    assert ET.parse(folder / "plan.svg").getroot().tag.endswith("svg")
    found = millstream(*arguments, "--json").object
    assert found["workers"] == found["simulation"]
    assert found["offered"] == pytest.approx(1.4, rel=0.15)
    assert found["range"][0] <= found["workers"] <= found["range"][1]
    assert found["arrivals_recorded"] is True
    assert found["services_recorded"] is False


def test_a_queue_that_ran_tells_its_service_times(millstream: Command, folder: Path) -> None:
    with App(str(folder / "millstream.db")) as app:
        jobs = app.topic("jobs", dict)

        @app.queue(jobs, workers=4, name="nap")
        def nap(job: dict[str, Any]) -> None:
            time.sleep(0.02)

        until = time.monotonic() + PATIENCE_S
        with app.start():
            while not (queues := observe(app.log, "jobs").queues) or not queues[0].services_s:
                assert time.monotonic() < until
                jobs.extend([{"n": 1}] * 5)
                time.sleep(0.05)
        measured = observe(app.log, "jobs").queues[0].service_s
    assert measured is not None
    assert measured >= 0.015
    found = millstream("advise", "jobs", "--workers", "--deadline", "1m", "--backlog", "1000", "--json").object
    assert found["queue"] == "jobs/nap"
    assert found["backlog"] == 1000
    assert found["load"]["service_s"] == pytest.approx(measured)


def test_a_queue_without_a_log_is_planned_from_what_is_said(millstream: Command, folder: Path) -> None:
    found = millstream("advise", "--workers", "--rate", "50", "--service", "200ms", "--latency", "1s", "--json").object
    assert found["workers"] in (11, 12)
    assert not (folder / "millstream.db").exists()
