"""Steps that say more of an event: places of addresses, user agents; and what all steps of this kind share."""

from __future__ import annotations

import logging
import re
import sys
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.log_steps import NOW, apply, by, chain, event, of
from tests.mmdb_file import mmdb_file

from millstream import UsageError
from millstream.logs.check import check_config
from millstream.logs.config import parse_config
from millstream.logs.steps.geoip import GeoIp
from millstream.logs.steps.geoip_database import Database, place_of
from millstream.logs.steps.members import with_new_member
from millstream.logs.steps.whole_file import REFRESH_US
from millstream.logs.where import condition
from millstream.parsers.event_parser import event_columns
from millstream.parsers.formats import FORMATS
from millstream.parsers.log_event import LogEvent, event_of
from millstream.testing import FakeClock

CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"
)
PHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 "
    "Mobile/15E148 Safari/604.1"
)


# Places of addresses

MUNICH: dict[str, Any] = {
    "country": {"iso_code": "DE", "names": {"en": "Germany", "de": "Deutschland"}},
    "subdivisions": [{"iso_code": "BY", "names": {"en": "Bavaria"}}],
    "city": {"names": {"en": "Munich", "de": "München"}},
    "location": {"latitude": 48.1, "longitude": 11.5},
}
NETWORK = {"autonomous_system_number": 64500, "autonomous_system_organization": "Example"}


@pytest.fixture
def city(tmp_path: Path) -> Path:
    path = tmp_path / "city.mmdb"
    path.write_bytes(mmdb_file({"203.0.113.0/24": MUNICH, "2001:db8::/32": {"country": {"iso_code": "FR"}}}))
    return path


def test_address_gets_its_place_from_the_databases_in_their_order(city: Path, tmp_path: Path) -> None:
    networks = tmp_path / "asn.mmdb"
    networks.write_bytes(mmdb_file({"203.0.113.0/24": NETWORK, "198.51.100.0/24": NETWORK}, ip_version=4))
    step = f"kind = \"geoip\"\ndatabase = ['{city}', '{networks}']"
    events = of("203.0.113.9", "2001:db8::5", "198.51.100.1", "10.0.0.1", None, "no address", "::ffff:203.0.113.1")
    found = [one.fields for one in apply(events, step)]
    here = {
        "country": "DE",
        "country_name": "Germany",
        "region": "Bavaria",
        "city": "Munich",
        "latitude": 48.1,
        "longitude": 11.5,
        "asn": 64500,
        "organization": "Example",
    }
    network = {"asn": 64500, "organization": "Example"}
    assert found == [{"geo": here}, {"geo": {"country": "FR"}}, {"geo": network}, None, None, None, {"geo": here}]


def test_place_is_asked_for_in_rules_and_kept_where_there_is_one(city: Path) -> None:
    step = f'kind = "geoip"\ndatabase = \'{city}\'\nlanguage = "de"'
    events = [event(source_ip="203.0.113.9", fields={"a": 1}), event(source_ip="203.0.113.9", fields={"geo": "here"})]
    frame = chain(step).apply(event_columns(events), now=NOW).kept
    assert frame.filter(condition("fields.geo.country = 'DE' AND fields.geo.city = 'München'")).height == 1
    assert [msgspec.json.decode(one) for one in frame["fields"]][1] == {"geo": "here"}


def test_address_of_a_field_of_ones_own_has_a_place_of_its_own(city: Path) -> None:
    step = f'kind = "geoip"\ndatabase = \'{city}\'\nfield = "fields.client.ip"\ninto = "from"'
    [found] = apply([event(fields={"client": {"ip": "2001:db8::1"}})], step)
    assert found.fields == {"client": {"ip": "2001:db8::1"}, "from": {"country": "FR"}}


@pytest.mark.parametrize("record_size", [24, 28, 32])
@pytest.mark.parametrize("ip_version", [4, 6])
def test_databases_of_all_sizes_of_records_are_read(tmp_path: Path, record_size: int, ip_version: int) -> None:
    path = tmp_path / "a.mmdb"
    networks = {f"{n}.{n}.0.0/16": {"country": {"iso_code": f"C{n}"}} for n in range(1, 99)}
    path.write_bytes(mmdb_file(networks, record_size=record_size, ip_version=ip_version))
    database = Database(str(path), "en")
    assert [database.place(ip_address(f"{n}.{n}.3.4")) for n in (1, 50, 98, 99)] == [
        {"country": "C1"},
        {"country": "C50"},
        {"country": "C98"},
        {},
    ]


