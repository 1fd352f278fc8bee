"""What a rule says beyond its kind: different values, each event, scopes, what is ignored, switched off."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from millstream import App, UsageError
from millstream.logs.alert import Alert
from millstream.logs.application import LogsApplication
from millstream.logs.rules import Rule, parse_rules
from millstream.parsers.log_event import Kind, LogEvent

TEN = datetime(2026, 3, 1, 10, tzinfo=UTC)


def event(second: float, user: str | None = "ann", address: str | None = "203.0.113.9", **more: object) -> LogEvent:
    return LogEvent(
        time=TEN + timedelta(seconds=second),
        source="test",
        message="failed",
        kind=Kind.LOGIN,
        success=False,
        user=user,
        source_ip=address,
        **more,  # type: ignore[arg-type]
    )


def rules(text: str) -> list[Rule]:
    return list(parse_rules(text, "test.toml"))


def alerts(text: str, *events: LogEvent, batches: int = 1) -> list[Alert]:
    with App("memory://") as app:
        logs = LogsApplication(app, rules(text))
        size = -(-len(events) // batches)
        for start in range(0, len(events), size):
            logs.events.extend(events[start : start + size])
            app.run(until="now")
        return [record.value for record in logs.alerts.read(0, records_max=10_000)]


DISTINCT = """
[[rule]]
name = "spraying"
where = "NOT success"
message = "{count} users from {source_ip}"
tags = ["own.tag"]
[rule.threshold]
count = 3
within = "1m"
by = ["source_ip"]
distinct = "user"
"""


def test_different_values_are_counted_not_events() -> None:
    assert alerts(DISTINCT, *(event(second) for second in range(20))) == []
    [found] = alerts(DISTINCT, event(0, "a"), event(1, "a"), event(2, "b"), event(59.999, "c"))
    assert (found.message, found.count, found.by) == ("3 users from 203.0.113.9", 3, {"source_ip": "203.0.113.9"})
    assert (found.first, found.tags) == (TEN, ["own.tag"])


def test_different_values_just_outside_the_time_do_not_count() -> None:
    assert alerts(DISTINCT, event(0, "a"), event(30, "b"), event(60, "c")) == []


def test_different_values_of_another_address_do_not_count() -> None:
    assert alerts(DISTINCT, event(0, "a"), event(1, "b"), event(2, "c", "203.0.113.10")) == []


def test_event_without_the_value_does_not_count() -> None:
    assert alerts(DISTINCT, event(0, "a"), event(1, "b"), event(2, None)) == []


def test_parts_of_fields_can_be_what_events_have_in_common_and_what_is_counted() -> None:
    text = DISTINCT.replace('by = ["source_ip"]', 'by = ["fields.place"]').replace('"user"', "\"field('who is it')\"")
    events = [event(second, fields={"place": "x", "who is it": who}) for second, who in enumerate("aab")]
    assert alerts(text, *events) == []
    other = event(9, fields={"place": "y", "who is it": "c"})
    assert alerts(text, *events, other) == []
    [found] = alerts(text, *events, event(9, fields={"place": "x", "who is it": "c"}))
    assert (found.count, found.by) == (3, {"fields.place": "x"})


def test_late_value_counts_where_it_belongs() -> None:
    assert len(alerts(DISTINCT, event(0, "a"), event(40, "c"), event(20, "b"))) == 1
    assert len(alerts(DISTINCT, event(0, "a"), event(100, "x"), event(20, "b"), event(10, "c"))) == 1
    assert alerts(DISTINCT, event(0, "a"), event(100, "x"), event(65, "b"), event(41, "c")) != []
    assert alerts(DISTINCT, event(0, "a"), event(120, "x"), event(60, "b"), event(59, "a")) == []


def test_value_that_comes_very_often_does_not_push_out_the_others() -> None:
    often = [event(2 + number / 1000, "c") for number in range(1000)]
    found = alerts(DISTINCT.replace("count = 3", "count = 4"), event(0, "a"), event(1, "b"), *often, event(5, "d"))
    assert len(found) == 1


@pytest.mark.parametrize("seed", range(5))
def test_different_values_are_those_of_brute_force_whatever_the_batches(seed: int) -> None:
    chosen = random.Random(seed)
    events = sorted((event(chosen.randrange(600), chosen.choice("abcde")) for _ in range(60)), key=lambda one: one.time)
    wanted = []
    for place, one in enumerate(events):
        before = {other.user for other in events[: place + 1] if one.time - other.time < timedelta(minutes=1)}
        if len(before) >= 3 and (not wanted or wanted[-1] != one.time):
            wanted.append(one.time)
    for batches in (1, 7):
        assert [alert.time for alert in alerts(DISTINCT, *events, batches=batches)] == wanted


EACH = """
[[rule]]
name = "first"
scope = "kind = 'login'"
where = "user = 'root'"
message = "{user}"
[rule.each]

