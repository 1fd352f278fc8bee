"""auditd: events of one record and of several, and what they mean. Recorded from auditd 3.0.9."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.parsers.audit_records import command_of, read_record
from millstream.parsers.formats import FORMATS
from millstream.parsers.log_event import Kind, LogEvent
from millstream.sources.audit import split_events

NOW = datetime(2026, 4, 7, 12, 0, tzinfo=UTC)
AT = "audit(1772359200.125:{})"
TEN = datetime(2026, 3, 1, 10, 0, 0, 125000, tzinfo=UTC)
IDS = "uid=1000 gid=1000 euid=0 suid=0 fsuid=0 egid=1000 sgid=1000 fsgid=1000"


def user(
    kind: str, serial: int, inside: str, names: str = 'UID="root" AUID="unset"', ids: str = "auid=4294967295"
) -> str:
    return f"type={kind} msg={AT.format(serial)}: pid=7 uid=0 {ids} ses=3 msg='{inside}'\x1d{names}"


def pam(kind: str, serial: int, program: str, result: str, *, op: str = "authentication", who: str = '"ann"') -> str:
    ends = f"hostname=203.0.113.9 addr=203.0.113.9 terminal=ssh res={result}"
    return user(kind, serial, f'op=PAM:{op} grantors=? acct={who} exe="/usr/{program}" {ends}')


EXECVE = [
    f"type=SYSCALL msg={AT.format(5)}: arch=c000003e syscall=59 success=yes exit=0 a0=55937c8874b0 a1=10 a2=10 a3=7 "
    f'items=2 ppid=6 pid=7 auid=1000 {IDS} tty=pts0 ses=3 comm="id" exe="/usr/bin/id" key="probe"\x1dARCH=x86_64 '
    'SYSCALL=execve AUID="ann" UID="ann" GID="ann" EUID="root"',
    f'type=EXECVE msg={AT.format(5)}: argc=2 a0="id" a1=616E6E206C6565',
    f'type=CWD msg={AT.format(5)}: cwd="/home/ann"',
    f'type=PATH msg={AT.format(5)}: item=0 name="/usr/bin/id" inode=7 dev=fe:00 nametype=NORMAL\x1dOUID="root"',
    f"type=PROCTITLE msg={AT.format(5)}: proctitle=696400616E6E206C6565",
]
TOUCH = [
    f"type=SYSCALL msg={AT.format(6)}: arch=c000003e syscall=257 success=no exit=-13 a0=1 a1=2 a2=3 a3=4 items=2 "
    f'ppid=6 pid=8 auid=4294967295 {IDS} tty=(none) ses=4294967295 comm="touch" exe="/usr/bin/touch" key="etc"'
    '\x1dARCH=x86_64 SYSCALL=openat AUID="unset" UID="ann"',
    f'type=PATH msg={AT.format(6)}: item=0 name="/etc/" inode=6 nametype=PARENT',
    f'type=PATH msg={AT.format(6)}: item=1 name="/etc/passwd" inode=7 nametype=NORMAL',
]


def event(*lines: str, name: str = "audit") -> LogEvent:
    raw = "\n".join(lines)
    [found] = FORMATS[name].parser("/var/log/audit/audit.log").events([raw.encode()], now=NOW)
    assert found.raw == raw
    assert found.time == TEN
    return found


def said(one: LogEvent) -> dict[str, Any]:
    fields = msgspec.structs.asdict(one)
    for name in ("time", "source", "raw", "fields", "format", "message", "program"):
        del fields[name]
    return {name: value for name, value in fields.items() if value is not None}


FROM = {"pid": 7, "session": "3", "source_ip": "203.0.113.9", "terminal": "ssh"}
ACCOUNT = 'op=adding user acct="eve" exe="/usr/sbin/useradd" hostname=? addr=? terminal=pts/0 res=success'

EVENTS = [
    ([pam("USER_AUTH", 1, "sbin/sshd", "failed")],
     {**FROM, "kind": Kind.LOGIN, "action": "login_failed", "success": False, "user": "ann"}),
    ([pam("USER_AUTH", 1, "sbin/sshd", "success")], {**FROM, "action": "authenticated", "user": "ann"}),
    ([pam("USER_START", 1, "sbin/sshd", "success", op="session_open")],
     {**FROM, "kind": Kind.LOGIN, "action": "session_opened", "success": True, "user": "ann"}),
    ([pam("USER_END", 1, "sbin/sshd", "success", op="session_close")],
     {**FROM, "kind": Kind.LOGOUT, "action": "session_closed", "user": "ann"}),
    ([pam("USER_START", 1, "sbin/cron", "success", op="session_open")],
     {**FROM, "action": "session_opened", "user": "ann"}),
    ([user("USER_LOGIN", 1, 'op=login acct=28696E76616C6964207573657229 exe="/usr/sbin/sshd" hostname=? '
           "addr=203.0.113.9 terminal=ssh res=failed")], {**FROM, "kind": Kind.LOGIN, "action": "login_failed"}),
    ([user("USER_LOGIN", 1, 'op=login id=1000 exe="/usr/sbin/sshd" hostname=? addr=203.0.113.9 terminal=/dev/pts/0 '
           "res=success", 'UID="root" ID="ann"')],
     {**FROM, "kind": Kind.LOGIN, "action": "login", "user": "ann", "terminal": "pts/0"}),
    ([pam("USER_AUTH", 1, "bin/su", "failed", who='"root"').replace('AUID="unset"', 'AUID="ann"')],
     {**FROM, "kind": Kind.PRIVILEGE, "action": "su_failed", "success": False, "user": "ann", "target_user": "root"}),
    ([user("USER_CMD", 1, 'cwd="/" cmd=6964202D75 exe="/bin/sudo" terminal=pts/0 res=failed', 'UID="ann" AUID="ann"',
           "auid=1000")],
     {"pid": 7, "session": "3", "terminal": "pts/0", "kind": Kind.PRIVILEGE, "action": "sudo_refused", "success": False,
      "user": "ann", "command": "id -u"}),
    ([user("ADD_USER", 1, ACCOUNT, 'UID="root" AUID="ann"')],
     {"pid": 7, "session": "3", "terminal": "pts/0", "kind": Kind.ACCOUNT, "action": "user_added", "success": True,
      "target_user": "eve", "user": "ann"}),
    ([user("SERVICE_STOP", 1, 'unit=web comm="systemd" exe="/lib/systemd" hostname=? addr=? terminal=? res=success')],
     {"pid": 7, "session": "3", "kind": Kind.SERVICE, "action": "stopped", "success": True, "service": "web"}),
    ([f"type=CONFIG_CHANGE msg={AT.format(1)}: op=set audit_enabled=0 old=1 auid=1000 ses=3 res=1\x1dAUID=\"ann\""],
     {"session": "3", "kind": Kind.LOG_CLEARED, "action": "audit_disabled", "success": True, "user": "ann"}),
    (EXECVE, {"pid": 7, "session": "3", "terminal": "pts0", "user": "ann", "command": "id 'ann lee'"}),
    (TOUCH, {"pid": 8, "user": "ann"}),
]  # fmt: skip


@pytest.mark.parametrize(("lines", "meant"), EVENTS)
def test_event_means(lines: list[str], meant: dict[str, Any]) -> None:
    assert said(event(*lines)) == meant


def test_one_attempt_by_ssh_is_counted_once() -> None:
    # As sshd and PAM of Debian 12 write it for a name that does not exist, and a login that succeeds.
    nobody = 'op=login acct=28696E76616C6964207573657229 exe="/usr/sbin/sshd" hostname=? addr=203.0.113.9 res=failed'
    lines = [
        user("USER_LOGIN", 1, nobody), user("USER_LOGIN", 2, nobody), pam("USER_AUTH", 3, "sbin/sshd", "failed"),
        user("USER_LOGIN", 4, nobody), pam("USER_ACCT", 5, "sbin/sshd", "success", op="accounting"),
        pam("USER_START", 6, "sbin/sshd", "success", op="session_open"),
        user("USER_LOGIN", 7, 'op=login id=1000 exe="/usr/sbin/sshd" addr=203.0.113.9 terminal=ssh res=success'),
    ]  # fmt: skip
    assert [event(line).success for line in lines if event(line).success is not None] == [False, True]
    assert {event(line, name="audit_beside").success for line in lines} == {None}


def test_messages_of_several_records_say_what_happened() -> None:
    assert event(*EXECVE).message == "execve id 'ann lee' [probe]"
    assert event(*TOUCH).message == "openat /etc/passwd by /usr/bin/touch failed (-13) [etc]"
    fields = event(*EXECVE).fields
    assert fields is not None
    assert (fields["type"], fields["serial"], fields["EUID"], fields["a0"]) == ("SYSCALL", "5", "root", "55937c8874b0")
    assert [one["type"] for one in fields["records"]] == ["EXECVE", "CWD", "PATH", "PROCTITLE"]


def test_a_long_argument_comes_in_parts() -> None:
    record = read_record(f'type=EXECVE msg={AT.format(1)}: argc=2 a1_len=4 a1[1]=6364 a1[0]=6162 a0="x"')
    assert record is not None
    assert command_of(record) == ["x", "abcd"]


def blocks(*events: list[str]) -> bytes:
    return "".join(line + "\n" for lines in events for line in lines).encode()


def joined(*events: list[str]) -> list[bytes]:
    return ["\n".join(lines).encode() for lines in events]


def test_records_of_one_event_are_joined_wherever_they_stand() -> None:
    first, second = EXECVE, [line.replace(":5)", ":9)") for line in EXECVE]
    mixed = [line for pair in zip(first, second, strict=True) for line in pair]
    alone = pam("USER_AUTH", 3, "sbin/sshd", "failed")
    data = blocks([*mixed[:4], alone, *mixed[4:]])
    assert split_events(data, False) == (joined([alone], first, second), len(data))


def test_an_event_without_an_end_waits_for_the_log_to_go_on() -> None:
    data = blocks(TOUCH)
    assert split_events(data, False) == ([], 0)
    later = pam("USER_AUTH", 9, "sbin/sshd", "failed").replace("1772359200", "1772359203")
    more = data + blocks([later])
    assert split_events(more, False) == (joined(TOUCH, [later]), len(more))
    assert split_events(data + b"type=half", True) == (joined(TOUCH), len(data))


records = st.builds(
    "type={} msg=audit({}.000:{}): x=1".format,
    st.sampled_from(["SYSCALL", "PATH", "PROCTITLE", "USER_AUTH", "CWD"]), st.integers(100, 104), st.integers(1, 3),
) | st.sampled_from(["", "odd", "\x1d", "type=X msg=audit(1.1:1)"])  # fmt: skip


@given(st.lists(records, max_size=20), st.lists(st.integers(1, 200), max_size=20))
def test_events_are_the_same_however_their_bytes_arrive(lines: list[str], sizes: list[int]) -> None:
    data = "".join(line + "\n" for line in lines).encode()

    def read(arrivals: list[int]) -> list[bytes]:
        found: list[bytes] = []
        offset = there = 0
        for size in [*arrivals, len(data)]:
            there = min(there + size, len(data))
            pieces, consumed = split_events(data[offset:there], False)
            found += pieces
            offset += consumed
        return found + split_events(data[offset:], True)[0]

    whole = read([])
    assert read(sizes) == whole
    assert sorted(b"\n".join(whole).split(b"\n")) == sorted(line.encode() for line in lines or [""])


@given(st.lists(st.binary(max_size=30) | records.map(str.encode), max_size=6).map(b"\n".join))
def test_any_bytes_become_an_event(data: bytes) -> None:
    [one] = FORMATS["audit"].parser("x").events([data], now=NOW)
    assert one.raw_bytes in (None, data)
    split_events(data, False)


names = st.text(st.sampled_from("abcdefgh_"), min_size=1, max_size=8).filter(lambda name: name != "msg")
texts = st.text(st.characters(exclude_characters='"\n\x1d', exclude_categories=["Cs"]), max_size=12)


@given(st.dictionaries(names, texts, max_size=6))
def test_values_are_read_as_they_were_written(values: dict[str, str]) -> None:
    pairs = " ".join(f'{name}="{text}"' for name, text in values.items())
    record = read_record(f"type=X msg={AT.format(1)}: {pairs}")
    assert record is not None
    assert record.values == values
