"""Conditions: the fields, what is in `fields`, text whatever its case, networks."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream import UsageError
from millstream.logs.networks import network_pattern
from millstream.logs.where import condition
from millstream.parsers.event_parser import event_columns
from millstream.parsers.log_event import Kind, LogEvent

EVENT = LogEvent(
    time=datetime(2026, 3, 1, tzinfo=UTC),
    source="x",
    message="Access DENIED for it's user",
    kind=Kind.LOGIN,
    user="ann",
    source_ip="10.1.2.3",
    fields={"TargetUserName": "Ann", "EventID": 4625, "deep": {"er": "yes"}, "a name": "v", "on": True, "user": "u"},
)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("fields.TargetUserName = 'Ann'", True),
        ("fields.TargetUserName = 'ann'", False),
        ("lower(fields.TargetUserName) = 'ann'", True),
        ("fields.EventID = '4625'", True),
        ("TRY_CAST(fields.EventID AS DOUBLE) > 4000 AND user = 'ann'", True),
        ("fields.deep.er = 'yes'", True),
        ("fields.\"a name\" = 'v' AND field('a name') = 'v'", True),
        ("field('nothing') IS NULL AND fields.nothing IS NULL", True),
        ("fields.user = 'u' AND user = 'ann'", True),
        ("fields.on = 'true'", True),
        ("message = 'fields.user'", False),
        ("message ILIKE '%denied%'", True),
        ("message LIKE '%denied%'", False),
        ("message ~* 'denied.*it''s'", True),
        ("message ~ 'denied'", False),
        ("in_network(source_ip, '10.0.0.0/8')", True),
        ("in_network(source_ip, '10.1.3.0/24')", False),
        ("NOT in_network(source_ip, '192.168.0.0/16') AND user = 'ann'", True),
        ("in_network(fields.TargetUserName, '10.0.0.0/8')", False),
        ("message <> 'Len' AND user <> 'Strict' AND user IN ('ann', 'Agg')", True),
        ("CAST(fields.EventID AS INT) >= 4625", True),
        ("EXTRACT(hour FROM time) = 0", True),
        ("EXTRACT(dow FROM time) = 0", True),
    ],
)
def test_condition_sees_all_of_an_event(text: str, wanted: bool) -> None:
    found = event_columns([EVENT]).select(condition(text).alias("found")).item()
    assert found is wanted


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("in_network(source_ip, '10.0.0.0/33')", "is no network"),
        ("in_network(nothing, '10.0.0.0/8')", "nothing"),
        ("in_network(source_ip, '2001:db8:0:1::/64')", "write a regular expression"),
        ("fieldz.x = 'a'", "fieldz"),
        ("count(*) > 3", "several events; count them with"),
        ("max(pid) > 1", "several events"),
        ("first(user) = user", "several events"),
        ("sum(pid) OVER (PARTITION BY user) > 3", "several events"),
        ("row_number() > 3", "several events"),
        ("fields.a = 'x' AND count(*) > 3", "several events"),
        ("DATE(message) IS NOT NULL", "is no condition"),
    ],
)
def test_wrong_condition_says_what_is_wrong(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        condition(text)


@pytest.mark.parametrize(
    "text", ["CAST(user AS INT) > 5", "CAST(fields.TargetUserName AS DOUBLE) > 5", "user::INT > 5"]
)
def test_number_of_what_is_none_is_null_and_stops_nothing(text: str) -> None:
    assert event_columns([EVENT]).select(condition(text).alias("found")).item() is None


@given(st.ip_addresses(v=4), st.ip_addresses(v=4), st.integers(0, 32))
def test_pattern_of_a_network_matches_its_addresses(
    address: ipaddress.IPv4Address, base: ipaddress.IPv4Address, bits: int
) -> None:
    import re

    network = ipaddress.ip_network(f"{base}/{bits}", strict=False)
    for some in (address, network[0], network[-1]):
        assert bool(re.search(network_pattern(str(network)), str(some))) is (some in network)


@given(st.ip_addresses(v=6), st.ip_addresses(v=6), st.integers(0, 128))
def test_pattern_of_a_network_of_ipv6_matches_its_addresses_or_is_refused(
    address: ipaddress.IPv6Address, base: ipaddress.IPv6Address, bits: int
) -> None:
    import re

    network = ipaddress.ip_network(f"{base}/{bits}", strict=False)
    try:
        pattern = network_pattern(str(network))
    except UsageError:
        return
    for some in (address, network[0], network[-1]):
        assert bool(re.search(pattern, str(some))) is (some in network)
