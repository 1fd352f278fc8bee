"""Events of Windows: what each number means, in JSON and in XML."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.windows_events import AUDIT_FAILURE, as_json, as_xml

from millstream.parsers.choose import choose_format
from millstream.parsers.formats import FORMATS
from millstream.parsers.log_event import Kind, LogEvent
from millstream.parsers.system_event import Severity
from millstream.parsers.windows import MEANINGS
from millstream.parsers.windows_devices import DeviceName, device_name
from millstream.parsers.windows_record import DEPTH_MAX, VALUES_MAX, read_record

NOW = datetime(2026, 3, 7, 12, 0, tzinfo=UTC)
ANN = {"TargetUserSid": "S-1-5-21-1-2-3-1001", "TargetUserName": "ann", "TargetDomainName": "CORP"}
BY_EVE = {"SubjectUserSid": "S-1-5-21-1-2-3-500", "SubjectUserName": "eve", "SubjectDomainName": "CORP"}
SYSTEM = {
    "SubjectUserSid": "S-1-5-18",
    "SubjectUserName": "PC1$",
    "SubjectDomainName": "CORP",
    "SubjectLogonId": "0x3e7",
}
FROM = {"WorkstationName": "PC7", "IpAddress": "::ffff:203.0.113.9", "IpPort": "4000"}
STICK = r"USB\VID_0781&PID_5583\4C530001"
DISK = r"SWD\WPDBUSENUM\_??_USBSTOR#Disk&Ven_SanDisk&Prod_Ultra_Fit&Rev_1.00#4C530001&0#{53f56307-b6bf-11d0}"

SCM = {"provider": "Service Control Manager", "channel": "System", "keywords": 0x8080000000000000, "level": 4}
RDP = "Microsoft-Windows-TerminalServices-LocalSessionManager"
CONNECTION = "Microsoft-Windows-TerminalServices-RemoteConnectionManager"
DRIVERS = "Microsoft-Windows-DriverFrameworks-UserMode"
SYSMON = "Microsoft-Windows-Sysmon"


def event(line: bytes) -> LogEvent:
    [found] = FORMATS["windows"].parser("Security").events([line], now=NOW)
    return found


def said(found: LogEvent) -> dict[str, Any]:
    return {name: value for name, value in msgspec.structs.asdict(found).items() if value is not None}


EVENTS: list[tuple[int, dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    # number, values, how it is written, what it says
    (
        4624,
        {**SYSTEM, **ANN, "TargetLogonId": "0x1a2b", "LogonType": 10, **FROM},
        {},
        {"kind": Kind.LOGIN, "action": "login", "success": True, "user": "ann", "method": "remote_interactive",
         "source_ip": "203.0.113.9", "source_port": 4000, "source_name": "PC7", "session": "0x1a2b"},
    ),
    (
        4624,
        {**SYSTEM, "TargetUserSid": "S-1-5-18", "TargetUserName": "SYSTEM", "LogonType": 5, "IpAddress": "-"},
        {},
        {"action": "login", "success": True, "user": "SYSTEM", "method": "service"},
    ),
    (
        4624,
        {"TargetUserSid": "S-1-5-21-1-2-3-1105", "TargetUserName": "PC7$", "LogonType": 3, "IpAddress": "fe80::1"},
        {},
        {"action": "login", "success": True, "user": "PC7$", "method": "network", "source_ip": "fe80::1"},
    ),
    (
        4624,
        {"TargetUserSid": "S-1-5-7", "TargetUserName": "ANONYMOUS LOGON", "LogonType": 3, "IpAddress": "203.0.113.9"},
        {},
        {"action": "login", "success": True, "user": "ANONYMOUS LOGON", "method": "network",
         "source_ip": "203.0.113.9"},
    ),
    (
        4625,
        {**SYSTEM, **ANN, "TargetUserSid": "S-1-0-0", "Status": "0xc000006d", "SubStatus": "0xC000006A",
         "FailureReason": "%%2313", "LogonType": 3, **FROM},
        {"keywords": AUDIT_FAILURE},
        {"kind": Kind.LOGIN, "action": "login_failed", "success": False, "user": "ann", "method": "network",
         "source_ip": "203.0.113.9", "source_port": 4000, "source_name": "PC7"},
    ),
    (4634, {**ANN, "LogonType": 2, "TargetLogonId": "0x1"}, {},
     {"kind": Kind.LOGOUT, "action": "session_closed", "user": "ann", "method": "interactive", "session": "0x1"}),
    (4647, {**ANN, "TargetLogonId": "0x1"}, {},
     {"kind": Kind.LOGOUT, "action": "logout", "user": "ann", "session": "0x1"}),
    (4648, {**BY_EVE, **ANN, "ProcessName": r"C:\Windows\runas.exe", "IpAddress": "-", "IpPort": "0"}, {},
     {"kind": Kind.PRIVILEGE, "action": "runas", "user": "eve", "target_user": "ann",
      "command": r"C:\Windows\runas.exe"}),
    (4648, {**SYSTEM, **ANN, "ProcessName": r"C:\Windows\winlogon.exe"}, {},
     {"action": "runas", "user": "PC1$", "target_user": "ann", "command": r"C:\Windows\winlogon.exe",
      "session": "0x3e7"}),
    (4672, {**BY_EVE, "PrivilegeList": "SeDebugPrivilege"}, {},
     {"kind": Kind.PRIVILEGE, "action": "special_privileges", "success": True, "user": "eve"}),
    (4720, {**ANN, **BY_EVE, "PrivilegeList": "-"}, {},
     {"kind": Kind.ACCOUNT, "action": "user_added", "success": True, "user": "eve", "target_user": "ann"}),
    (4724, {**ANN, **BY_EVE}, {"keywords": AUDIT_FAILURE},
     {"kind": Kind.ACCOUNT, "action": "password_changed", "success": False, "user": "eve", "target_user": "ann"}),
    (4732, {"MemberName": "-", "MemberSid": "S-1-5-21-1-2-3-1001", "TargetUserName": "Administrators",
            "TargetDomainName": "Builtin", **BY_EVE}, {},
     {"kind": Kind.ACCOUNT, "action": "group_joined", "success": True, "user": "eve",
      "target_user": "S-1-5-21-1-2-3-1001"}),
    (4728, {"MemberName": "CN=Ann Lee,OU=Staff,DC=corp", "MemberSid": "S-1-5-21-1-2-3-1001", **BY_EVE}, {},
     {"kind": Kind.ACCOUNT, "action": "group_joined", "success": True, "user": "eve", "target_user": "Ann Lee"}),
    (4740, {"TargetUserName": "ann", "TargetDomainName": "PC7", **SYSTEM}, {},
     {"kind": Kind.ACCOUNT, "action": "user_locked", "success": True, "user": "PC1$", "target_user": "ann",
      "source_name": "PC7"}),
    (4768, {"TargetUserName": "ann", "TargetDomainName": "CORP", "Status": "0x0", "IpAddress": "::ffff:203.0.113.9",
            "IpPort": "4000"}, {},
     {"kind": Kind.LOGIN, "action": "ticket_granted", "user": "ann", "source_ip": "203.0.113.9", "source_port": 4000}),
    (4768, {"TargetUserName": "nobody", "Status": "0x6", "IpAddress": "::1", "IpPort": "0"},
     {"keywords": AUDIT_FAILURE},
     {"kind": Kind.LOGIN, "action": "login_failed", "success": False, "user": "nobody", "source_ip": "::1"}),
    (4771, {"TargetUserName": "ann", "Status": "0x18", "IpAddress": "::ffff:203.0.113.9", "IpPort": "4000"},
     {"keywords": AUDIT_FAILURE},
     {"kind": Kind.LOGIN, "action": "login_failed", "success": False, "user": "ann", "source_ip": "203.0.113.9",
      "source_port": 4000}),
    (4776, {"TargetUserName": "ann", "Workstation": r"\\PC7", "Status": "0xc0000064"}, {"keywords": AUDIT_FAILURE},
     {"kind": Kind.LOGIN, "action": "credentials_refused", "user": "ann", "source_name": "PC7"}),
    (4776, {"TargetUserName": "ann", "Workstation": "PC7", "Status": "0x0"}, {},
     {"kind": Kind.LOGIN, "action": "credentials_accepted", "user": "ann", "source_name": "PC7"}),
    (4778, {"AccountName": "ann", "AccountDomain": "CORP", "LogonID": "0x1", "SessionName": "RDP-Tcp#3",
            "ClientName": "PC7", "ClientAddress": "203.0.113.9"}, {},
     {"kind": Kind.LOGIN, "action": "session_reconnected", "user": "ann", "session": "0x1", "terminal": "RDP-Tcp#3",
      "source_name": "PC7", "source_ip": "203.0.113.9"}),
    (4688, {**BY_EVE, "NewProcessName": r"C:\net.exe", "CommandLine": "net user ann /add", "TargetUserName": "-"},
     {}, {"action": "process_started", "user": "eve", "command": "net user ann /add"}),
    (4697, {**BY_EVE, "ServiceName": "Spy", "ServiceFileName": r"C:\spy.exe"}, {},
     {"kind": Kind.SERVICE, "action": "installed", "success": True, "user": "eve", "service": "Spy",
      "command": r"C:\spy.exe"}),
    (6416, {**SYSTEM, "DeviceId": STICK, "DeviceDescription": "USB Mass Storage Device"}, {},
     {"kind": Kind.DEVICE, "action": "added", "user": "PC1$", "device": STICK, "device_vendor": "0781",
      "device_product": "5583", "device_serial": "4C530001"}),
    (6416, {**SYSTEM, "DeviceId": DISK, "DeviceDescription": "E:\\"}, {},
     {"action": "described", "user": "PC1$", "device": DISK, "device_vendor": "SanDisk", "device_product": "Ultra Fit",
      "device_serial": "4C530001"}),
    (6416, {**SYSTEM, "DeviceId": r"PCI\VEN_8086&DEV_10D3\1", "DeviceDescription": "Ethernet"}, {},
     {"kind": Kind.DEVICE, "action": "recognized", "user": "PC1$", "device": r"PCI\VEN_8086&DEV_10D3\1",
      "device_product": "Ethernet"}),
    (6423, {**SYSTEM, "DeviceId": STICK}, {},
     {"kind": Kind.DEVICE, "action": "refused", "success": False, "user": "PC1$", "device": STICK,
      "device_vendor": "0781", "device_product": "5583", "device_serial": "4C530001"}),
    (1102, {"SubjectUserSid": "S-1-5-21-1-2-3-500", "SubjectUserName": "eve", "SubjectDomainName": "CORP"},
     {"provider": "Microsoft-Windows-Eventlog", "user_data": "LogFileCleared"},
     {"kind": Kind.LOG_CLEARED, "action": "log_cleared", "success": True, "user": "eve"}),
    (104, {"SubjectUserName": "eve", "Channel": "System"},
     {"provider": "Microsoft-Windows-Eventlog", "channel": "System", "user_data": "LogFileCleared"},
     {"kind": Kind.LOG_CLEARED, "action": "log_cleared", "success": True, "user": "eve"}),
    (7045, {"ServiceName": "Spy", "ImagePath": r"C:\spy.exe"}, {**SCM, "user_sid": "S-1-5-18"},
     {"kind": Kind.SERVICE, "action": "installed", "success": True, "user": "SYSTEM", "service": "Spy",
      "command": r"C:\spy.exe"}),
    (7036, {"param1": "Spooler", "param2": "running"}, SCM,
     {"kind": Kind.SERVICE, "action": "started", "success": True, "service": "Spooler"}),
    (7036, {"param1": "Druckwarteschlange", "param2": "beendet", "Binary": "530070006F006F006C00650072002F003100"}, SCM,
     {"kind": Kind.SERVICE, "action": "stopped", "service": "Druckwarteschlange"}),
    (7040, {"param1": "BITS", "param2": "demand start", "param3": "disabled"}, SCM,
     {"kind": Kind.SERVICE, "action": "start_type_changed", "success": True, "service": "BITS"}),
    (7034, {"param1": "Spooler", "param2": "3"}, {**SCM, "level": 2},
     {"kind": Kind.SERVICE, "action": "failed", "success": False, "service": "Spooler", "severity": Severity.ERR}),
    (6008, {"param1": "10:00:00", "param2": "3/1/2026"}, {**SCM, "provider": "EventLog", "level": 2},
     {"kind": Kind.SERVICE, "action": "unexpected_shutdown", "success": False, "severity": Severity.ERR}),
    (1074, {"param1": r"C:\Windows\shutdown.exe (PC1)", "param5": "restart", "param7": r"CORP\ann"},
     {**SCM, "provider": "User32"},
     {"kind": Kind.SERVICE, "action": "shutdown_requested", "user": "ann",
      "command": r"C:\Windows\shutdown.exe (PC1)"}),
    (41, {"BugcheckCode": "0"}, {**SCM, "provider": "Microsoft-Windows-Kernel-Power", "level": 1},
     {"action": "unexpected_shutdown", "severity": Severity.CRIT}),
    (20001, {"DeviceInstanceID": STICK, "InstallStatus": "0x0"},
     {**SCM, "provider": "Microsoft-Windows-UserPnp", "user_data": "InstallDeviceID"},
     {"kind": Kind.DEVICE, "action": "driver_installed", "success": True, "device": STICK, "device_vendor": "0781",
      "device_product": "5583", "device_serial": "4C530001"}),
    (20003, {"DeviceInstanceID": STICK, "ServiceName": "USBSTOR", "AddServiceStatus": "0xe0000219"},
     {**SCM, "provider": "Microsoft-Windows-UserPnp", "user_data": "AddServiceID"},
     {"kind": Kind.DEVICE, "action": "service_added", "success": False, "service": "USBSTOR", "device": STICK,
      "device_vendor": "0781", "device_product": "5583", "device_serial": "4C530001"}),
    (400, {"DeviceInstanceId": STICK, "DriverName": "usbstor.inf"}, {**SCM, "provider": "Microsoft-Windows-Kernel-PnP"},
     {"kind": Kind.DEVICE, "action": "added", "device": STICK, "device_vendor": "0781", "device_product": "5583",
      "device_serial": "4C530001"}),
    (2003, {"lifetime": "{1}", "instance": DISK},
     {**SCM, "provider": DRIVERS, "user_data": "UMDFHostDeviceArrivalBegin"},
     {"kind": Kind.DEVICE, "action": "started", "device": DISK, "device_vendor": "SanDisk",
      "device_product": "Ultra Fit", "device_serial": "4C530001"}),
    (2102, {"instance": DISK, "Major": "27", "Minor": "23"},
     {**SCM, "provider": DRIVERS, "user_data": "UMDFHostDeviceRequest"},
     {"kind": Kind.DEVICE, "action": "removed", "device": DISK, "device_vendor": "SanDisk",
      "device_product": "Ultra Fit", "device_serial": "4C530001"}),
    (2102, {"instance": DISK, "Major": "22", "Minor": "2"},
     {**SCM, "provider": DRIVERS, "user_data": "UMDFHostDeviceRequest"},
     {"action": "operation", "device": DISK, "device_vendor": "SanDisk", "device_product": "Ultra Fit",
      "device_serial": "4C530001"}),
    (21, {"User": r"CORP\ann", "SessionID": "3", "Address": "203.0.113.9"},
     {**SCM, "provider": RDP, "user_data": "EventXML"},
     {"kind": Kind.LOGIN, "action": "session_opened", "user": "ann", "session": "3", "source_ip": "203.0.113.9"}),
    (24, {"User": r"CORP\ann", "SessionID": "3", "Address": "LOCAL"},
     {**SCM, "provider": RDP, "user_data": "EventXML"},
     {"kind": Kind.LOGOUT, "action": "session_disconnected", "user": "ann", "session": "3"}),
    (1149, {"Param1": "ann", "Param2": "CORP", "Param3": "203.0.113.9"},
     {**SCM, "provider": CONNECTION, "user_data": "EventXML"},
     {"kind": Kind.LOGIN, "action": "connection_authenticated", "user": "ann", "source_ip": "203.0.113.9"}),
    (4104, {"MessageNumber": "1", "ScriptBlockText": "Get-Process"},
     {**SCM, "provider": "Microsoft-Windows-PowerShell", "level": 5},
     {"action": "script_run", "command": "Get-Process", "severity": Severity.DEBUG}),
    (1, {"User": r"CORP\ann", "Image": r"C:\a.exe", "CommandLine": "a.exe -x"}, {**SCM, "provider": SYSMON},
     {"action": "process_started", "user": "ann", "command": "a.exe -x"}),
    (3, {"User": r"CORP\ann", "Image": r"C:\a.exe", "SourceIp": "10.0.0.5", "SourcePort": "50000"},
     {**SCM, "provider": SYSMON},
     {"action": "network_connection", "user": "ann", "command": r"C:\a.exe", "source_ip": "10.0.0.5",
      "source_port": 50000}),
]  # fmt: skip


@pytest.mark.parametrize("write", [as_json, as_xml])
@pytest.mark.parametrize(("number", "data", "written", "wanted"), EVENTS, ids=[f"{one[0]}" for one in EVENTS])
def test_event_says(
    write: Any, number: int, data: dict[str, Any], written: dict[str, Any], wanted: dict[str, Any]
) -> None:
    line = write(number, data, **written)
    found = said(event(line))
    usual = {name: found.pop(name) for name in ("time", "host", "program", "pid", "source", "format", "raw", "message")}
    fields = found.pop("fields")
    assert found == {"severity": Severity.INFO, **wanted}
    assert usual["raw"] == line.decode()
    assert usual["time"] == datetime(2026, 3, 1, 10, 0, 0, 123456, tzinfo=UTC)
    assert (usual["host"], usual["pid"], usual["source"], usual["format"]) == ("PC1", 700, "Security", "windows")
    assert (fields["event_id"], fields["record_id"]) == (number, 7)


@pytest.mark.parametrize("about", sorted({one[0] for one in EVENTS}))
def test_events_that_are_known_stand_in_the_table(about: int) -> None:
    assert about in {number for _, number in MEANINGS}


def test_refused_logon_says_why_in_words_and_who_and_where_in_fields() -> None:
    found = event(
        as_json(
            4625,
            {
                **SYSTEM,
                **ANN,
                "SubStatus": "0xC0000064",
                "Status": "0xc000006d",
                "FailureReason": "%%2313",
                "IpPort": "-",
            },
            keywords=AUDIT_FAILURE,
        )
    )
    assert found.fields is not None
    assert found.message == "failed to log on: ann"
    assert (found.fields["reason"], found.fields["domain"]) == ("unknown user", "CORP")
    assert found.fields["FailureReason"] == "wrong name or password"
    assert "IpPort" not in found.fields
    assert event(as_json(4771, {"Status": "0x25"}, keywords=AUDIT_FAILURE)).fields == {
        "event_id": 4771, "channel": "Security", "record_id": 7, "reason": "clocks differ", "Status": "0x25",
    }  # fmt: skip


def test_other_event_is_told_as_its_provider_words_it_else_as_its_values() -> None:
    values = {"param1": "a", "param2": "b c"}
    worded = event(as_xml(9, values, provider="Shop", channel="Application", level=3, message="Out of\r\nboxes."))
    assert (worded.message, worded.severity, worded.kind) == ("Out of\r\nboxes.", Severity.WARNING, None)
    plain = event(as_json(9, values, provider="Shop", channel="Application", level=2))
    assert (plain.message, plain.severity) == ("Shop 9: param1=a param2=b c", Severity.ERR)
    assert event(as_json(9, {}, provider="Shop")).message == "Shop 9"


def test_values_without_a_name_are_numbered_and_keep_their_number_where_some_are_empty() -> None:
    record = json.loads(as_json(9, {}, provider="Shop"))
    record["Event"]["EventData"] = {"Data": {"#text": ["a", "", "c"]}, "Binary": None}
    found = read_record(json.dumps(record))
    assert found is not None
    assert found.data == {"param1": "a", "param2": "", "param3": "c", "Binary": ""}
    xml = as_xml(9, {}, provider="Shop").decode()
    xml = xml.replace(
        "<EventData></EventData>", "<EventData><Data>a</Data><Data/><Data>c</Data><Binary></Binary></EventData>"
    )
    assert read_record(xml) == found


def test_values_inside_of_others_have_a_path_and_attributes_count() -> None:
    inside = "<Request a='1'><Major>27</Major><Minor>23</Minor></Request>"
    xml = as_xml(2102, {}, provider=DRIVERS, user_data="U").decode()
    found = read_record(xml.replace("<U xmlns='x'></U>", f"<U xmlns='x' instance='I'>{inside}</U>"))
    assert found is not None
    assert found.data == {"instance": "I", "Request.a": "1", "Request.Major": "27", "Request.Minor": "23"}


def test_byte_order_mark_declaration_and_line_ends_are_no_obstacle() -> None:
    xml = as_xml(4624, ANN).decode()
    for text in (f"\ufeff{xml}", f'<?xml version="1.0" encoding="utf-16"?>\n{xml}\r\n', f"  {xml}"):
        assert read_record(text) == read_record(xml)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        '{"Event": 7}',
        '{"Event": {"System": {"EventID": 1}}}',
        '{"Event": {"System": {"EventID": "x", "Provider": {"#attributes": {"Name": "P"}}}}}',
        "<Event>",
        "<Events><Event/></Events>",
        "<Event><System/></Event>",
        '<!DOCTYPE Event [<!ENTITY a "b">]><Event><System/></Event>',
        "<Event>" + "<a>" * (DEPTH_MAX + 5),
        '{"Event": ' * 10_000,
        "[" * 100_000,
    ],
)
def test_what_is_no_record_is_none(text: str) -> None:
    assert read_record(text) is None


def test_document_type_is_refused_so_that_entities_cannot_expand() -> None:
    xml = as_xml(4624, ANN).decode()
    bomb = '<!DOCTYPE Event [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>' + xml
    assert read_record(bomb) is None
    assert read_record(xml.replace("ann", "&a;")) is None
    assert event(bomb.encode()).message == bomb


def test_record_with_more_values_than_any_has_is_cut_in_fields_only() -> None:
    line = as_json(9, {f"v{number}": "x" for number in range(VALUES_MAX + 100)}, provider="Shop")
    found = event(line)
    assert found.fields is not None
    assert len(found.fields) == VALUES_MAX + 3
    assert found.raw == line.decode()


def test_format_is_chosen_by_looking() -> None:
    assert choose_format([as_json(4624, ANN)]) == "windows"
    assert choose_format([as_xml(4624, ANN)] * 3) == "windows"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (STICK, DeviceName("0781", "5583", "4C530001", is_usb=True)),
        (r"USB\VID_046D&PID_C52B\5&1D4C7A2&0&2", DeviceName("046d", "c52b", None, is_usb=True)),
        (r"USB\VID_046D&PID_C52B&MI_01\7&1D4&0&0001", DeviceName("046d", "c52b", None, is_part=True)),
        (r"HID\VID_0E0F&PID_000A&COL01\7&1E4BFC40&0&0000", DeviceName("0e0f", "000a", None, is_part=True)),
        (r"USBSTOR\Disk&Ven_SanDisk&Prod_Ultra\4C530001&0", DeviceName("SanDisk", "Ultra", "4C530001", is_part=True)),
        (r"SCSI\Disk&Ven_Samsung&Prod_SSD_870\4&2&0&000000", DeviceName("Samsung", "SSD 870", None)),
        (r"STORAGE\Volume\_??_USBSTOR#Disk&Ven_&Prod_X&Rev_1#1234&1#{5}", DeviceName(None, "X", "1234", is_part=True)),
        (r"BTHENUM\Dev_001122334455\8&1", DeviceName()),
        ("", DeviceName()),
    ],
)  # fmt: skip
def test_name_of_a_device_says(text: str, wanted: DeviceName) -> None:
    assert device_name(text) == wanted


def test_every_event_that_is_known_is_in_the_documentation() -> None:
    page = (Path(__file__).parents[2] / "docs" / "logs-windows.md").read_text()
    rows = [row.split("|")[1] for row in page[page.index("| number |") :].splitlines() if row.startswith("|")]
    listed = {int(number) for row in rows for number in re.findall(r"\d+", row)}
    assert {number for _, number in MEANINGS} == listed
    actions = {action for one in MEANINGS.values() for action in (one.action, one.failed) if action is not None}
    assert {action for action in actions if f"`{action}`" not in page} == set()


@pytest.mark.parametrize(
    "text",
    [
        " " * 200_000,
        "\ufeff" + " " * 200_000 + "<Event",
        "<Event><System>" + "<a/>" * 50_000 + "</System></Event>",
        "<?xml " + " " * 200_000,
    ],
    ids=["spaces", "mark", "elements", "declaration"],
)
def test_long_line_is_read_in_linear_time(text: str) -> None:
    # In quadratic time, as it once was, this does not end before the limit of a test.
    assert read_record(text) is None