def test_new_database_is_read_and_a_broken_one_is_not(
    city: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    step = GeoIp([Database(str(city), "en")], pl.col("source_ip"), "geo", clock)

    def country() -> Any:
        clock.advance(timedelta(microseconds=REFRESH_US))
        [found] = by(step, of("203.0.113.9"))
        return (found.fields or {}).get("geo", {}).get("country")

    assert country() == "DE"
    whole = mmdb_file({"203.0.113.0/24": {"country": {"iso_code": "AT"}}})
    city.write_bytes(whole[: len(whole) // 2])
    assert (country(), country()) == ("DE", "DE")
    assert caplog.text.count("stays as it was") == 1
    city.unlink()
    assert country() == "DE"
    city.write_bytes(whole)
    assert country() == "AT"


def test_files_are_looked_at_once_a_minute(city: Path, clock: FakeClock) -> None:
    step = GeoIp([Database(str(city), "en")], pl.col("source_ip"), "geo", clock)
    by(step, of("203.0.113.9"))
    city.write_bytes(mmdb_file({"203.0.113.0/24": {"country": {"iso_code": "AT"}}}))
    clock.advance("59s")
    [before] = by(step, of("203.0.113.9"))
    clock.advance("1s")
    [after] = by(step, of("203.0.113.9"))
    assert [(one.fields or {})["geo"]["country"] for one in (before, after)] == ["DE", "AT"]


def test_rule_of_the_page_tells_of_a_login_from_abroad(city: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "logs-steps.md").read_text()
    [text] = [block for block in re.findall(r"```toml\n(.*?)```", page, re.DOTALL) if "geoip" in block]
    text = re.sub(r"database = .*", f"database = '{city}'", text)
    accepted = "2026-03-01T10:00:00+00:00 web sshd[1]: Accepted publickey for ann from {} port 4000 ssh2"
    example = f"""
    [[example]]
    lines = ["{accepted.format("2001:db8::9")}", "{accepted.format("203.0.113.9")}"]
    alerts = 1
    """
    [outcome] = check_config(parse_config(f"{text}\n{example}", "logs-steps.md", {}))
    assert outcome.is_right
    assert [alert.message for alert in outcome.alerts] == ["ann logged in from ?, ? (?)"]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), max_size=30), st.integers(0, 5000))
def test_database_of_any_bytes_is_an_error_or_knows_something_or_nothing(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]], cut: int
) -> None:
    whole = bytearray(mmdb_file({"203.0.113.0/24": MUNICH, "1.0.0.0/8": NETWORK}))
    for place, value in changes:
        whole[place % len(whole)] = value
    path = tmp_path_factory.getbasetemp() / "any.mmdb"
    path.write_bytes(whole[: len(whole) - cut] if cut % 2 else whole)
    try:
        database = Database(str(path), "en")
    except UsageError:
        return
    for address in ("203.0.113.1", "1.2.3.4", "::1", "255.255.255.255"):
        database.place(ip_address(address))


def test_broken_database_is_told_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = mmdb_file({"203.0.113.0/24": {"country": {"iso_code": "DE"}}})
    path = tmp_path / "a.mmdb"
    path.write_bytes(whole.replace(b"\x42DE", b"\x42\xff\xff"))
    database = Database(str(path), "en")
    with caplog.at_level(logging.WARNING):
        assert [database.place(ip_address("203.0.113.9")) for _ in range(3)] == [{}] * 3
    assert caplog.text.count("is broken") == 1


@pytest.mark.parametrize(
    ("record", "wanted"),
    [
        (
            {"country_code": "US", "country": "United States", "asn": "AS15169", "as_name": "Google LLC"},
            {"country": "US", "country_name": "United States", "asn": 15169, "organization": "Google LLC"},
        ),
        ({"country": "US", "country_name": "United States"}, {"country": "US", "country_name": "United States"}),
        ({"city": "Paris", "region": "Ile", "lat": "48.8", "lng": "2.3"}, None),
        ({"country": 7, "city": [], "location": {"latitude": True}, "asn": "x"}, {}),
    ],
)
def test_flat_records_say_the_same(record: dict[str, Any], wanted: dict[str, Any] | None) -> None:
    wanted = {"city": "Paris", "region": "Ile", "latitude": 48.8, "longitude": 2.3} if wanted is None else wanted
    assert place_of(record, "en") == wanted