[[rule]]
name = "second"
scope = "kind = 'login'"
where = "source_ip IS NOT NULL"
message = "{source_ip}"
level = "high"
[rule.each]
"""


def test_each_event_is_an_alert_also_when_it_is_late_or_at_the_same_moment() -> None:
    found = alerts(EACH, event(5, "root"), event(5, "root"), event(1, "root", None), event(2, "ann"), batches=2)
    assert sorted((alert.rule, alert.message) for alert in found) == [
        ("first", "root"),
        ("first", "root"),
        ("first", "root"),
        ("second", "203.0.113.9"),
        ("second", "203.0.113.9"),
        ("second", "203.0.113.9"),
    ]


def test_rule_that_is_switched_off_says_nothing() -> None:
    assert (
        alerts(EACH.replace('message = "{user}"', 'message = "{user}"\nenabled = false'), event(1, "root", None)) == []
    )


def test_addresses_and_users_are_ignored_also_from_files(tmp_path: Path) -> None:
    addresses, users = tmp_path / "addresses", tmp_path / "users"
    addresses.write_text("# the office\n198.51.100.0/24\n\n2001:db8::/32  # ours\n")
    users.write_text("backup\n")
    text = EACH.replace(
        'message = "{source_ip}"\nlevel = "high"',
        f'message = "{{source_ip}}"\nignore = {{ addresses = ["10.0.0.0/8", "192.0.2.7"], users = ["robot"], '
        f"address_files = ['{addresses}'], user_files = ['{users}'] }}",
    )
    ignored = ("10.1.2.3", "192.0.2.7", "198.51.100.77", "2001:db8:5::1")
    assert alerts(text, *(event(1, address=address) for address in ignored)) == []
    assert alerts(text, event(1, "robot"), event(1, "backup")) == []
    seen = alerts(text, event(1, address="192.0.2.8"), event(2, None), event(3, address="11.0.0.1"))
    assert [alert.message for alert in seen] == ["192.0.2.8", "203.0.113.9", "11.0.0.1"]


def test_sequence_ignores_in_both_of_its_conditions() -> None:
    text = """
    [[rule]]
    name = "r"
    where = "NOT success"
    message = ""
    ignore = { users = ["robot"] }
    [rule.sequence]
    then = "success"
    within = "1m"
    by = ["source_ip"]
    """
    good = LogEvent(
        time=TEN + timedelta(seconds=9), source="t", message="", user="robot", success=True, source_ip="1.1.1.1"
    )
    assert alerts(text, event(1, "ann", "1.1.1.1"), good) == []
    assert len(alerts(text.replace("robot", "other"), event(1, "ann", "1.1.1.1"), good)) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ('ignore = { addresses = ["10.0.0.0/40"] }', ["rule 1", "ignore", "10.0.0.0/40"]),
        ('ignore = { user_files = ["nowhere.txt"] }', ["ignore", "nowhere.txt", "cannot be read"]),
        ("ignore = { adresses = [] }", ["adresses"]),
        ('quiet = "1m"', ["each", "quiet", "threshold"]),
        ('scope = "nothing = 1"', ["scope", "nothing"]),
    ],
)
def test_wrong_rule_says_what_is_wrong(change: str, words: list[str]) -> None:
    with pytest.raises(UsageError) as raised:
        rules(
            EACH.replace('message = "{user}"', f'message = "{{user}}"\n{change}'.replace("scope", "scope", 1))
            if "scope" not in change
            else EACH.replace("scope = \"kind = 'login'\"", change, 1)
        )
    for word in words:
        assert word in str(raised.value)


def test_unknown_field_to_count_is_named() -> None:
    with pytest.raises(UsageError, match=r"distinct: events have no field 'nobody'"):
        rules(DISTINCT.replace('distinct = "user"', 'distinct = "nobody"'))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ('[rule.threshold]\ncount = 2\nwithin = "1m"\nby = ["user", "host", "user"]', "'user' is there twice"),
        (
            '[rule.threshold]\ncount = 2\nwithin = "1m"\nby = ["user"]\ndistinct = "user"',
            "distinct: 'user' is the same",
        ),
        ("[rule.first_seen]\nby = []", "by: name the fields"),
        ('[rule.together]\nof = ["true"]\nwithin = "1m"', "of: give 2 to 8 conditions; it has 1"),
        ('[rule.together]\nof = ["true", "nobody = 1"]\nwithin = "1m"', "of 2: events have no field 'nobody'"),
        ('[rule.together]\nof = ["true", "true"]\nwithin = "1m"\nleast = 3', "least: 3 is not from 1 to 2"),
        ('[rule.together]\nof = ["true", "true"]\nwithin = "1m"\nleast = 1\nordered = true', "leave `least` out"),
        (
            '[rule.together]\nof = ["true", {where = "true", by = ["user"]}]\nwithin = "1m"',
            "of 2, by: it names 1 fields, and the rule 0",
        ),
        ('[rule.rate]\nfactor = nan\nwindow = "1m"', "factor is more than 1"),
        ('[rule.rate]\nfactor = inf\nwindow = "1m"', "factor is more than 1"),
    ],
)
def test_rule_that_could_never_speak_up_is_refused(kind: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        rules(f"[[rule]]\nname = 'r'\nmessage = ''\n{kind}")


def test_condition_that_cannot_make_a_number_of_a_text_does_not_stop_the_others() -> None:
    text = EACH.replace("user = 'root'", "CAST(fields.status AS INT) >= 500")
    events = [event(1, fields={"status": "-"}), event(2, fields={"status": "503"}), event(3)]
    assert Counter(alert.rule for alert in alerts(text, *events)) == Counter({"second": 3, "first": 1})
