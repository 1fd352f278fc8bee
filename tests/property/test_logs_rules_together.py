"""Events of several conditions, together or in order, against all that could be chosen of them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream import App
from millstream.logs.alert import Alert
from millstream.logs.application import LogsApplication
from millstream.logs.gathering import LATE, Mark, kept
from millstream.logs.rules import parse_rules
from millstream.parsers.log_event import LogEvent
from millstream.records import time_to_us

BEGIN: Final = datetime(2026, 3, 1, 10, tzinfo=UTC)
WITHIN_S: Final = 60

Seen = tuple[int, str, str, str]
"""Seconds after BEGIN, address, user, message: its letters are the conditions that it meets."""

CONDITIONS: Final = [f"message LIKE '%{letter}%'" for letter in "abc"]
letters = st.sampled_from(["a", "b", "c", "ab", "bc", "ac", "abc", "z"])
events = st.lists(st.tuples(st.integers(0, 200), st.sampled_from("xy"), st.sampled_from("xy"), letters), max_size=40)
batches = st.integers(1, 5)


def rule(more: str) -> str:
    return f"[[rule]]\nname = 'r'\nmessage = 'm'\n[rule.together]\nwithin = '{WITHIN_S}s'\n{more}"


def same(more: str = "") -> str:
    return rule(f"of = {CONDITIONS}\nby = ['source_ip']\n{more}")


def alerts(text: str, seen: Sequence[Seen], batches: int) -> list[Alert]:
    with App("memory://") as app:
        logs = LogsApplication(app, parse_rules(text, "t"))
        size = max(1, -(-len(seen) // batches))
        for start in range(0, len(seen), size):
            logs.events.extend(
                LogEvent(time=BEGIN + timedelta(seconds=at), source="t", message=met, source_ip=address, user=user)
                for at, address, user, met in seen[start : start + size]
            )
            app.run(until="now")
        return [record.value for record in logs.alerts.read(0, records_max=10_000)]


def moments(found: Sequence[Alert]) -> list[tuple[str, int]]:
    return sorted((alert.by["source_ip"], (time_to_us(alert.time) - time_to_us(BEGIN)) // 1_000_000) for alert in found)


def is_met(window: Sequence[tuple[int, str]], least: int | None) -> bool:
    """Return whether enough conditions are met; with None whether some of the events meet them one after another."""
    if least is not None:
        return len({letter for _, met in window for letter in met} & set("abc")) >= least
    return any(
        all(letter in met for letter, (_, met) in zip("abc", chosen, strict=True))
        and [at for at, _ in chosen] == sorted(at for at, _ in chosen)
        for chosen in itertools.permutations(window, 3)
    )


def wanted(members: Sequence[tuple[str, int, str]], least: int | None) -> list[tuple[str, int]]:
    """Return address and time of each alert on events in order; what led to one leads to no other."""
    found: list[tuple[str, int]] = []
    open_: dict[str, list[tuple[int, str]]] = {}
    for address, at, met in members:
        window = [one for one in open_.get(address, []) if at - one[0] < WITHIN_S] + [(at, met)]
        if is_met(window, least):
            found.append((address, at))
            window = []
        open_[address] = window
    return sorted(set(found))  # two at one moment are one


HOW: Final = [("", 3), ("least = 2", 2), ("least = 1", 1), ("ordered = true", None)]


@pytest.mark.parametrize(("more", "least"), HOW)
@given(seen=events, batches=batches)
@settings(max_examples=25)
def test_events_in_order_lead_to_the_alerts_of_brute_force(
    more: str, least: int | None, seen: list[Seen], batches: int
) -> None:
    seen = sorted(seen, key=lambda one: one[0])
    members = [(address, at, met) for at, address, _, met in seen if met != "z"]
    assert moments(alerts(same(more), seen, batches)) == wanted(members, least)


OWN: Final = rule(
    "by = ['source_ip']\n"
    f"of = [{{ where = {CONDITIONS[0]!r}, by = ['source_ip'] }}, {{ where = {CONDITIONS[1]!r}, by = ['user'] }}, "
    f"{{ where = {CONDITIONS[2]!r}, by = ['source_ip'] }}]\n"
)


@pytest.mark.parametrize(("more", "least"), HOW)
@given(seen=events, batches=batches)
@settings(max_examples=25)
def test_what_is_common_may_have_another_name_in_each_condition(
    more: str, least: int | None, seen: list[Seen], batches: int
) -> None:
    seen = sorted(seen, key=lambda one: one[0])
    members: list[tuple[str, int, str]] = []
    for at, address, user, met in seen:
        members += [(address, at, met.replace("b", ""))] if set(met) & set("ac") else []
        members += [(user, at, "b")] if "b" in met else []
    assert moments(alerts(OWN + more, seen, batches)) == wanted(members, least)


@pytest.mark.parametrize(("more", "least"), HOW)
@given(data=st.data(), batches=batches)
@settings(max_examples=25)
def test_a_few_events_are_found_whatever_their_order(
    more: str, least: int | None, batches: int, data: st.DataObject
) -> None:
    """As many as are kept for late ones; whether there is an alert does not depend on what came first."""
    times = st.integers(0, WITHIN_S - 1)
    seen = data.draw(st.lists(st.tuples(times, st.just("x"), st.just("x"), letters), max_size=LATE * 3))
    shuffled = data.draw(st.permutations(seen))
    enough = is_met([(at, met) for at, _, _, met in seen if met != "z"], least) if len(seen) <= 8 else None
    found = bool(alerts(same(more), shuffled, batches))
    assert found == bool(alerts(same(more), seen, batches))
    assert enough is None or found == enough


@given(marks=st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 2**4 - 1)), max_size=300), ordered=st.booleans())
@settings(max_examples=50)
def test_what_is_kept_is_bounded_by_the_number_of_conditions(marks: list[Mark], ordered: bool) -> None:
    count = 4
    held: tuple[Mark, ...] = ()
    for mark in marks:
        held = kept((*held, mark), count, ordered=ordered)
        assert len(held) <= LATE * count + count * (count + 1) // 2