# User agents


def test_user_agent_says_what_it_is() -> None:
    line = f'203.0.113.9 - - [01/Mar/2026:11:00:00 +0000] "GET / HTTP/1.1" 200 2 "-" "{CHROME}"'.encode()
    [web] = [event_of(row) for row in FORMATS["web"].parser("s").columns([line], now=NOW).iter_rows(named=True)]
    events = [web, *(event(fields={"user_agent": one}) for one in (PHONE, "curl/8.5.0", "-", "", "\x00é" * 5000))]
    found = [
        {name: (one.fields or {}).get(name) for name in ("browser", "system", "device")}
        for one in apply([*events, event()], 'kind = "useragent"')
    ]
    nothing = {"browser": None, "system": None, "device": None}
    assert found[0] == {
        "browser": {"name": "Chrome", "version": "126.0.0"},
        "system": {"name": "Windows", "version": "10"},
        "device": None,
    }
    assert found[1] == {
        "browser": {"name": "Mobile Safari", "version": "17.5"},
        "system": {"name": "iOS", "version": "17.5"},
        "device": {"name": "iPhone", "brand": "Apple", "model": "iPhone"},
    }
    assert found[2]["browser"] == {"name": "curl", "version": "8.5.0"}
    assert found[3:] == [nothing] * 4


def test_user_agent_is_read_where_it_is_said_and_what_is_there_stays() -> None:
    step = 'kind = "useragent"\nfield = "fields.http.agent"'
    [found] = apply([event(fields={"http": {"agent": CHROME}, "browser": "mine"})], step)
    assert (found.fields or {})["browser"] == "mine"
    assert (found.fields or {})["system"] == {"name": "Windows", "version": "10"}
    [message] = apply([event(CHROME)], 'kind = "useragent"\nfield = "message"')
    assert (message.fields or {})["browser"]["name"] == "Chrome"


# What all of them share

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(["geo", "a", "}", '{"', "\\", "\u0067eo", "x\\u0067eo"]) | st.text(max_size=4)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.none() | st.dictionaries(KEYS, JSON, max_size=4), st.none() | JSON, st.booleans(), st.booleans()),
        min_size=1,
        max_size=8,
    )
)
def test_names_are_added_to_fields_as_to_a_dictionary(rows: list[tuple[Any, Any, bool, bool]]) -> None:
    import json

    def text(value: Any, is_ascii: bool, is_spaced: bool) -> str:
        return json.dumps(value, ensure_ascii=is_ascii, separators=None if is_spaced else (",", ":"))

    fields = [None if old is None else text(old, ascii, spaced) for old, _, ascii, spaced in rows]
    values = [None if new is None else text(new, ascii, spaced) for _, new, ascii, spaced in rows]
    found = with_new_member(pl.Series("fields", fields, pl.String), "geo", pl.Series(values, dtype=pl.String))
    assert found.name == "fields"
    for (old, new, *_), one in zip(rows, found.to_list(), strict=True):
        wanted = old if new is None else {"geo": new, **(old or {})}
        assert (None if one is None else json.loads(one)) == wanted
        assert one is None or one.count('"geo":') <= text(wanted, True, False).count('"geo":') + 1


