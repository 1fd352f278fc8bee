"""Events of Windows under the rules that come along: what Windows does by itself leads to no alert, an attack does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.windows_events import AUDIT_FAILURE, as_json

from millstream import App
from millstream.logs.application import LogsApplication
from millstream.logs.rules import DEFAULT, read_rules
from millstream.parsers.formats import FORMATS
from millstream.parsers.log_event import LogEvent

START = datetime(2026, 3, 1, 10, 0, tzinfo=UTC)
STICK = r"USB\VID_0781&PID_5583\4C530001"
DISK = r"USBSTOR\Disk&Ven_SanDisk&Prod_Ultra&Rev_1.00\4C530001&0"


class Machine:
    """Writes events, one a second."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def write(self, event_id: int, data: dict[str, Any], **options: Any) -> None:
        time = (START + timedelta(seconds=len(self.lines))).strftime("%Y-%m-%dT%H:%M:%S.0000000Z")
        self.lines.append(as_json(event_id, data, time=time, record_id=len(self.lines) + 1, **options))


@pytest.fixture
def machine() -> Machine:
    return Machine()


def alerts_of(machine: Machine, folder: Path) -> list[str]:
    with App(str(folder / "log.db")) as app:
        logs = LogsApplication(app, read_rules(DEFAULT))
        parser = FORMATS["windows"].parser("Security")
        logs.events.extend(parser.columns(machine.lines, now=START + timedelta(days=1)))
        app.run(until="now")
        return sorted(record.value.rule for record in logs.alerts.read(0, records_max=1000))


def test_what_windows_does_by_itself_leads_to_no_alert(machine: Machine, tmp_path: Path) -> None:
    system = {"TargetUserSid": "S-1-5-18", "TargetUserName": "SYSTEM", "LogonType": 5, "IpAddress": "-", "IpPort": "-"}
    computer = {"TargetUserSid": "S-1-5-21-1-2-3-1105", "TargetUserName": "PC7$", "LogonType": 3}
    by_system = {"SubjectUserSid": "S-1-5-18", "SubjectUserName": "SYSTEM"}
    for _ in range(100):
        machine.write(4624, system)
        machine.write(4672, by_system)
        machine.write(4624, {**computer, "IpAddress": "10.0.0.7"})
        machine.write(4634, computer)
        machine.write(4673, by_system, keywords=AUDIT_FAILURE)
        machine.write(5152, {"SourceAddress": "203.0.113.9"}, keywords=AUDIT_FAILURE)
        machine.write(7036, {"param1": "Spooler", "param2": "stopped"}, provider="Service Control Manager")
    assert alerts_of(machine, tmp_path) == []


def test_typing_errors_of_a_person_before_the_computer_logs_on_are_no_guessed_login(
    machine: Machine, tmp_path: Path
) -> None:
    for _ in range(4):
        machine.write(4771, {"TargetUserName": "ann", "Status": "0x18", "IpAddress": "::ffff:10.0.0.7"})
    machine.write(4624, {"TargetUserName": "PC7$", "LogonType": 3, "IpAddress": "10.0.0.7"})
    machine.write(4624, {"TargetUserSid": "S-1-5-7", "TargetUserName": "ANONYMOUS LOGON", "IpAddress": "10.0.0.7"})
    assert alerts_of(machine, tmp_path) == []


def test_one_attempt_counts_once_and_guessing_is_one_alert(machine: Machine, tmp_path: Path) -> None:
    failed = {"TargetUserName": "ann", "LogonType": 3, "IpAddress": "203.0.113.9", "SubStatus": "0xc000006a"}
    for _ in range(4):
        machine.write(
            4776, {"TargetUserName": "ann", "Workstation": "X", "Status": "0xc000006a"}, keywords=AUDIT_FAILURE
        )
        machine.write(4625, failed, keywords=AUDIT_FAILURE)
    (tmp_path / "four").mkdir()
    assert alerts_of(machine, tmp_path / "four") == []
    machine.write(4625, failed, keywords=AUDIT_FAILURE)
    machine.write(4624, {"TargetUserName": "ann", "LogonType": 3, "IpAddress": "203.0.113.9"})
    assert alerts_of(machine, tmp_path) == ["guessed-login", "login-guessing"]


def test_stick_account_and_cleared_log_are_an_alert_each(machine: Machine, tmp_path: Path) -> None:
    for device in (STICK, DISK, r"SWD\WPDBUSENUM\_??_USBSTOR#Disk&Ven_SanDisk&Prod_Ultra#4C530001&0#{5}"):
        machine.write(6416, {"SubjectUserName": "PC1$", "DeviceId": device})
    machine.write(400, {"DeviceInstanceId": STICK}, provider="Microsoft-Windows-Kernel-PnP", channel="System")
    machine.write(4720, {"TargetUserName": "eve", "SubjectUserName": "ann"})
    machine.write(1102, {"SubjectUserName": "ann"}, provider="Microsoft-Windows-Eventlog", user_data="LogFileCleared")
    assert alerts_of(machine, tmp_path) == ["account-added", "log-cleared", "new-usb-device"]


def test_events_are_read_again_from_what_is_kept(machine: Machine) -> None:
    machine.write(4624, {"TargetUserName": "ann", "LogonType": 3, "IpAddress": "203.0.113.9"})
    [event] = FORMATS["windows"].parser("Security").events(machine.lines, now=START)  # type: ignore[attr-defined]
    assert isinstance(event, LogEvent)
    again = FORMATS[event.format or ""].parser(event.source).events([event.raw.encode()], now=START)  # type: ignore[attr-defined]
    assert again == [event]
