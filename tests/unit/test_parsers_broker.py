"""Messages of brokers as lines: kept whole, and what their values mean."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream import UsageError
from millstream.parsers.broker import Binary, BrokerParser, Envelope, text_or_binary
from millstream.parsers.formats import FORMATS
from millstream.parsers.log_event import Kind, LogEvent
from millstream.sources import kafka
from millstream.sources.broker_lines import BrokerLines

NOW = datetime(2026, 4, 7, 12, tzinfo=UTC)
THEN = datetime(2026, 4, 6, 12, tzinfo=UTC)
THEN_US = round(THEN.timestamp()) * 1_000_000


def event(**envelope: object) -> LogEvent:
    line = Envelope(**{"broker": "kafka", "topic": "logs", "time_us": THEN_US, **envelope}).line()  # type: ignore[arg-type]
    [found] = FORMATS["broker"].parser("kafka:logs").events([line], now=NOW)  # type: ignore[attr-defined]
    assert found.raw == line.decode()
    assert found.format == "broker"
    return found  # type: ignore[no-any-return]


def test_a_value_is_read_by_its_format_and_the_message_is_beside_it() -> None:
    value = "Failed password for ann from 10.0.0.1 port 22 ssh2"
    found = event(
        partition=3, offset=7, key="web-1", headers=[("a", "1"), ("a", "2"), ("b", None)], format="syslog",
        value=f"<38>1 2026-03-01T10:00:00Z web sshd 7 - - {value}",
    )  # fmt: skip
    assert (found.kind, found.user, found.source_ip, found.success) == (Kind.LOGIN, "ann", "10.0.0.1", False)
    assert found.time == datetime(2026, 3, 1, 10, tzinfo=UTC)
    assert found.fields is not None
    assert found.fields["kafka"] == {
        "topic": "logs", "partition": 3, "offset": 7, "key": "web-1", "headers": {"a": ["1", "2"], "b": None},
    }  # fmt: skip


def test_a_value_without_a_time_has_that_of_its_message() -> None:
    parser = BrokerParser("x")
    first = Envelope(broker="nats", topic="a", format="json", value='{"ts":"2026-01-01T00:00:00Z","msg":"x"}').line()
    second = Envelope(broker="nats", topic="a", time_us=THEN_US, format="json", value='{"msg":"y"}').line()
    assert [one.time for one in parser.events([first, second], now=NOW)] == [datetime(2026, 1, 1, tzinfo=UTC), THEN]


def test_text_tombstones_bytes_and_unknown_formats_are_messages() -> None:
    assert event(value=' {"msg": 1} ').message == '{"msg": 1}'
    assert event(value=None, key="ann").message == "tombstone of ann"
    assert event(value=Binary(b"a\xff")).message == "a\\xff"
    assert event(value="x", format="of a later version").message == "x"
    assert event(value="x", time_us=None).time == NOW
    assert event(value="x", time_us=-5).time == NOW


texts = st.text(max_size=8)
anything = st.none() | st.binary(max_size=8) | texts.map(str.encode)


@given(
    st.sampled_from(["kafka", "nats"]), texts, st.none() | st.integers(0, 2**40), anything, anything,
    st.lists(st.tuples(texts, anything), max_size=3), st.sampled_from(["text", *FORMATS]),
)  # fmt: skip
def test_a_message_comes_out_of_its_line_as_it_went_in(
    broker: str, topic: str, offset: int | None, key: bytes | None, value: bytes | None,
    headers: list[tuple[str, bytes | None]], format: str,
) -> None:  # fmt: skip
    import msgspec

    envelope = Envelope(
        broker=broker, topic=topic, offset=offset, time_us=THEN_US, format=format, key=text_or_binary(key),
        value=text_or_binary(value), headers=[(name, text_or_binary(one)) for name, one in headers],
    )  # type: ignore[arg-type] # fmt: skip
    line = envelope.line()
    assert b"\n" not in line
    again = msgspec.json.decode(line, type=Envelope)
    assert (again.value, again.key, again.topic, again.offset) == (envelope.value, envelope.key, topic, offset)
    assert [*map(tuple, again.headers)] == [*map(tuple, envelope.headers)]
    [found] = BrokerParser("x").events([line], now=NOW)
    assert (found.raw, found.source, found.format) == (line.decode(), "x", "broker")


@given(st.lists(st.binary(max_size=30) | texts.map(lambda text: ('{"broker":"kafka",' + text).encode()), max_size=5))
def test_no_line_is_too_odd(lines: list[bytes]) -> None:
    assert len(BrokerParser("x").events(lines, now=NOW)) == len(lines)
    assert BrokerParser("x").columns(lines, now=NOW).height == len(lines)


def test_a_format_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="format is 'access'; give auto, text, or one of"):
        BrokerLines(kafka("kafka://a/logs"), format="access")