LINES = st.sampled_from(
    [
        "Jan  1 10:00:00 h p: m",
        "<9>Feb 29 10:00:00 h p: m",
        "2026-03-01T10:00:00Z m",
        "10:00:00 m",
        "",
        "I0229 10:00:00.5",
    ]
) | st.text(max_size=30)
EVENTS = st.builds(
    LogEvent,
    time=st.integers(0, 4_000_000_000).map(lambda s: datetime.fromtimestamp(s, UTC)),
    source=st.just("s"),
    message=st.just("m"),
    raw=LINES,
    format=st.sampled_from([None, "syslog", "journal"]),
    source_ip=st.none() | st.sampled_from(["203.0.113.9", "::1", "2001:db8::1", "x", ""]) | st.text(max_size=5),
    source_name=st.none() | st.just("said"),
    fields=st.none()
    | st.fixed_dictionaries(
        {"user_agent": st.none() | st.integers() | st.sampled_from([CHROME, PHONE, "curl/8"]) | st.text(max_size=9)},
        optional={"geo": JSON, "browser": JSON, "original_time": JSON},
    ),
)
STEPS = st.sampled_from(
    [
        'kind = "useragent"',
        'kind = "geoip"\ndatabase = "{city}"',
        'kind = "time"\nzone = "America/St_Johns"',
        'kind = "time"\nyear = "nearest"\nshift = "-90s"',
        'kind = "time"\nyear = 2024\npast = "365d"',
        'kind = "time"\nfuture = "1m"\nwhere = "source_ip IS NULL"',
    ]
)


@settings(max_examples=120, deadline=None)
@given(st.lists(EVENTS, min_size=1, max_size=8), st.lists(STEPS, min_size=1, max_size=3))
def test_event_comes_out_the_same_whatever_it_was_read_with(
    tmp_path_factory: pytest.TempPathFactory, events: list[LogEvent], steps: list[str]
) -> None:
    city = tmp_path_factory.getbasetemp() / "some.mmdb"
    if not city.exists():
        city.write_bytes(mmdb_file({"203.0.113.0/24": MUNICH}))
    found = [step.replace("{city}", str(city)) for step in steps]
    assert apply(events, *found) == [apply([one], *found)[0] for one in events]


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ('kind = "geoip"', ["database"]),
        ('kind = "geoip"\ndatabase = []', ["database is empty", "mmdb"]),
        ('kind = "geoip"\ndatabase = "a.mmdb"\ninto = "fields.geo"', ["into", "without fields."]),
        ('kind = "geoip"\ndatabase = "a.mmdb"\nfield = "ip"', ["field", "'ip'"]),
        ('kind = "useragent"\nfield = "agent"', ["field", "'agent'"]),
        ('kind = "dns"\nwhich = "some"', ["some"]),
        ('kind = "dns"\nwait = "1h"', ["wait", "30s"]),
        ('kind = "dns"\nkeep = "0s"', ["keep", "1s"]),
        ('kind = "time"\nyear = 26', ["year", "1970"]),
        ('kind = "time"\nyear = "2023"', ["year is '2023'", "number", "nearest"]),
        ('kind = "time"\npast = "-1d"', ["duration"]),
    ],
)
def test_wrong_step_says_what_is_allowed(step: str, words: list[str]) -> None:
    with pytest.raises(UsageError) as error:
        parse_config(f"[[step]]\n{step}", "test.toml", {})
    assert all(word in str(error.value) for word in ("step 1", *words))


def test_missing_or_wrong_database_is_named_at_the_start(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.mmdb"
    wrong.write_bytes(b"no database")
    for path, words in ((tmp_path / "gone.mmdb", "cannot be read"), (wrong, "GeoLite2"), (tmp_path, "cannot be read")):
        with pytest.raises(UsageError) as error:
            chain(f"kind = \"geoip\"\ndatabase = '{path}'")
        assert all(word in str(error.value) for word in ("step 1 (geoip)", str(path), words))


def test_missing_database_is_found_by_a_check_without_examples(tmp_path: Path) -> None:
    config = parse_config(f"[[step]]\nkind = \"geoip\"\ndatabase = '{tmp_path / 'gone.mmdb'}'", "test.toml", {})
    with pytest.raises(UsageError, match=r"step 1 \(geoip\): .*gone\.mmdb"):
        check_config(config)


@pytest.mark.parametrize(("kind", "package"), [("geoip", "maxminddb"), ("useragent", "ua_parser")])
def test_missing_extra_says_how_to_install_it(
    kind: str, package: str, city: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith(f"{package}.")]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, package, None)
    keys = f"\ndatabase = '{city}'" if kind == "geoip" else ""
    with pytest.raises(UsageError, match=rf"pip install 'millstream\[{kind}\]'"):
        chain(f'kind = "{kind}"{keys}')
