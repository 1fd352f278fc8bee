"""Rules over random events, cut into batches at random, against queries of DuckDB over all of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream import App
from millstream.logs.alert import Alert
from millstream.logs.application import LogsApplication
from millstream.logs.rules import parse_rules
from millstream.parsers.log_event import LogEvent
from millstream.records import time_to_us

BEGIN: Final = datetime(2026, 3, 1, 10, tzinfo=UTC)
WITHIN_US: Final = 60_000_000

Seen = tuple[int, str, str | None]
"""Time (us since BEGIN), address, user."""

times = st.integers(0, 40).map(lambda tens: tens * 10_000_000) | st.integers(0, 400_000_000)
events = st.lists(st.tuples(times, st.sampled_from("xy"), st.sampled_from(["a", "b", "c", "d", None])), max_size=60)
batches = st.integers(1, 5)


def rule(kind: str, more: str = "") -> str:
    return f"[[rule]]\nname = 'r'\nmessage = '{{values}}'\n{more}\n[rule.{kind}"


def alerts(text: str, seen: Sequence[Seen], batches: int) -> list[Alert]:
    with App("memory://") as app:
        logs = LogsApplication(app, parse_rules(text, "t"))
        size = max(1, -(-len(seen) // batches))
        for start in range(0, len(seen), size):
            logs.events.extend(
                LogEvent(time=BEGIN + timedelta(microseconds=at), source="t", message="m", source_ip=address, user=user)
                for at, address, user in seen[start : start + size]
            )
            app.run(until="now")
        return [record.value for record in logs.alerts.read(0, records_max=10_000)]


def moments(found: Sequence[Alert]) -> list[tuple[str, int]]:
    """Return address and time of each, sorted."""
    return sorted((alert.by["source_ip"], time_to_us(alert.time) - time_to_us(BEGIN)) for alert in found)


def asked(query: str, seen: Sequence[Seen]) -> list[tuple[str, int]]:
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE seen (us BIGINT, address TEXT, login TEXT)")
        if seen:
            connection.executemany("INSERT INTO seen VALUES (?, ?, ?)", [list(one) for one in seen])
        return sorted(connection.execute(query).fetchall())


THRESHOLD: Final = f"""
    SELECT DISTINCT address, us FROM (
        SELECT address, us, count(*) OVER (
            PARTITION BY address ORDER BY us RANGE BETWEEN {WITHIN_US - 1} PRECEDING AND CURRENT ROW
        ) AS so_far
        FROM seen
    ) WHERE so_far >= 3
"""
DISTINCT: Final = f"""
    SELECT DISTINCT one.address, one.us FROM seen AS one JOIN seen AS other
        ON one.address = other.address AND other.us > one.us - {WITHIN_US} AND other.us <= one.us
    WHERE one.login IS NOT NULL
    GROUP BY one.rowid, one.address, one.us HAVING count(DISTINCT other.login) >= 3
"""
FIRST_SEEN: Final = """
    SELECT address, us FROM (
        SELECT address, us, lag(us) OVER (PARTITION BY address ORDER BY us) AS before FROM seen
    ) WHERE before IS NULL OR us - before >= 100000000
"""
RATE: Final = f"""
    WITH counted AS (
        SELECT address, us // {WITHIN_US} AS place, count(*) AS events FROM seen GROUP BY ALL
    ), usual AS (
        SELECT one.address, one.place, one.events, least(3, one.place - first.place) AS passed,
            (SELECT coalesce(sum(events), 0) FROM counted AS earlier WHERE earlier.address = one.address
                AND earlier.place < one.place AND earlier.place >= one.place - 3) AS before
        FROM counted AS one
        JOIN (SELECT address, min(place) AS place FROM counted GROUP BY address) AS first USING (address)
    )
    SELECT address, place FROM usual WHERE passed > 0 AND events >= 4 AND events > 2 * before / passed
