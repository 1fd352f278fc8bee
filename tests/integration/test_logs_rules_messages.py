"""What an alert says: fields, their parts, words of its own; what cannot be said is told when it is read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream import App, UsageError
from millstream.logs.alert import Alert
from millstream.logs.application import LogsApplication
from millstream.logs.message import Message
from millstream.logs.rules import parse_rules
from millstream.logs.where import condition
from millstream.parsers.log_event import LogEvent

TEN = datetime(2026, 3, 1, 10, tzinfo=UTC)
FIELDS = {
    "http": {"status": 500, "code": 500, "paths": ["/a", "/b"]},
    "http.status": "flat",
    "none": None,
    "on": True,
    "x": "text",
    "a\\b": "c",
}


def event(second: float = 0, user: str | None = "ann", **more: object) -> LogEvent:
    moment = TEN + timedelta(seconds=second)
    return LogEvent(time=moment, source="t", message="m", raw="line", user=user, **more)  # type: ignore[arg-type]


def said(message: str, kind: str, *events: LogEvent, level: str = "low") -> list[str]:
    return [alert.message for alert in alerts(message, kind, *events, level=level)]


def alerts(message: str, kind: str, *events: LogEvent, level: str = "low") -> list[Alert]:
    text = f"[[rule]]\nname = 'r'\nlevel = '{level}'\nmessage = '''{message}'''\n{kind}"
    with App("memory://") as app:
        logs = LogsApplication(app, parse_rules(text, "t"))
        logs.events.extend(events)
        app.run(until="now")
        return [record.value for record in logs.alerts.read(0, records_max=100)]


EACH = "[rule.each]"
ONCE = '[rule.threshold]\ncount = 1\nwithin = "1m"\nby = ["source_ip"]'
BY_PART = '[rule.threshold]\ncount = 1\nwithin = "1m"\nby = ["fields.x"]'


@pytest.mark.parametrize("kind", [EACH, ONCE, BY_PART])
@pytest.mark.parametrize(
    ("message", "wanted"),
    [
        ("{fields.x}", "text"),
        ("{fields.http.code} {field('http.code')}", "500 500"),
        ("{fields.http.status} {field('http.status')}", "flat flat"),
        ("{field('a\\b')}", "c"),
        ("{fields.http.paths[1]} of {fields.http.paths}", '/b of ["/a","/b"]'),
        ("{fields.http.paths[2]} {fields.http.status.x} {fields.none} {fields.nothing}", "? ? ? ?"),
        ("{fields.on}", "true"),
        ("{user!r:>8} {pid:05d} {source_port:d}", "   'ann' 00007 ?"),
        ("{time:%H:%M} {first:%H:%M} {last:%H:%M:%S}", "10:00 10:00 10:00:00"),
        ("{{{user}}} {count} {rule} {level}", "{ann} 1 r low"),
    ],
)
def test_message_has_fields_parts_of_fields_and_words_of_the_alert(kind: str, message: str, wanted: str) -> None:
    assert said(message, kind, event(fields=FIELDS, pid=7)) == [wanted]


@pytest.mark.parametrize("by", ["", 'by = ["source"]', 'by = ["time"]'])
def test_message_has_the_fields_of_the_event_also_where_all_events_count_together(by: str) -> None:
    assert said("{source} {raw} {message}", f'[rule.threshold]\ncount = 1\nwithin = "1m"\n{by}', event()) == [
        "t line m"
    ]


def test_event_without_fields_has_a_question_mark_for_their_parts() -> None:
    assert said("{fields.x}", EACH, event()) == ["?"]


def test_first_and_last_are_those_of_the_events_also_when_a_late_one_completes_them() -> None:
    kind = '[rule.threshold]\ncount = 3\nwithin = "1m"'
    assert said("{first:%S} {last:%S}", kind, event(1), event(9), event(5)) == ["01 09"]


def test_values_are_those_that_were_counted_and_the_first_ten_of_many() -> None:
    kind = '[rule.threshold]\ncount = {}\nwithin = "1m"\ndistinct = "user"'
    some = [event(second, user) for second, user in enumerate(["bob", "ann", "bob", "eve"])]
    assert said("{count}: {values}", kind.format(3), *some) == ["3: ann, bob, eve"]
    many = [event(number, f"u{number:02}") for number in range(12)]
    [found] = said("{values}", kind.format(12), *many)
    assert found == "u00, u01, u02, u03, u04, u05, u06, u07, u08, u09 and 2 more"


def test_sequence_says_when_it_began_and_ended() -> None:
    kind = '[rule.sequence]\nthen = "user = \'eve\'"\nwithin = "1m"\ncount = 2'
    assert said("{user} {first:%S} {last:%S}", kind, event(1), event(2), event(3, "eve")) == ["eve 01 03"]


def test_absence_says_what_its_events_had_in_common_and_when_the_last_one_was() -> None:
    kind = '[rule.absence]\nwithin = "1m"\nby = ["user", "fields.x"]'
    events = [event(3, fields={"x": "here"}), event(200, "bob", fields={"x": "there"})]
    assert said("{user} {fields.x} {last:%M:%S} {within}", kind, *events) == ["ann here 00:03 1m"]


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("{nobody}", ["{nobody}", "source_ip", "fields.NAME"]),
        ("{user.name}", ["{user.name}"]),
        ("{0}", ["{0}"]),
        ("{}", ["{}"]),
        ("{", ["brace"]),
        ("{fields}.{fields.}", ["{fields.}"]),
        ("{by.user}", ["{by.user}"]),
        ("{pid:s}", ["pid:s", "cannot be written"]),
        ("{user:d}", ["user:d", "cannot be written"]),
        ("{fields.x:d}", ["fields.x:d", "cannot be written"]),
        ("{user:{count}}", ["cannot be written"]),
        ("{user!x}", ["cannot be written"]),
    ],
)
def test_message_that_cannot_be_said_is_refused_when_it_is_read(message: str, words: list[str]) -> None:
    with pytest.raises(UsageError) as raised:
        alerts(message, EACH)
    for word in ["rule 1 ('r')", "message", *words]:
        assert word in str(raised.value)


def test_absence_has_no_event_whose_fields_it_could_say() -> None:
    with pytest.raises(UsageError, match=r"\{user\}; there is .*host"):
        alerts("{user}", '[rule.absence]\nwithin = "1m"\nby = ["host"]')


@given(st.text(max_size=40))
def test_any_text_is_a_message_or_an_error_that_says_so(text: str) -> None:
    try:
        message = Message(text)
    except UsageError:
        return
    assert isinstance(message.said({"fields": '{"a":[1]}'}, {}), str)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("by.user = 'ann'", True),
        ("by.user = 'bob'", False),
        ("by.\"fields.http.code\" = '500'", True),
        ("by.fields.http.code = '500'", True),
        ("field('user') = 'ann'", True),
        ("array_contains(tags, 'own.tag') AND level = 'low'", True),
        ("array_contains(tags, 'own')", False),
    ],
)
def test_condition_on_alerts_sees_what_their_events_had_in_common_and_tags(text: str, wanted: bool) -> None:
    kind = 'tags = ["own.tag"]\n[rule.threshold]\ncount = 1\nwithin = "1m"\nby = ["user", "fields.http.code"]'
    [alert] = alerts("m", kind, event(fields=FIELDS))
    with App("memory://") as app:
        topic = app.topic("alerts", Alert, time="time")
        topic.append(alert)
        assert topic.frame().select(found=condition(text, of=Alert)).collect()["found"].to_list() == [wanted]


def test_condition_on_alerts_has_no_fields_of_events() -> None:
    with pytest.raises(UsageError, match="alerts have no field 'fields'"):
        condition("fields.x = 'a'", of=Alert)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("fields.http.paths[0] = '/a'", True),
        ("fields.http.paths[2] IS NULL", True),
        ("fields.\"http\".paths[1] LIKE '/%'", True),
        ("field('http.status') = 'flat' AND fields.http.status = 'flat'", True),
        ("field('http.code') = '500' AND fields.http.code = '500'", True),
        ("in_network(fields.http.paths[0], '10.0.0.0/8')", False),
    ],
)
def test_condition_reaches_into_lists(text: str, wanted: bool) -> None:
    assert said("yes", f"where = '''{text}'''\n{EACH}", event(fields=FIELDS)) == (["yes"] if wanted else [])


def test_comparison_of_text_with_a_number_says_how_to_make_one() -> None:
    with pytest.raises(UsageError, match=r"TRY_CAST\(fields.status AS INT\)"):
        condition("fields.status >= 500")
