"""Topics of Kafka and streams of NATS as sources and outputs of `millstream logs`, each message once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from tests.kafka_broker import KafkaBroker, needs_kafka
from tests.nats_broker import NatsBroker, needs_nats

from millstream import App, UsageError, sinks
from millstream.logs.config import read_config
from millstream.logs.listeners import KafkaListener, NatsListener, opened
from millstream.parsers.log_event import LogEvent
from millstream.sources import kafka
from millstream.sources.broker_lines import BrokerLines
from millstream.sources.system import follow_system

SSHD = b"<38>1 2026-03-01T10:00:00Z web sshd 7 - - Failed password for ann from 10.0.0.1 port 22 ssh2"
JSON = b'{"level":"error","msg":"no room"}'


@pytest.fixture
def kafka_broker(tmp_path: Path) -> Iterator[KafkaBroker]:
    broker = KafkaBroker(tmp_path)
    yield broker
    broker.stop()


@pytest.fixture
def nats_broker(tmp_path: Path) -> Iterator[NatsBroker]:
    broker = NatsBroker(tmp_path)
    yield broker
    broker.stop()


def follow(app: App, listener: KafkaListener | NatsListener) -> list[LogEvent]:
    with follow_system(app, "logs", sources=listener.open(follow=False)) as follower:
        follower.join()
        assert follower.notes == ()
    return [record.value for record in app.topic("logs", LogEvent).read()]


@needs_kafka
def test_messages_of_kafka_are_events_once_over_several_starts(kafka_broker: KafkaBroker, tmp_path: Path) -> None:
    kafka_broker.make("logs")
    listener = KafkaListener(url=f"{kafka_broker.url}/logs")
    for values in ([SSHD, JSON, None], [], [b"\xff"]):
        kafka_broker.send("logs", values, key=b"k", timestamp=1_767_225_600_000)
        with App(tmp_path / "log.db") as app:
            events = follow(app, listener)
    assert [event.message for event in events[1:]] == ["no room", "tombstone of k", "\\xff"]
    assert (events[0].kind, events[0].user, events[0].source) == ("login", "ann", "kafka:logs")
    assert [event.fields and event.fields["kafka"]["offset"] for event in events] == [0, 1, 2, 3]
    assert events[1].time.isoformat() == "2026-01-01T00:00:00+00:00"


@needs_nats
def test_messages_of_nats_are_events_once_over_several_starts(nats_broker: NatsBroker, tmp_path: Path) -> None:
    nats_broker.make("logs", "logs.>")
    listener = NatsListener(url=nats_broker.url, stream="logs", subject="logs.*", format="text")
    for values in ([SSHD, JSON], [], [b"x"]):
        nats_broker.send("logs.web", values)
        nats_broker.send("logs.web.other", [b"not meant"] * bool(values))
        with App(tmp_path / "log.db") as app:
            events = follow(app, listener)
    assert [event.message for event in events] == [SSHD.decode(), JSON.decode(), "x"]
    assert {event.fields and event.fields["nats"]["topic"] for event in events} == {"logs.web"}


@needs_kafka
def test_a_broker_that_is_away_is_a_note_and_is_asked_again(kafka_broker: KafkaBroker, tmp_path: Path) -> None:
    kafka_broker.make("logs")
    kafka_broker.send("logs", [b"one"])
    kafka_broker.stop()
    stop = threading.Event()
    notes: list[str] = []

    def note(sentence: str) -> None:
        if "does not answer" in sentence and not notes:
            kafka_broker.start()
        notes.append(sentence)

    readings = BrokerLines(kafka(f"{kafka_broker.url}/logs")).read({}, stop, note)
    assert b'"value":"one"' in next(readings).lines[0].data
    readings.close()
    assert "it is tried again" in notes[0]


@needs_kafka
def test_results_larger_than_a_message_are_refused_before_the_log_counts_on_them(
    kafka_broker: KafkaBroker, tmp_path: Path
) -> None:
    class Text(msgspec.Struct):
        text: str

    kafka_broker.make("out")
    with App(tmp_path / "log.db") as app:
        texts = app.topic("texts", Text)
        app.stream(texts, name="out")(lambda s: s.to(sinks.kafka(f"{kafka_broker.url}/out")))
        texts.append(Text("x" * 1_100_000))
        with pytest.raises(UsageError, match=r"message\.max\.bytes"):
            app.run(until="now")
    assert kafka_broker.read("out") == []


def test_brokers_are_sources_and_outputs_of_a_configuration(tmp_path: Path) -> None:
    path = tmp_path / "logs.toml"
    path.write_text(
        """
        [[source]]
        kind = "kafka"
        url = "kafka://a:9092,b/logs"
        start = "2026-03-01T10:00:00Z"
        format = "json"
        settings = { "security.protocol" = "SSL" }
        [[source]]
        kind = "nats"
        url = "nats://a"
        stream = "LOGS"
        [[output]]
        name = "k"
        kind = "kafka"
        url = "kafka://a/events"
        key = "host"
        [[output]]
        name = "n"
        kind = "nats"
        url = "nats://a"
        subject = "events.all"
        """
    )
    config = read_config(path)
    assert [listener.open()[0].name for listener in config.sources] == ["kafka logs", "nats LOGS"]
    assert [str(output.sink()) for output in config.outputs] == ["kafka://a:9092/events", "nats://a subject events.all"]


def test_two_sources_that_would_share_positions_are_refused(tmp_path: Path) -> None:
    listeners = [KafkaListener(url="kafka://a/logs"), KafkaListener(url="kafka://b/logs")]
    with pytest.raises(UsageError, match="two sources are kafka:logs"), opened(listeners, "logs.toml"):
        pass
    with opened([listeners[0], KafkaListener(url="kafka://b/logs", name="other")], "logs.toml") as sources:
        assert [source.name for source in sources] == ["kafka logs", "kafka other"]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ('kind = "kafka"\nurl = "kafka://a"', "names no topic"),
        ('kind = "kafka"\nurl = "kafka://a/x"\nstart = "monday"', "start is 'monday'"),
        ('kind = "nats"\nurl = "nats://a"', "give stream="),
        ('kind = "nats"\nurl = "nats://a"\nstream = "s"\nformat = "x"', "format is 'x'"),
    ],
)
def test_a_broker_that_cannot_be_meant_is_refused(tmp_path: Path, keys: str, said: str) -> None:
    path = tmp_path / "logs.toml"
    path.write_text(f"[[source]]\n{keys}\n")
    with pytest.raises(UsageError, match=said):
        read_config(path)
