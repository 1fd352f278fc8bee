"""Each kind of rule just inside and just outside its condition, with late events, old files and clocks that jump."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from millstream import App
from millstream.logs.alert import Alert, Level
from millstream.logs.application import LogsApplication
from millstream.logs.rules import Rule, parse_rules
from millstream.parsers.log_event import LogEvent
from millstream.parsers.log_lines import LogParser

TEN = datetime(2026, 3, 1, 10, tzinfo=UTC)
DAY = 86_400
FAR = 73 * 365 * DAY
"""The year 2099, where a clock was that nobody had set."""


def event(second: float, user: str = "ann", host: str = "web", program: str = "sshd") -> LogEvent:
    moment = TEN + timedelta(seconds=second)
    return LogEvent(time=moment, source="t", message="m", raw=f"{second} {user}", user=user, host=host, program=program)


def burst(second: float, count: int = 3, user: str = "ann") -> list[LogEvent]:
    return [event(second + place, user) for place in range(count)]


def rules(kind: str, options: str = "", name: str = "r") -> list[Rule]:
    return list(parse_rules(f"[[rule]]\nname = '{name}'\nmessage = '{{count}}'\n{options}\n{kind}", "t"))


def run(app: App, found: Sequence[Rule], events: Sequence[LogEvent]) -> list[Alert]:
    logs = LogsApplication(app, found)
    logs.events.extend(events)
    app.run(until="now")
    return [record.value for record in logs.alerts.read(0, records_max=10_000)]


def alerts(kind: str, *events: LogEvent, options: str = "", batches: int = 1) -> list[Alert]:
    with App("memory://") as app:
        logs = LogsApplication(app, rules(kind, options))
        size = -(-len(events) // batches)
        for start in range(0, len(events), size):
            logs.events.extend(events[start : start + size])
            app.run(until="now")
        return [record.value for record in logs.alerts.read(0, records_max=10_000)]


def seconds(found: Sequence[Alert]) -> list[float]:
    return [(alert.time - TEN).total_seconds() for alert in found]


THRESHOLD = '[rule.threshold]\ncount = 3\nwithin = "1m"\nby = ["host"]'
DISTINCT = '[rule.threshold]\ncount = 3\nwithin = "1m"\nby = ["host"]\ndistinct = "user"'
SEQUENCE = '[rule.sequence]\nthen = "user = \'eve\'"\ncount = 2\nwithin = "1m"\nby = ["host"]'
FIRST = "where = \"user = 'ann'\""
FIRST_SEEN = '[rule.first_seen]\nby = ["user"]\nforget = "2h"'
ABSENCE = '[rule.absence]\nwithin = "1m"\nby = ["user"]'
RATE = '[rule.rate]\nfactor = 3\nwindow = "1m"\nbefore = 5\ncount = 4\nby = ["host"]'


# --- an old file beside new events, which are read first --------------------------------------------------------------


@pytest.mark.parametrize("quiet", ["", 'quiet = "10m"'])
@pytest.mark.parametrize("days", [1, 400])
@pytest.mark.parametrize("batches", [1, 4])
def test_old_burst_after_a_new_one_is_an_alert_of_its_own(quiet: str, days: int, batches: int) -> None:
    found = alerts(THRESHOLD, *burst(days * DAY), *burst(0), options=quiet, batches=batches)
    assert seconds(found) == [days * DAY + 2, 2]


@pytest.mark.parametrize("batches", [1, 4])
def test_different_values_of_an_old_file_are_an_alert_of_their_own(batches: int) -> None:
    users = [event(at, user) for at in (DAY, 0) for user in ("a", "b", "c")]
    assert seconds(alerts(DISTINCT, *users, batches=batches)) == [DAY, 0]


def test_old_value_that_comes_often_leaves_the_others_of_its_day() -> None:
    often = [event(2 + number / 1000, "c") for number in range(500)]
    found = alerts(DISTINCT, event(DAY, "x"), event(0, "a"), *often, event(5, "b"), options='quiet = "1h"')
    assert seconds(found) == [5]


def test_failures_that_are_read_after_the_success_lead_to_the_same_alert() -> None:
    events = [event(0), event(1), event(2, "eve")]
    message = 'level = "critical"\n' + FIRST
    for order in ([0, 1, 2], [0, 2, 1], [2, 1, 0], [2, 0, 1]):
        [found] = alerts(SEQUENCE, *(events[place] for place in order), options=message)
        assert (found.time, found.first, found.count) == (TEN + timedelta(seconds=2), TEN, 3)
        assert (found.raw, found.by, found.level) == ("2 eve", {"host": "web"}, Level.CRITICAL)


def test_alert_of_a_late_failure_speaks_of_the_success_not_of_the_failure() -> None:
    text = "[[rule]]\nname = 'r'\nmessage = '{user} at {time:%S} {fields.x}'\n" + FIRST + "\n" + SEQUENCE
    with App("memory://") as app:
        [found] = run(app, parse_rules(text, "t"), [event(2, "eve"), event(0), event(1)])
    assert found.message == "eve at 02 ?"


def test_failures_too_long_before_a_success_that_was_read_first_lead_to_nothing() -> None:
    assert alerts(SEQUENCE, event(60, "eve"), event(0), event(1), options=FIRST) == []
    assert len(alerts(SEQUENCE, event(60, "eve"), event(0.001), event(1), options=FIRST)) == 1
    assert alerts(SEQUENCE, event(2, "eve"), event(3), event(1), options=FIRST) == []


def test_failures_lead_to_one_success_only_also_late_ones() -> None:
    found = alerts(SEQUENCE, event(5, "eve"), event(6, "eve"), event(0), event(1), options=FIRST)
    assert seconds(found) == [5]


def test_sequence_is_quiet_for_a_while_after_an_alert() -> None:
    pairs = [event(at + more, user) for at in (0, 10, 600) for more, user in ((0, "ann"), (1, "ann"), (2, "eve"))]
    assert seconds(alerts(SEQUENCE, *pairs, options=FIRST + '\nquiet = "10m"')) == [2, 602]


def test_value_of_an_old_file_is_new_only_once_however_old() -> None:
    found = alerts(FIRST_SEEN, event(400 * DAY, "new"), *burst(0), event(5, "bob"), batches=5)
    assert [(alert.by["user"], alert.time.year) for alert in found] == [("new", 2027), ("ann", 2026), ("bob", 2026)]


def test_value_is_new_also_before_the_first_event_of_the_log() -> None:
    assert seconds(alerts(FIRST_SEEN, event(5), event(0, "bob"))) == [5, 0]


def test_value_just_before_it_is_forgotten_is_known_and_just_after_it_is_new() -> None:
    assert seconds(alerts(FIRST_SEEN, event(0), event(7199.999), event(14399.998))) == [0]
    assert seconds(alerts(FIRST_SEEN, event(0), event(7200))) == [0, 7200]


def test_heartbeats_of_an_old_file_are_no_absences_but_their_end_is_one() -> None:
    beats = [event(30 * place) for place in range(20)]
    now = 10 * DAY
    found = alerts(ABSENCE, event(now, "x"), *beats, event(now + 5, "x"), event(now + 100, "x"), batches=8)
    assert [alert.by for alert in found] == [{"user": "ann"}]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (2, 1, 0), (1, 2, 0)])
def test_threshold_just_inside_and_just_outside_its_time_whatever_the_order(order: tuple[int, ...]) -> None:
    for last, wanted in ((59.999999, 1), (60, 0)):
        events = [event(0, "a"), event(30, "b"), event(last, "c")]
        for kind in (THRESHOLD, DISTINCT):
            assert len(alerts(kind, *(events[place] for place in order))) == wanted


def test_events_of_an_old_file_that_come_one_by_one_between_many_new_ones_are_not_pushed_out() -> None:
    old = burst(0, 3)
    new = [event(DAY + 1000 * place) for place in range(40)]
    mixed = [*new[:20], old[0], *new[20:25], old[1], *new[25:28], old[2], *new[28:]]
    assert seconds(alerts(THRESHOLD, *mixed)) == [2]


# --- absences ---------------------------------------------------------------------------------------------------------


def test_absence_is_said_once_also_when_a_late_event_follows() -> None:
    found = alerts(ABSENCE, event(0), event(200, "x"), event(201, "x"), event(-5), event(230, "x"), batches=5)
    assert seconds(found) == [60]


def test_absence_just_inside_and_just_outside_its_time() -> None:
    assert alerts(ABSENCE, event(0), event(69.999, "x"), event(59.999), event(75, "x")) == []
    assert seconds(alerts(ABSENCE, event(0), event(70, "x"), event(80, "x"))) == [60]


def test_absence_is_quiet_for_a_while_after_an_alert() -> None:
    silences = [event(at + more, user) for at in (0, 150, 540) for more, user in ((0, "ann"), (80, "x"))]
    assert seconds(alerts(ABSENCE, *silences, options=FIRST + '\nquiet = "9m"', batches=3)) == [60, 600]
    assert seconds(alerts(ABSENCE, *silences, options=FIRST + '\nquiet = "541s"', batches=3)) == [60]
    assert seconds(alerts(ABSENCE, *silences, options=FIRST, batches=3)) == [60, 210, 600]


# --- rates ------------------------------------------------------------------------------------------------------------


def test_event_older_than_all_windows_is_counted_in_its_own() -> None:
    assert alerts(RATE, event(100_000), event(0)) == []
    assert seconds(alerts(RATE, event(100_000), event(0), *burst(60, 4))) == [63]


def test_windows_without_events_are_usual_for_a_key_that_is_known() -> None:
    assert seconds(alerts(RATE, event(0), *burst(6000, 4))) == [6003]
    assert alerts(RATE, *burst(6000, 4)) == []


def test_rate_says_a_window_once_and_the_next_after_the_quiet_time() -> None:
    events = [*burst(0, 1), *burst(60, 9), *burst(120, 40)]
    assert seconds(alerts(RATE, *events)) == [63, 135]
    assert seconds(alerts(RATE, *events, options='quiet = "72s"')) == [63, 135]
    assert seconds(alerts(RATE, *events, options='quiet = "73s"')) == [63, 136]


# --- clocks -----------------------------------------------------------------------------------------------------------

KINDS = {
    "threshold": (THRESHOLD, "", burst(0), [2]),
    "distinct": (DISTINCT, "", [event(0, "a"), event(1, "b"), event(2, "c")], [2]),
    "sequence": (SEQUENCE, FIRST, [event(0), event(1), event(2, "eve")], [2]),
    "first_seen": (FIRST_SEEN, "", burst(0), [0]),
    "rate": (RATE, "", [event(0), *burst(60, 5)], [63]),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("host", ["web", "other"])
@pytest.mark.parametrize("batches", [1, 6])
def test_clock_that_was_far_ahead_once_stops_no_rule(kind: str, host: str, batches: int) -> None:
    text, options, events, wanted = KINDS[kind]
    found = alerts(text, event(FAR, "early", host), *events, options=options, batches=batches)
    assert [at for at in seconds(found) if at < FAR] == wanted


def test_value_is_learned_by_when_it_was_stored_where_the_first_clock_was_ahead() -> None:
    kind = '[rule.first_seen]\nby = ["user"]\nlearn = "1h"'
    now = (datetime.now(UTC) - TEN).total_seconds()
    later = event(now + 2 * 3600)
    assert later.time in [alert.time for alert in alerts(kind, event(FAR, "early"), later)]


@pytest.mark.parametrize("kind", KINDS)
def test_clock_that_jumps_back_an_hour_leads_to_the_alerts_of_both_hours(kind: str) -> None:
    text, options, events, wanted = KINDS[kind]
    again = [event((one.time - TEN).total_seconds() - 3600, one.user or "", "web") for one in events]
    found = alerts(text, *events, *again, options=options)
    # What was seen is not new before it was seen.
    both = wanted if kind == "first_seen" else [*wanted, *(at - 3600 for at in wanted)]
    assert seconds(found) == both


def test_last_moment_there_is_stops_no_rule() -> None:
    last = LogEvent(time=datetime.max.replace(tzinfo=UTC), source="t", message="m", user="ann", host="web")
    for kind in (THRESHOLD, ABSENCE, FIRST_SEEN):
        alerts(kind, last, *burst(0))


def test_hour_that_comes_twice_when_summer_ends_counts_by_what_it_was() -> None:
    lines = [
        "2026-10-25T02:59:50+02:00 web sshd[1]: m",
        "2026-10-25T02:00:10+01:00 web sshd[1]: m",
        "2026-10-25T02:00:49+01:00 web sshd[1]: m",
        # An hour after the first two by the clock on the wall, and by the sun.
        "2026-10-25T02:59:50+01:00 web sshd[1]: m",
    ]
    events = LogParser("t", zone=UTC).events([line.encode() for line in lines], now=datetime(2026, 11, 1, tzinfo=UTC))
    found = alerts(THRESHOLD, *events)
    assert [alert.time for alert in found] == [datetime(2026, 10, 25, 1, 0, 49, tzinfo=UTC)]


# --- hosts, levels, restarts ------------------------------------------------------------------------------------------


def test_two_hosts_at_once_are_two_keys_only_where_the_rule_says_so() -> None:
    mixed = [event(place, host=host) for place in range(2) for host in ("web", "db")]
    assert alerts(THRESHOLD, *mixed) == []
    together = '[rule.threshold]\ncount = 3\nwithin = "1m"\nby = ["user"]'
    assert len(alerts(together, *mixed, options='quiet = "1m"')) == 1
    assert {alert.by["host"] for alert in alerts(THRESHOLD, *mixed, *mixed)} == {"web", "db"}


@pytest.mark.parametrize("level", list(Level))
def test_alert_has_the_level_of_its_rule(level: Level) -> None:
    assert {alert.level for alert in alerts(THRESHOLD, *burst(0), options=f"level = '{level}'")} == {level}
    assert {alert.level for alert in alerts(THRESHOLD, *burst(0))} == {Level.MEDIUM}


def test_quiet_time_is_over_exactly_when_it_has_passed() -> None:
    once = '[rule.threshold]\ncount = 1\nwithin = "1m"'
    events = [event(0), event(599.999), event(600), event(1199.999)]
    assert seconds(alerts(once, *events, options='quiet = "10m"')) == [0, 600]
    assert seconds(alerts(once, *events, options='quiet = "10m"', batches=4)) == [0, 600]


def changed(path: Path, *parts: tuple[list[Rule], list[LogEvent]]) -> list[float]:
    """Return when alerts were, of a log that is opened anew with other rules for each part of the events."""
    found: list[Alert] = []
    for some, events in parts:
        with App(path, durability="relaxed") as app:
            found = run(app, some, events)
    return seconds(found)


def test_what_a_rule_remembers_and_its_quiet_time_outlast_a_restart(tmp_path: Path) -> None:
    found = rules(THRESHOLD, 'quiet = "10m"')
    parts = [(found, [event(at)]) for at in (0, 1, 2, 3, 600, 601, 602)]
    assert changed(tmp_path / "log.db", *parts) == [2, 602]


def test_rule_with_another_count_or_time_goes_on_with_what_it_remembers(tmp_path: Path) -> None:
    lower = rules(THRESHOLD.replace("count = 3", "count = 2"))
    assert changed(tmp_path / "a.db", (rules(THRESHOLD), [event(0)]), (lower, [event(1)])) == [1]
    shorter = rules(THRESHOLD.replace("1m", "5s"))
    assert changed(tmp_path / "b.db", (rules(THRESHOLD), burst(0, 2)), (shorter, [event(9)])) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (FIRST_SEEN.replace('"user"', '"host"'), THRESHOLD.replace("count = 3", "count = 2")),
        (DISTINCT, DISTINCT.replace("count = 3", "count = 2").replace('"user"', '"program"')),
        (THRESHOLD.replace('"host"', '"user"'), THRESHOLD.replace("count = 3", "count = 2")),
    ],
    ids=["another kind", "another field that is counted", "another by"],
)
def test_rule_of_another_kind_or_field_begins_anew(tmp_path: Path, before: str, after: str) -> None:
    quiet = 'quiet = "1h"'
    found = changed(tmp_path / "log.db", (rules(before, quiet), [event(0)]), (rules(after, quiet), [event(1)]))
    assert found == ([0] if "first_seen" in before else [])


def test_rule_that_was_written_differently_keeps_what_it_remembers(tmp_path: Path) -> None:
    first, then = rules(THRESHOLD), rules(THRESHOLD, "level = 'high'\nwhere = \"user IN ('ann', 'bob')\"")
    assert changed(tmp_path / "log.db", (first, burst(0, 2)), (then, [event(5, "bob")])) == [5]
