"""Steps that say more of an event: names and places of addresses, user agents; and times that are repaired."""

from __future__ import annotations

import logging
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.mmdb_file import mmdb_file

from millstream import UsageError
from millstream.logs.check import check_config
from millstream.logs.config import parse_config
from millstream.logs.steps import dns_lookups
from millstream.logs.steps.chain import Chain
from millstream.logs.steps.dns import Dns
from millstream.logs.steps.dns_lookups import Lookups, confirmed_name
from millstream.logs.steps.further import with_further
from millstream.logs.steps.geoip import REFRESH_US, GeoIp
from millstream.logs.steps.geoip_database import Database, place_of
from millstream.logs.steps.step import Step
from millstream.logs.where import condition
from millstream.parsers.event_parser import event_columns
from millstream.parsers.formats import FORMATS
from millstream.parsers.log_event import LogEvent, event_of
from millstream.testing import FakeClock

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LONG_US = 20_000_000
"""A wait that no test sees the end of, unless something hangs."""
CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"
)
PHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 "
    "Mobile/15E148 Safari/604.1"
)


def event(message: str = "m", **fields: Any) -> LogEvent:
    return LogEvent(**{"time": NOW, "source": "s", "message": message, "raw": message, **fields})


def of(*addresses: str | None) -> list[LogEvent]:
    return [event(source_ip=address) for address in addresses]


def chain(*steps: str) -> Chain:
    text = "\n".join(f"[[step]]\n{step}" for step in steps)
    return Chain(parse_config(text, "test.toml", {}).steps, {})


def apply(events: list[LogEvent], *steps: str) -> list[LogEvent]:
    return chain(*steps).events(events, now=NOW)


def by(step: Step, events: list[LogEvent]) -> list[LogEvent]:
    return [event_of(row) for row in step.apply(event_columns(events), now=NOW).iter_rows(named=True)]


# Names of addresses


class Resolver:
    """Names of a table; takes note of who was asked for, and answers when it may."""

    def __init__(self, names: dict[str, str]) -> None:
        self.names = names
        self.asked: list[str] = []
        self.answers = threading.Event()
        self.answers.set()

    def __call__(self, address: str) -> str | None:
        self.asked.append(address)
        if not self.answers.wait(60):
            raise TimeoutError(address)
        if address not in self.names:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return self.names[address]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


Open = Callable[..., Lookups]


@pytest.fixture
def lookups(clock: FakeClock) -> Open:
    def open_lookups(resolve: Callable[[str], str | None], wait_us: int = LONG_US) -> Lookups:
        return Lookups(resolve, keep_us=3_600_000_000, keep_failed_us=300_000_000, wait_us=wait_us, clock=clock)

    return open_lookups


