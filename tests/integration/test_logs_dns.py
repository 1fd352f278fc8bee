"""The step `dns`: names of addresses, remembered, waited for a little, never trusted too much."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from tests.log_steps import apply, by, event, of
from tests.waiting import until

from millstream.logs.check import check_config
from millstream.logs.config import parse_config
from millstream.logs.steps import dns_lookups
from millstream.logs.steps.dns import Dns
from millstream.logs.steps.dns_lookups import Lookups, confirmed_name
from millstream.testing import FakeClock

LONG_US = 20_000_000
"""A wait that no test sees the end of, unless something hangs."""


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


Open = Callable[..., Lookups]


@pytest.fixture
def lookups(clock: FakeClock) -> Open:
    def open_lookups(resolve: Callable[[str], str | None], wait_us: int = LONG_US) -> Lookups:
        return Lookups(resolve, keep_us=3_600_000_000, keep_failed_us=300_000_000, wait_us=wait_us, clock=clock)

    return open_lookups


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
