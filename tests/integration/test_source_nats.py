"""Streams and subjects of a real NATS server into topics of ours."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from tests.nats_broker import NatsBroker, needs_nats
from tests.waiting import until

from millstream import App, SourceError, UsageError
from millstream.log.dead_letter import DeadLetter
from millstream.run.supervisor import ReaderStatus
from millstream.sources import Message, NatsMessages, nats

pytestmark = needs_nats


class Order(msgspec.Struct, frozen=True, order=True):
    number: int
    customer: str = "ann"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsBroker]:
    broker = NatsBroker(tmp_path_factory.mktemp("nats"))
    yield broker
    broker.stop()


@pytest.fixture
def stream(broker: NatsBroker, request: pytest.FixtureRequest) -> str:
    name = str(request.node.name)[:100].replace("[", "-").replace("]", "")
    broker.make(name, f"{name}.>")
    return name


def lines(start: int, end: int) -> list[bytes]:
    return [b'{"number":%d}' % number for number in range(start, end)]


def numbers(app: App) -> list[int]:
    return sorted(app.topic("orders", Order).frame().collect()["number"].to_list())


def run(app: App, source: NatsMessages) -> None:
    app.sources.clear()
    app.source(source, into=app.topic("orders", Order))
    app.run(until="now")


def test_each_message_of_a_stream_is_a_record_once_over_several_starts(
    broker: NatsBroker, stream: str, tmp_path: Path
) -> None:
    source = nats(broker.url, stream=stream)
    for start, end in ((0, 6000), (6000, 6000), (6000, 6001), (6001, 6100)):
        broker.send(f"{stream}.a", lines(start, end))
        with App(tmp_path / "log.db") as app:
            run(app, source)
    with App(tmp_path / "log.db") as app:
        assert numbers(app) == [*range(6100)]


def test_headers_and_time_of_a_message_are_those_of_its_record(broker: NatsBroker, stream: str, tmp_path: Path) -> None:
    before = datetime.now(UTC)
    broker.send(f"{stream}.a", lines(0, 1), headers={"trace": "1"})
    with App(tmp_path / "log.db") as app:
        run(app, nats(broker.url, stream=stream))
        [record] = app.topic("orders", Order).read()
        assert dict(record.headers) == {"trace": b"1"}
        assert before <= record.event_time <= datetime.now(UTC)


def test_a_subject_with_wildcards_takes_its_part_of_a_stream(broker: NatsBroker, stream: str, tmp_path: Path) -> None:
    def read(message: Message) -> Order:
        return Order(int(message.value or b""), message.topic.rpartition(".")[2])

    for number, word in enumerate(["new", "old", "new.deep", "odd"]):
        broker.send(f"{stream}.{word}", [b"%d" % number])
    with App(tmp_path / "log.db") as app:
        app.source(nats(broker.url, stream=stream, subject=f"{stream}.*"), into=app.topic("orders", Order), read=read)
        app.run(until="now")
        assert [record.value for record in app.topic("orders", Order).read()] == [
            Order(0, "new"),
            Order(1, "old"),
            Order(3, "odd"),
        ]


def test_a_message_that_is_no_value_becomes_a_dead_letter(broker: NatsBroker, stream: str, tmp_path: Path) -> None:
    broker.send(f"{stream}.a", [*lines(0, 2), b"{", *lines(2, 3)])
    with App(tmp_path / "log.db") as app:
        run(app, nats(broker.url, stream=stream))
        assert numbers(app) == [0, 1, 2]
        [letter] = app.topic("orders.dead", DeadLetter).read()
        assert letter.value.value == b"{"
        assert f"nats {stream}.a sequence 3" in letter.value.message


def test_a_new_source_begins_where_it_is_told(broker: NatsBroker, stream: str, tmp_path: Path) -> None:
    broker.send(f"{stream}.a", lines(0, 5))
    between = datetime.now(UTC)
    broker.send(f"{stream}.a", lines(5, 8))
    with App(tmp_path / "time.db") as app:
        run(app, nats(broker.url, stream=stream, start=between))
        assert numbers(app) == [5, 6, 7]
    latest = nats(broker.url, stream=stream, start="latest")
    with App(tmp_path / "latest.db") as app:
        run(app, latest)
        assert numbers(app) == []
        broker.send(f"{stream}.a", lines(8, 10))
        run(app, latest)
        assert numbers(app) == [8, 9]


def test_what_limits_deleted_unread_is_told_with_its_number(broker: NatsBroker, tmp_path: Path) -> None:
    broker.make("small", "small.>", max_msgs=10)
    source = nats(broker.url, stream="small")
    broker.send("small.a", lines(0, 5))
    with App(tmp_path / "log.db") as app:
        run(app, source)
        broker.send("small.a", lines(5, 40))
        run(app, source)
        assert numbers(app) == [*range(5), *range(30, 40)]
        [note] = app.sources["small"].notes
        assert "25 messages are not there, sequences 6 to 30" in note


def test_a_stream_that_was_made_anew_is_read_from_its_start(broker: NatsBroker, stream: str, tmp_path: Path) -> None:
    source = nats(broker.url, stream=stream)
    broker.send(f"{stream}.a", lines(0, 3))
    with App(tmp_path / "log.db") as app:
        run(app, source)
        broker.ask("delete_stream", stream)
        broker.make(stream, f"{stream}.>")
        broker.send(f"{stream}.a", lines(100, 110))
        run(app, source)
        assert numbers(app) == [0, 1, 2, *range(100, 110)]
        assert "the stream was made anew" in app.sources[stream].notes[0]


def test_a_stream_that_comes_later_is_read_once_it_is_there(broker: NatsBroker, tmp_path: Path) -> None:
    source = replace(nats(broker.url, stream="later"), look_s=0.1)
    with App(tmp_path / "log.db") as app:
        reader = app.source(source, into=app.topic("orders", Order))
        with app.start():
            until(lambda: any("no such stream" in note for note in reader.notes))
            broker.make("later", "later.>")
            broker.send("later.a", lines(0, 5))
            until(lambda: numbers(app) == [*range(5)])
            broker.send("later.a", lines(5, 7))
            until(lambda: numbers(app) == [*range(7)])


def test_a_server_that_goes_away_and_comes_back_is_read_on_and_the_app_says_so(tmp_path: Path) -> None:
    broker = NatsBroker(tmp_path)
    try:
        broker.make("orders", "orders.>")
        broker.send("orders.a", lines(0, 100))
        with App(tmp_path / "log.db") as app:
            app.source(nats(broker.url, stream="orders"), into=app.topic("orders", Order))
            with app.start() as running:
                until(lambda: numbers(app) == [*range(100)])
                broker.stop()
                until(lambda: running.readers()[0].state == ReaderStatus.FAILED)
                assert "SourceError" in (running.readers()[0].error or "")
                broker.start()
                broker.send("orders.a", lines(100, 200))
                until(lambda: numbers(app) == [*range(200)])
    finally:
        broker.stop()


def test_a_plain_subject_is_stored_while_somebody_listens(broker: NatsBroker, tmp_path: Path) -> None:
    with App(tmp_path / "log.db") as app:
        app.source(nats(broker.url, subject="plain.*.new"), into=app.topic("orders", Order))
        app.run(until="now")  # nothing waits there
        with app.start():

            def heard() -> bool:
                broker.tell("plain.x.new", lines(0, 1))
                return bool(numbers(app))

            until(heard)
            broker.tell("plain.y.old", lines(7, 8))
            broker.tell("plain.y.new", lines(1, 500))
            until(lambda: len(set(numbers(app))) == 500)
        assert set(numbers(app)) == {*range(500)}


def test_two_processes_store_each_message_of_a_stream_once(broker: NatsBroker, stream: str, tmp_path: Path) -> None:
    source = nats(broker.url, stream=stream)
    with App(tmp_path / "log.db") as one, App(tmp_path / "log.db") as other:
        for app in (one, other):
            app.source(source, into=app.topic("orders", Order))
        with one.start(), other.start():
            for start in range(0, 1000, 100):
                broker.send(f"{stream}.a", lines(start, start + 100))
            until(lambda: len(numbers(one)) >= 1000)
        one.run(until="now")
        assert numbers(one) == [*range(1000)]


def test_a_server_that_is_away_is_an_error_that_names_it(tmp_path: Path) -> None:
    with App(tmp_path / "log.db") as app, pytest.raises(SourceError, match=r"nats://127\.0\.0\.1:9 stream x does not"):
        run(app, nats("nats://127.0.0.1:9", stream="x"))


def test_a_password_is_asked_for_and_is_in_no_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broker = NatsBroker(tmp_path, "--user", "ann", "--pass", "hunter2")
    try:
        with App(tmp_path / "log.db") as app:
            with pytest.raises(SourceError, match=r"(?i)authorization") as found:
                run(app, nats(broker.url, stream="x", settings={"user": "ann", "password": "hunter3"}))
            assert "hunter" not in str(found.value)
            monkeypatch.setenv("MILLSTREAM_NATS_USER", "ann")
            monkeypatch.setenv("MILLSTREAM_NATS_PASSWORD", "hunter2")
            run(app, nats(broker.url, stream="x"))
            assert "no such stream" in app.sources["x"].notes[0]
    finally:
        broker.stop()


def test_tls_is_spoken_with_the_authority_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    certificate, key = tmp_path / "server.pem", tmp_path / "server.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    broker = NatsBroker(tmp_path, "--tls", "--tlscert", str(certificate), "--tlskey", str(key))
    try:
        with App(tmp_path / "log.db") as app:
            with pytest.raises(SourceError, match=r"(?i)certificate"):
                run(app, nats(broker.url, stream="x"))
            monkeypatch.setenv("MILLSTREAM_NATS_TLS_CA", str(certificate))
            run(app, nats(broker.url, stream="x"))
            assert "no such stream" in app.sources["x"].notes[0]
    finally:
        broker.stop()


def test_a_setting_that_is_none_is_an_error(broker: NatsBroker, tmp_path: Path) -> None:
    with App(tmp_path / "log.db") as app, pytest.raises(UsageError, match="no_such"):
        run(app, nats(broker.url, stream="x", settings={"no_such": 1}))