"""
KIND_OF: Final = {
    "threshold": (rule("threshold]\ncount = 3\nwithin = '1m'\nby = ['source_ip']"), THRESHOLD),
    "distinct": (rule("threshold]\ncount = 3\nwithin = '1m'\nby = ['source_ip']\ndistinct = 'user'"), DISTINCT),
    "first_seen": (rule("first_seen]\nby = ['source_ip']\nforget = '100s'"), FIRST_SEEN),
}


@pytest.mark.parametrize("kind", KIND_OF)
@given(seen=events, batches=batches)
@settings(max_examples=40)
def test_alerts_on_events_in_order_are_those_of_a_query(kind: str, seen: list[Seen], batches: int) -> None:
    text, query = KIND_OF[kind]
    seen = sorted(seen, key=lambda one: one[0])
    assert moments(alerts(text, seen, batches)) == asked(query, seen)


@pytest.mark.parametrize("kind", ["threshold", "distinct"])
@given(seen=events, batches=batches, data=st.data())
@settings(max_examples=40)
def test_whatever_the_order_alerts_are_about_the_same_addresses(
    kind: str, seen: list[Seen], batches: int, data: st.DataObject
) -> None:
    text, query = KIND_OF[kind]
    shuffled = data.draw(st.permutations(seen))
    wanted = {address for address, _ in asked(query, seen)}
    assert {address for address, _ in moments(alerts(text, shuffled, batches))} == wanted


@given(seen=events, batches=batches)
@settings(max_examples=40)
def test_windows_with_more_than_usual_are_those_of_a_query(seen: list[Seen], batches: int) -> None:
    text = rule("rate]\nfactor = 2\nwindow = '1m'\nbefore = 3\ncount = 4\nby = ['source_ip']")
    seen = sorted(seen, key=lambda one: one[0])
    found = [(address, at // WITHIN_US) for address, at in moments(alerts(text, seen, batches))]
    assert found == asked(RATE, seen)


def quietly(wanted: Sequence[tuple[str, int]], quiet_us: int) -> list[tuple[str, int]]:
    """Return which alerts are left when nothing is said for so long after each."""
    kept: list[tuple[str, int]] = []
    for address, at in wanted:
        if not kept or kept[-1][0] != address or at - kept[-1][1] >= quiet_us:
            kept.append((address, at))
    return kept


@pytest.mark.parametrize("kind", ["threshold", "distinct"])
@given(seen=events, batches=batches)
@settings(max_examples=30)
def test_quiet_time_leaves_out_what_comes_too_soon_and_nothing_else(kind: str, seen: list[Seen], batches: int) -> None:
    text, query = KIND_OF[kind]
    seen = sorted(seen, key=lambda one: one[0])
    found = alerts(text.replace("name = 'r'", "name = 'r'\nquiet = '2m'"), seen, batches)
    assert moments(found) == quietly(asked(query, seen), 120_000_000)


@given(seen=events, batches=batches, data=st.data())
@settings(max_examples=30)
def test_whatever_the_order_two_alerts_of_one_address_are_not_within_the_quiet_time(
    seen: list[Seen], batches: int, data: st.DataObject
) -> None:
    text, query = KIND_OF["threshold"]
    shuffled = data.draw(st.permutations(seen))
    found = moments(alerts(text.replace("name = 'r'", "name = 'r'\nquiet = '2m'"), shuffled, batches))
    for (address, at), (other, later) in itertools.pairwise(found):
        assert address != other or later - at >= 120_000_000
    assert {address for address, _ in found} == {address for address, _ in asked(query, seen)}


def sequences(seen: Sequence[Seen]) -> list[tuple[str, int]]:
    """Return when two events of user a, and then one of user b came within a minute; each leads to one."""
    found: list[tuple[str, int]] = []
    for address in "xy":
        before: list[int] = []
        for at, of, user in seen:
            if of != address:
                continue
            if user == "a":
                before.append(at)
            near = [time for time in before if at - time < WITHIN_US]
            if user == "b" and len(near) >= 2:
                before = [time for time in before if time not in near]
                found.append((address, at))
    return sorted(set(found))


SEQUENCE: Final = rule(
    "sequence]\nthen = \"user = 'b'\"\ncount = 2\nwithin = '1m'\nby = ['source_ip']", "where = \"user = 'a'\""
)


@given(seen=events, batches=batches)
@settings(max_examples=40)
def test_sequences_of_events_in_order_are_those_of_brute_force(seen: list[Seen], batches: int) -> None:
    seen = sorted(seen, key=lambda one: one[0])
    assert moments(alerts(SEQUENCE, seen, batches)) == sequences(seen)


@given(seen=events, batches=batches, data=st.data())
@settings(max_examples=40)
def test_sequences_are_found_whatever_the_order(seen: list[Seen], batches: int, data: st.DataObject) -> None:
    # One of the second kind: which of two takes the events before it depends on which comes first.
    seen = [one for one in seen if one[2] != "b"]
    at = data.draw(times)
    seen.append((at, "x", "b"))
    shuffled = data.draw(st.permutations(seen))
    in_order = sorted(seen, key=lambda one: (one[0], one[2] == "b"))
    found = alerts(SEQUENCE, shuffled, batches)
    assert moments(found) == sequences(in_order)
    for alert in found:
        assert time_to_us(alert.first) - time_to_us(BEGIN) > at - WITHIN_US


def absences(seen: Sequence[Seen]) -> list[tuple[str, int]]:
    """Return when an address had been silent for a minute, noticed ten seconds later by what else came."""
    last: dict[str, int] = {}
    found: list[tuple[str, int]] = []
    newest = -1
    for at, address, _ in [*seen, (-1, "", None)]:
        silent = [one for one, then in last.items() if newest - 10_000_000 >= then + WITHIN_US]
        found += [(one, last.pop(one) + WITHIN_US) for one in silent]
        newest = max(newest, at)
        if address:
            last[address] = max(at, last.get(address, -1))
    return sorted(found)


@given(seen=events, batches=batches)
@settings(max_examples=40)
def test_absences_are_those_of_brute_force(seen: list[Seen], batches: int) -> None:
    text = rule("absence]\nwithin = '1m'\nby = ['source_ip']").replace("{values}", "gone")
    seen = sorted(seen, key=lambda one: one[0])
    assert moments(alerts(text, seen, batches)) == absences(seen)


MOST: Final[Callable[[int], int]] = lambda count: 4 * count  # noqa: E731 - of a key remembered, as the page says


@given(st.integers(1, 8), st.data())
@settings(max_examples=20)
def test_old_file_beside_a_new_one_leads_to_its_own_alerts(count: int, data: st.DataObject) -> None:
    """Events of two days come in turns of less than what is remembered: each day has its alert."""
    text = rule(f"threshold]\ncount = {count}\nwithin = '1m'\nby = ['source_ip']", "quiet = '1h'")
    day_us = 86_400_000_000
    old: list[Seen] = [(place * 1000, "x", "a") for place in range(count)]
    new: list[Seen] = [(day_us + place * 1000, "x", "a") for place in range(count)]
    mixed: list[Seen] = []
    while old or new:
        side = data.draw(st.sampled_from([one for one in (old, new) if one]))
        taken = data.draw(st.integers(1, max(1, min(len(side), MOST(count) // 2))))
        mixed += side[:taken]
        del side[:taken]
    assert len(alerts(text, mixed, data.draw(batches))) == 2
