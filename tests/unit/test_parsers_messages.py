"""What programs say, in the words that are the same on every system."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from millstream.parsers.log_event import ECS_NAMES, Kind, LogEvent
from millstream.parsers.messages.tables import FIELDS, TABLES, field_types, read_message, read_messages

LOGIN = {"kind": Kind.LOGIN, "action": "login", "success": True}
FAILED = {"kind": Kind.LOGIN, "action": "login_failed", "success": False}
SAID: list[tuple[str, str, dict[str, Any]]] = [
    (
        "sshd",
        "Failed password for invalid user oracle from 203.0.113.9 port 4711 ssh2",
        FAILED | {"user": "oracle", "source_ip": "203.0.113.9", "source_port": 4711, "method": "password"},
    ),
    (
        "sshd",
        "Failed publickey for root from 2001:db8::7 port 22 ssh2: ED25519 SHA256:abc",
        FAILED | {"user": "root", "source_ip": "2001:db8::7", "source_port": 22, "method": "publickey"},
    ),
    (
        "sshd-session",
        "Accepted publickey for ann from 203.0.113.9 port 50000 ssh2: RSA SHA256:xyz",
        LOGIN | {"user": "ann", "source_ip": "203.0.113.9", "source_port": 50000, "method": "publickey"},
    ),
    (
        "sshd",
        "Invalid user  from 203.0.113.9 port 5",
        {"kind": Kind.LOGIN, "action": "unknown_user", "source_ip": "203.0.113.9", "source_port": 5},
    ),
    (
        "sshd",
        "pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= "
        "rhost=203.0.113.9  user=root",
        {"action": "authentication_failed", "terminal": "ssh", "source_ip": "203.0.113.9", "user": "root"},
    ),
    (
        "sshd",
        "pam_unix(sshd:session): session closed for user ann",
        {"kind": Kind.LOGOUT, "action": "session_closed", "user": "ann"},
    ),
    (
        "sudo",
        "     ann : TTY=pts/0 ; PWD=/home/ann ; USER=root ; COMMAND=/usr/bin/id -u ; echo",
        {
            "kind": Kind.PRIVILEGE,
            "action": "sudo",
            "success": True,
            "user": "ann",
            "terminal": "pts/0",
            "target_user": "root",
            "command": "/usr/bin/id -u ; echo",
        },
    ),
    (
        "sudo",
        "bob : 3 incorrect password attempts ; TTY=pts/1 ; PWD=/ ; USER=root ; COMMAND=/bin/sh",
        {
            "kind": Kind.PRIVILEGE,
            "action": "sudo_refused",
            "success": False,
            "user": "bob",
            "terminal": "pts/1",
            "target_user": "root",
            "command": "/bin/sh",
        },
    ),
    (
        "su",
        "(to root) ann on pts/0",
        {
            "kind": Kind.PRIVILEGE,
            "action": "su",
            "success": True,
            "target_user": "root",
            "user": "ann",
            "terminal": "pts/0",
        },
    ),
    (
        "su",
        "pam_unix(su:session): session opened for user root(uid=0) by ann(uid=1000)",
        {"action": "session_opened", "target_user": "root", "user": "ann"},
    ),
    ("login", "LOGIN ON tty1 BY ann", LOGIN | {"terminal": "tty1", "user": "ann", "method": "password"}),
    ("login", "ROOT LOGIN ON tty2", LOGIN | {"terminal": "tty2", "user": "root", "method": "password"}),
    (
        "login",
        "FAILED LOGIN (1) on '/dev/tty1' FOR 'ann', Authentication failure",
        FAILED | {"terminal": "/dev/tty1", "user": "ann"},
    ),
    (
        "gdm-password]",
        "pam_unix(gdm-password:session): session opened for user ann(uid=1000) by (uid=0)",
        {"kind": Kind.LOGIN, "action": "session_opened", "success": True, "user": "ann"},
    ),
    ("systemd-logind", "New session 42 of user ann.", {"action": "session_started", "session": "42", "user": "ann"}),
    (
        "systemd-logind",
        "New session '42' of user 'ann' with class 'user' and type 'tty'.",
        {"action": "session_started", "session": "42", "user": "ann"},
    ),
    (
        "systemd",
        "Started cron.service - Regular background program processing daemon.",
        {"kind": Kind.SERVICE, "action": "started", "success": True, "service": "cron.service"},
    ),
    (
        "systemd",
        "nginx.service: Failed with result 'exit-code'.",
        {"kind": Kind.SERVICE, "action": "failed", "success": False, "service": "nginx.service"},
    ),
    (
        "CRON",
        "(root) CMD (command -v debian-sa1 > /dev/null)",
        {"action": "cron_job", "user": "root", "command": "command -v debian-sa1 > /dev/null"},
    ),
    (
        "kernel",
        "[ 12.567890] usb 1-2.3: New USB device found, idVendor=0781, idProduct=5581, bcdDevice= 1.00",
        {
            "kind": Kind.DEVICE,
            "action": "added",
            "device": "usb 1-2.3",
            "device_vendor": "0781",
            "device_product": "5581",
        },
    ),
    (
        "kernel",
        "usb 1-2: SerialNumber: 4C530001",
        {"action": "described", "device": "usb 1-2", "device_serial": "4C530001"},
    ),
    (
        "kernel",
        "usb 1-2: USB disconnect, device number 7",
        {"kind": Kind.DEVICE, "action": "removed", "device": "usb 1-2"},
    ),
    (
        "useradd",
        "new user: name=eve, UID=1001, GID=1001, home=/home/eve, shell=/bin/sh, from=/dev/pts/0",
        {"kind": Kind.ACCOUNT, "action": "user_added", "success": True, "target_user": "eve"},
    ),
    (
        "userdel",
        "delete user 'eve'",
        {"kind": Kind.ACCOUNT, "action": "user_removed", "success": True, "target_user": "eve"},
    ),
    (
        "usermod",
        "add 'eve' to group 'sudo'",
        {"kind": Kind.ACCOUNT, "action": "group_joined", "success": True, "target_user": "eve"},
    ),
]


@pytest.mark.parametrize(("program", "message", "fields"), SAID)
def test_message_means(program: str, message: str, fields: dict[str, Any]) -> None:
    assert {name: value for name, value in read_message(program, message).items() if value is not None} == fields


def test_columns_say_what_lines_say() -> None:
    programs = [program for program, _, _ in SAID] + ["sshd", None, "unheard-of"]
    messages = [message for _, message, _ in SAID] + ["what no table knows", "no program", "x"]
    found = read_messages(pl.Series(programs, dtype=pl.String), pl.Series(messages))
    nothing: dict[str, Any] = dict.fromkeys(FIELDS)
    assert found.to_dicts() == [nothing | fields for _, _, fields in SAID] + [nothing] * 3
    assert dict(found.schema) == field_types()


def test_an_address_that_a_client_sends_as_its_name_is_not_believed() -> None:
    name = "root from 198.51.100.1 port 22 ssh2"
    for start in ("Failed password for ", "Failed password for invalid user ", "Accepted password for "):
        said = read_message("sshd", f"{start}{name} from 203.0.113.9 port 4711 ssh2")
        assert (said["user"], said["source_ip"], said["source_port"]) == (name, "203.0.113.9", 4711)


def test_tables_name_fields_of_the_event_only() -> None:
    known = set(LogEvent.__struct_fields__)
    assert set(FIELDS) <= known
    assert set(ECS_NAMES) == known - {"raw_bytes"}
    for table in TABLES:
        for one in table.shapes:
            assert set(one.pattern.names) | set(one.meaning) <= set(FIELDS), one.pattern
            assert not set(one.pattern.names) & set(one.meaning), one.pattern