def until(is_true: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not is_true():
        assert time.monotonic() < end, "nothing came of it in 30 s"
        time.sleep(0.005)


def test_address_gets_its_name_where_there_is_none(lookups: Open) -> None:
    resolver = Resolver({"203.0.113.9": "Mail.Example.com.", "2001:db8::1": "six.example.com"})
    events = [*of("203.0.113.9", "2001:db8::1", "203.0.113.7", None, "203.0.113.9", "no address"), event()]
    events.append(event(source_ip="203.0.113.9", source_name="said"))
    found = by(Dns(lookups(resolver)), events)
    assert [one.source_name for one in found] == [
        "mail.example.com",
        "six.example.com",
        None,
        None,
        "mail.example.com",
        None,
        None,
        "said",
    ]
    assert sorted(resolver.asked) == ["2001:db8::1", "203.0.113.7", "203.0.113.9"]
    assert [msgspec.structs.replace(one, source_name=None) for one in found[:7]] == events[:7]


def test_names_are_remembered_for_a_time_and_failures_for_a_shorter_one(lookups: Open, clock: FakeClock) -> None:
    resolver = Resolver({"203.0.113.9": "a.example.com"})
    names = lookups(resolver)
    both = ["203.0.113.9", "203.0.113.7"]
    for _ in range(3):
        assert names.names(both) == {"203.0.113.9": "a.example.com"}
    assert len(resolver.asked) == 2
    clock.advance("5m")
    resolver.names |= {"203.0.113.7": "b.example.com", "203.0.113.9": "c.example.com"}
    assert names.names(both) == {"203.0.113.9": "a.example.com", "203.0.113.7": "b.example.com"}
    clock.advance("55m")
    assert names.names(both) == {"203.0.113.9": "c.example.com", "203.0.113.7": "b.example.com"}
    assert len(resolver.asked) == 4


def test_late_answer_is_there_the_next_time_and_nobody_waits_for_a_resolver_that_says_nothing(
    lookups: Open, clock: FakeClock
) -> None:
    resolver = Resolver({f"10.0.0.{n}": f"n{n}.example.com" for n in range(99)})
    resolver.answers.clear()
    names = lookups(resolver, wait_us=1000)
    assert names.names(["10.0.0.1"]) == {}
    assert names._is_silent
    names._wait_us = LONG_US  # who waited now would not come back in time
    assert [names.names([f"10.0.0.{n}"]) for n in range(2, 50)] == [{}] * 48
    assert names._threads == dns_lookups.THREADS_MAX
    resolver.answers.set()
    until(lambda: not names._asked)
    assert names.names(["10.0.0.1", "10.0.0.49"]) == {"10.0.0.1": "n1.example.com", "10.0.0.49": "n49.example.com"}
    assert names.names(["10.0.0.60"]) == {"10.0.0.60": "n60.example.com"}, "it is waited for again"
    until(lambda: names._threads == 0)


def test_name_that_is_too_old_is_better_than_none(lookups: Open, clock: FakeClock) -> None:
    resolver = Resolver({"10.0.0.1": "a.example.com"})
    names = lookups(resolver)
    names.names(["10.0.0.1"])
    clock.advance("2h")
    resolver.answers.clear()
    names._wait_us = 1000
    assert names.names(["10.0.0.1"]) == {"10.0.0.1": "a.example.com"}
    resolver.answers.set()


def test_no_more_is_remembered_or_waits_than_there_is_room_for(lookups: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns_lookups, "ADDRESSES_MAX", 10)
    monkeypatch.setattr(dns_lookups, "WAITING_MAX", 5)
    monkeypatch.setattr(dns_lookups, "THREADS_MAX", 1)
    resolver = Resolver({f"10.0.0.{n}": f"n{n}.example.com" for n in range(100)})
    names = lookups(resolver)
    for n in range(0, 40, 4):
        assert len(names.names([f"10.0.0.{n + k}" for k in range(4)])) == 4
    assert len(names._known) == 10
    resolver.answers.clear()
    names._wait_us = 1000
    assert names.names([f"10.0.0.{n}" for n in range(50, 90)]) == {}
    assert len(names._asked) <= 6
    resolver.answers.set()
    until(lambda: not names._asked)
    assert set(names._known) >= {f"10.0.0.{n}" for n in range(85, 90)}, "the last ones go first"


@pytest.mark.parametrize(
    "name",
    ["", ".", "a b", "a\nb", "<b>", "a" * 64, "a." * 128, "203.0.113.1", "1.2.3", "3405803785", "0x7f000001", "::1"],
)
def test_what_is_no_name_is_not_taken_for_one(lookups: Open, name: str) -> None:
    assert lookups(Resolver({"10.0.0.1": name})).names(["10.0.0.1"]) == {}


def test_defect_of_a_resolver_is_logged_and_stops_nothing(lookups: Open, caplog: pytest.LogCaptureFixture) -> None:
    def resolve(address: str) -> str | None:
        raise KeyError(address)

    names = lookups(resolve)
    assert names.names(["10.0.0.1", "10.0.0.2"]) == {}
    assert "10.0.0.1" in caplog.text
    until(lambda: names._threads == 0)


@pytest.mark.parametrize(
    ("which", "wanted"),
    [("all", "10.0.0.1 127.0.0.1 8.8.8.8 fd00::1"), ("public", "8.8.8.8"), ("private", "10.0.0.1 127.0.0.1 fd00::1")],
)
def test_only_addresses_that_are_wanted_are_asked_for(lookups: Open, which: Any, wanted: str) -> None:
    resolver = Resolver({})
    by(Dns(lookups(resolver), which), of("10.0.0.1", "8.8.8.8", "127.0.0.1", "fd00::1", "224.0.0.1", "0.0.0.0", "x"))
    assert sorted(resolver.asked) == wanted.split()


def test_name_counts_only_if_it_leads_back_to_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns_lookups, "unconfirmed_name", lambda address: "localhost")
    assert confirmed_name("127.0.0.1") == "localhost"
    assert confirmed_name("203.0.113.9") is None


def test_resolver_that_hangs_does_not_keep_a_program_from_ending() -> None:
    program = """
import threading
from millstream.logs.steps.dns_lookups import Lookups

def resolve(address):
    threading.Event().wait()

names = Lookups(resolve, keep_us=1, keep_failed_us=1, wait_us=1000)
print(names.names([f"10.0.0.{n}" for n in range(99)]))
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "{}\n", "")


def test_this_machine_has_a_name() -> None:
    try:
        name = socket.getnameinfo(("127.0.0.1", 0), socket.NI_NAMEREQD)[0]
    except OSError as error:
        pytest.skip(f"this machine has no name for 127.0.0.1: {error}")
    [found] = apply(of("127.0.0.1"), 'kind = "dns"\nconfirm = false\nwait = "30s"')
    assert found.source_name == name.lower()


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
    found = with_further(pl.Series("fields", fields, pl.String), "geo", pl.Series(values, dtype=pl.String))
    assert found.name == "fields"
    for (old, new, *_), one in zip(rows, found.to_list(), strict=True):
        wanted = old if new is None else {"geo": new, **(old or {})}
        assert (None if one is None else json.loads(one)) == wanted
        assert one is None or one.count('"geo":') <= text(wanted, True, False).count('"geo":') + 1


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


def test_examples_ask_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(*_: Any) -> Any:
        raise AssertionError("somebody was asked")

    monkeypatch.setattr(socket, "getnameinfo", ask)
    text = """
    [[step]]
    kind = "dns"

    [[example]]
    lines = ["2026-03-01T10:00:00+00:00 web sshd[1]: Failed password for ann from 203.0.113.9 port 4000 ssh2"]
    events = [{ source_ip = "203.0.113.9" }]
    """
    [outcome] = check_config(parse_config(text, "test.toml", {}))
    assert outcome.is_right
    assert outcome.events[0].source_name is None
