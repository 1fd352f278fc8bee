"""The unified log of macOS: its styles, and what programs say in it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from millstream.parsers.choose import choose_format
from millstream.parsers.event_parser import EventParser
from millstream.parsers.formats import FORMATS
from millstream.parsers.log_event import Kind, LogEvent
from millstream.parsers.macos import macos_reader
from millstream.parsers.macos_messages import TABLES
from millstream.parsers.system_event import Severity

NOW = datetime(2026, 3, 7, 12, 0, tzinfo=UTC)
TEN = datetime(2026, 3, 1, 10, 0, 0, 123456, tzinfo=UTC)


def entry(message: str, program: str = "/usr/sbin/sshd", **changes: Any) -> bytes:
    """Return an entry as `log show --style ndjson` writes it."""
    fields = {
        "timezoneName": "", "messageType": "Default", "eventType": "logEvent", "source": None, "formatString": "%s",
        "userID": 0, "activityIdentifier": 0, "subsystem": "", "category": "", "threadID": 11537025,
        "senderImageUUID": "CA6E4F8C", "backtrace": {"frames": [{"imageOffset": 4, "imageUUID": "CA6E4F8C"}]},
        "bootUUID": "B007", "processImagePath": program, "senderImagePath": program,
        "timestamp": "2026-03-01 11:00:00.123456+0100", "machTimestamp": 12868010147176, "eventMessage": message,
        "processImageUUID": "CA6E4F8C", "traceID": 45473881108119556, "processID": 401, "senderProgramCounter": 4,
        "parentActivityIdentifier": 0,
    }  # fmt: skip
    return json.dumps({**fields, **changes}).encode()


def event(line: bytes) -> LogEvent:
    [found] = FORMATS["macos"].parser("unified log").events([line], now=NOW)
    return found


def said(found: LogEvent) -> dict[str, Any]:
    """Return what an event says beyond what every one has."""
    usual = ("time", "source", "format", "raw", "message", "program", "pid", "severity", "fields", "host")
    fields = msgspec.structs.asdict(found)
    return {name: value for name, value in fields.items() if value is not None and name not in usual}


KEXT = "/System/Library/Extensions/IOUSBHostFamily.kext/Contents/MacOS/IOUSBHostFamily"
STICK = {"device": "usb-drd0-port-ss@00200000", "device_vendor": "0781", "device_product": "55ab"}

MESSAGES: list[tuple[str, str, dict[str, Any]]] = [
    (
        "/usr/libexec/sshd-session",
        "Accepted publickey for ann from 203.0.113.9 port 4000 ssh2: ED25519 SHA256:x",
        {"kind": Kind.LOGIN, "action": "login", "success": True, "user": "ann", "source_ip": "203.0.113.9",
         "source_port": 4000, "method": "publickey"},
    ),
    (
        "/usr/bin/sudo",
        "     ann : TTY=ttys001 ; PWD=/Users/ann ; USER=root ; COMMAND=/bin/ls",
        {"kind": Kind.PRIVILEGE, "action": "sudo", "success": True, "user": "ann", "target_user": "root",
         "terminal": "ttys001", "command": "/bin/ls"},
    ),
    (
        "/System/Library/CoreServices/RemoteManagement/screensharingd.bundle/Contents/MacOS/screensharingd",
        "Authentication: SUCCEEDED :: User Name: Ann Lee :: Viewer Address: 203.0.113.9 :: Type: RSA-SRP",
        {"kind": Kind.LOGIN, "action": "login", "success": True, "user": "Ann Lee", "source_ip": "203.0.113.9",
         "method": "screen_sharing"},
    ),
    (
        "/x/screensharingd",
        "Authentication: FAILED :: User Name: N/A :: Viewer Address: 203.0.113.9 :: Type: DH",
        {"kind": Kind.LOGIN, "action": "login_failed", "success": False, "user": "N/A", "source_ip": "203.0.113.9",
         "method": "screen_sharing"},
    ),
    (
        "/x/authorizationhost",
        "Failed to authenticate user <<private>> (error: 9).",
        {"kind": Kind.LOGIN, "action": "login_failed", "success": False, "method": "password"},
    ),
    (
        "/x/authorizationhost",
        "Failed to authenticate user <ann> (error: 9).",
        {"kind": Kind.LOGIN, "action": "login_failed", "success": False, "method": "password", "user": "ann"},
    ),
    (
        "/usr/libexec/opendirectoryd",
        "Authentication failed for ann with result ODErrorCredentialsInvalid",
        {"kind": Kind.LOGIN, "action": "authentication_failed", "user": "ann"},
    ),
    (
        "/x/loginwindow",
        "-[Application login] | login state: LoginComplete",
        {"kind": Kind.LOGIN, "action": "login", "success": True, "method": "console"},
    ),
    ("/x/loginwindow", "login state: SessionEnd", {"kind": Kind.LOGOUT, "action": "logout"}),
    (
        "/x/loginwindow",
        "-[LWAuthServiceManager event:eventHints:reply:] | ======== SCREENLOCK ==== APEventTouchIDMatch =========",
        {"action": "unlocked", "method": "touch_id"},
    ),
    (
        "/x/loginwindow",
        "-[SessionAgentNotificationCenter sendSystemBSDNotification:object:] | sendSystemBSDNotification: "
        "com.apple.system.loginwindow.shutdownInitiated, with object:503",
        {"kind": Kind.SERVICE, "action": "shutdown_requested"},
    ),
    (
        "/usr/bin/login",
        "USER_PROCESS: 501 ttys001",
        {"action": "session_opened", "session": "501", "terminal": "ttys001"},
    ),
    (
        "/usr/bin/login",
        "DEAD_PROCESS: 501 ttys001",
        {"kind": Kind.LOGOUT, "action": "session_closed", "session": "501", "terminal": "ttys001"},
    ),
    (
        "/x/authd",
        "Succeeded authorizing right 'system.privilege.admin' by client '/x/Installer' [77] for authorization created "
        "by '/x/Installer' [77] (3,0) (engine 5)",
        {"kind": Kind.PRIVILEGE, "action": "authorized", "success": True, "command": "/x/Installer"},
    ),
    (
        "/x/authd",
        "Failed to authorize right 'system.preferences' by client '/x/Settings' [7] for authorization created by 'x'",
        {"kind": Kind.PRIVILEGE, "action": "authorization_refused", "success": False, "command": "/x/Settings"},
    ),
    ("/x/authd", "Succeeded authorizing right 'com.apple.x' by client '/x/y' [7] for authorization created by 'x'", {}),
    (
        "/kernel",
        "usb-drd0-port-ss@00200000: AppleUSBHostPort::enumerateDeviceComplete_block_invoke: enumerated "
        "0x0781/55AB/0100 ( SanDisk 3.2Gen1 / 1) at 5 Gbps",
        {"kind": Kind.DEVICE, "action": "added", **STICK},
    ),
    (
        "/kernel",
        "000644.852304 usb-drd0-port-ss@00200000: AppleUSBHostPort::terminateDevice: destroying 0x781/55ab/0100 "
        "(SanDisk 3.2Gen1): device disconnected",
        {"kind": Kind.DEVICE, "action": "removed", **STICK},
    ),
    (
        "/kernel",
        "USBMSC Identifier (non-unique): 4C530001 0x781 0x55ab 0x100, 3",
        {"action": "described", "device_serial": "4C530001", "device_vendor": "0781", "device_product": "55ab"},
    ),
    ("/kernel", "hfs: mounted Firefox on device disk4s3", {"action": "mounted", "device": "disk4s3"}),
    (
        "/sbin/launchd",
        "Setting service com.openssh.sshd to enabled (initiated by smd[389])",
        {"kind": Kind.SERVICE, "action": "enabled", "success": True, "service": "com.openssh.sshd"},
    ),
    ("/x/other", "Authentication: SUCCEEDED :: User Name: x", {}),
]  # fmt: skip


@pytest.mark.parametrize(("program", "message", "wanted"), MESSAGES)
def test_message_says(program: str, message: str, wanted: dict[str, Any]) -> None:
    found = event(entry(message, program))
    assert said(found) == wanted
    assert (found.message, found.program, found.pid) == (message, program.rpartition("/")[2], 401)


def test_entry_has_its_time_type_and_what_else_it_says() -> None:
    line = entry("x", "/kernel", messageType="Error", subsystem="com.apple.iokit", category="usb", senderImagePath=KEXT)
    found = event(line)
    assert (found.time, found.severity, found.raw, found.format) == (TEN, Severity.ERR, line.decode(), "macos")
    assert found.fields == {
        "subsystem": "com.apple.iokit", "category": "usb", "thread_id": 11537025, "boot_id": "B007",
        "mach_timestamp": 12868010147176, "trace_id": 45473881108119556, "sender": "IOUSBHostFamily",
    }  # fmt: skip
    sent = event(entry("", "/kernel", eventType="timesyncEvent", messageType=None, processID=-1))
    assert (sent.severity, sent.pid, (sent.fields or {})["event_type"]) == (None, None, "timesyncEvent")


@pytest.mark.parametrize(
    "line",
    [
        "2026-03-01 11:00:00.123456+0100  localhost sudo[7]: (libpam) [com.x:y] "
        "ann : TTY=a ; PWD=/ ; USER=root ; COMMAND=b",
        "2026-03-01 11:00:00.123456+0100 0x2a       Default     0x0                  7      0    sudo: (libpam) "
        "[com.x:y] ann : TTY=a ; PWD=/ ; USER=root ; COMMAND=b",
        "2026-03-01 10:00:00.123456 Df sudo[7:2a] (libpam) [com.x:y] ann : TTY=a ; PWD=/ ; USER=root ; COMMAND=b",
    ],
)
def test_other_styles_say_the_same(line: str) -> None:
    read = macos_reader(UTC)
    found = read(line, NOW)
    assert found is not None
    assert (found["time"], found["program"], found["pid"], found["action"]) == (TEN, "sudo", 7, "sudo")
    assert found["message"] == "ann : TTY=a ; PWD=/ ; USER=root ; COMMAND=b"
    fields = {"subsystem": "com.x", "category": "y", "sender": "libpam"}
    assert found["fields"] in (fields, {**fields, "thread_id": 42})
    assert found["severity"] in (None, Severity.NOTICE)
    assert choose_format([line.encode()]) == "macos"


@pytest.mark.parametrize(
    "line",
    [
        'Filtering the log data using "process == "sudo""',
        "Timestamp                       Thread     Type        Activity             PID    TTL",
        '{"count":3335,"finished":1}',
        '{"timestamp":"2026-03-01 11:00:00.123456+0100","eventMessage":"somebody else\'s"}',
        "{",
        "[" * 100_000,
        "2026-03-01 11:00:00 no style",
    ],
)
def test_what_is_no_entry_is_the_message_whole(line: str) -> None:
    found = event(line.encode())
    assert (found.message, found.program, found.kind) == (line, None, None)


def test_format_is_chosen_by_looking() -> None:
    banner = b'Filtering the log data using "process == "sudo""'
    assert choose_format([banner, entry("x"), entry("y"), b'{"count":2,"finished":1}']) == "macos"


def test_every_action_is_in_the_documentation() -> None:
    page = (Path(__file__).parents[2] / "docs" / "logs-macos.md").read_text()
    actions = {str(shape.meaning["action"]) for table in TABLES for shape in table.shapes}
    assert {action for action in actions if f"`{action}`" not in page} == set()
    assert isinstance(FORMATS["macos"].parser("x"), EventParser)
