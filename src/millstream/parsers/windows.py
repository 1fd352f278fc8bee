"""The Windows event log: what its events say in the words that are the same on every system.

A user is `user`, without the domain, which is `fields.domain`. `-` and empty values are left out, numbers of well-known
accounts, kinds of logon and reasons are words. What is the system's own doing (services, computers, the window manager
logging on) is kept with its action, but is of no kind unless it failed: nobody logged in.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from millstream.parsers.event_parser import ReadLine
from millstream.parsers.log_event import Kind
from millstream.parsers.system_event import Severity
from millstream.parsers.times import parse_time
from millstream.parsers.windows_codes import LOGON_TYPES, PARAMETERS, SIDS, is_nobody, is_zero, reason_of
from millstream.parsers.windows_devices import device_name
from millstream.parsers.windows_meaning import AUDITED, Meaning, Table
from millstream.parsers.windows_record import WindowsRecord, read_record
from millstream.parsers.windows_security import SECURITY
from millstream.parsers.windows_system import SYSTEM

MEANINGS: Final[Table] = {**SECURITY, **SYSTEM}

MESSAGE_MAX: Final = 4000
"""Characters of a message that is put together from values; `fields` has them whole."""

_SEVERITIES: Final = {
    0: Severity.INFO, 1: Severity.CRIT, 2: Severity.ERR, 3: Severity.WARNING, 4: Severity.INFO, 5: Severity.DEBUG,
}  # fmt: skip
_STATES: Final = {"1": "stopped", "running": "started", "4": "started", "stopped": "stopped"}
_REMOVALS: Final = {"2", "23"}
"""IRP_MN_REMOVE_DEVICE, IRP_MN_SURPRISE_REMOVAL."""
_PLUG_AND_PLAY: Final = "27"


def windows_reader() -> ReadLine:
    """Return what reads one line; see `EventParser`."""

    def read(text: str, now: datetime) -> Mapping[str, Any] | None:
        record = read_record(text)
        return None if record is None else event_of_record(record, now)

    return read


def event_of_record(record: WindowsRecord, now: datetime) -> dict[str, Any]:
    """Return the fields of a `LogEvent` that a record says."""
    data = {name: PARAMETERS.get(value.strip(), value) for name, value in record.data.items() if _is_said(value)}
    said: dict[str, Any] = {
        "time": _time(record.time, now),
        "host": record.computer or None,
        "program": record.provider,
        "pid": record.process_id if record.process_id is not None and 0 < record.process_id < 2**31 else None,
        "severity": None if record.level is None else _SEVERITIES.get(record.level),
    }
    extra: dict[str, Any] = {"event_id": record.event_id}
    extra |= {name: value for name, value in (("channel", record.channel), ("record_id", record.record_id)) if value}
    found = MEANINGS.get((record.provider, record.event_id))
    if found is not None:
        said |= _meant(found, record, data, extra)
    if record.user_sid:
        extra["user_sid"] = record.user_sid
        if not said.get("user"):
            said["user"] = SIDS.get(record.user_sid) or None
    said["fields"] = extra | data
    said["message"] = record.message or _message(record, found, said, data)
    return said


def _meant(found: Meaning, record: WindowsRecord, data: Mapping[str, str], extra: dict[str, Any]) -> dict[str, Any]:
    said: dict[str, Any] = {"kind": found.kind, "action": found.action}
    for field, names in found.said_by.items():
        said[field] = next((data[name].strip() for name in names.split() if name in data), None)
    success = record.audit if found.success == AUDITED else found.success
    outcome = record.audit if success is None else success
    said["success"] = success
    if outcome is False and found.failed is not None:
        said["action"] = found.failed
    if outcome is False and found.reason:
        codes = [data[name] for name in found.reason.split() if name in data]
        extra["reason"] = reason_of(*(code for code in codes if not is_zero(code)))
    _clean(said, extra)
    _name_domains(record, data, extra)
    _set_own(record, data, said, extra)
    if found.device:
        said |= _device(found, record, data)
    if found.whose and outcome is not False:
        name, sid = (data.get(f"{found.whose}{which}", "") for which in ("UserName", "UserSid"))
        # Whose rights were used tells more than who used them: Windows itself does so at every logon.
        if is_nobody(name, sid or data.get(f"{found.whose}Sid", "")):
            said["kind"] = None
    return said


def _clean(said: dict[str, Any], extra: dict[str, Any]) -> None:
    """Give each field its form: an address, a number, a word."""
    if "method" in said:
        said["method"] = LOGON_TYPES.get(said["method"] or "", said["method"])
    if "source_port" in said:
        port = said["source_port"] or ""
        said["source_port"] = int(port) if port.isascii() and port.isdecimal() and 0 < int(port[:6]) < 65536 else None
    if said.get("source_name"):
        said["source_name"] = said["source_name"].lstrip("\\") or None
    if "source_ip" in said:
        address = _address(said["source_ip"])
        if address is None and said["source_ip"] not in (None, "LOCAL") and not said.get("source_name"):
            said["source_name"] = said["source_ip"]
        said["source_ip"] = address
    for field in ("user", "target_user"):
        name = said.get(field)
        if not name:
            continue
        if name.startswith("S-1-"):
            said[field] = SIDS.get(name, name) or None
        elif "\\" in name:
            domain, _, said[field] = name.partition("\\")
            extra["domain" if field == "user" else "target_domain"] = domain
        elif name[:3].upper() == "CN=":
            said[field] = name[3:].partition(",")[0] or None


def _name_domains(record: WindowsRecord, data: Mapping[str, str], extra: dict[str, Any]) -> None:
    found = MEANINGS[record.provider, record.event_id]
    for field, key in (("user", "domain"), ("target_user", "target_domain")):
        names = [name for name in found.said_by.get(field, "").split() if name.endswith("Name")]
        for name in names:
            domain = data.get(f"{name.removesuffix('UserName').removesuffix('Name')}DomainName") or data.get(
                f"{name.removesuffix('Name')}Domain"
            )
            if domain is not None:
                extra.setdefault(key, domain)


def _set_own(record: WindowsRecord, data: Mapping[str, str], said: dict[str, Any], extra: dict[str, Any]) -> None:
    """Set what only some events need."""
    match record.event_id:
        case 7036 if said["kind"] is Kind.SERVICE:
            # `running` is a word of the machine's language; behind the binary name of the service is a number.
            state = _STATES.get(data.get("param2", "").lower()) or _STATES.get(_binary(data).rpartition("/")[2])
            said["action"] = state or said["action"]
            said["success"] = True if state == "started" else None
        case 4768 if said["success"] is True:
            # The password was right; whether somebody logged on with the ticket, 4624 says.
            said["success"] = None
        case 4771 if not data.get("TargetUserName"):
            said["user"] = None
        case 4740:
            # Of this event only, the domain is the computer from which the wrong passwords came.
            extra.pop("target_domain", None)
        case 1149 if "Param2" in data:
            extra["domain"] = data["Param2"]
        case 4728 | 4729 | 4732 | 4733 | 4756 | 4757:
            extra["group"] = data.get("TargetUserName") or SIDS.get(data.get("TargetSid", ""))


def _device(found: Meaning, record: WindowsRecord, data: Mapping[str, str]) -> dict[str, Any]:
    text = next((data[name] for name in found.device.split() if name in data), "")
    name = device_name(text)
    said: dict[str, Any] = {
        "device": text or None,
        "device_vendor": name.vendor,
        "device_product": name.product or data.get("DeviceDescription"),
        "device_serial": name.serial,
    }
    if found.reason:
        said["success"] = all(is_zero(data[value]) for value in found.reason.split() if value in data)
    if found.action == "added" and not name.is_usb:
        # What is made of a device that is plugged in has a name of its own, and an event of its own.
        said |= {"kind": None, "action": "described"} if name.is_part else {"action": "recognized"}
    if found.action == "operation":
        is_removal = _value(data, "Major") == _PLUG_AND_PLAY and _value(data, "Minor") in _REMOVALS
        said |= {"kind": Kind.DEVICE if is_removal and record.event_id == 2102 else None}
        said |= {"action": "removed"} if is_removal else {}
    return said


def _message(record: WindowsRecord, found: Meaning | None, said: Mapping[str, Any], data: Mapping[str, str]) -> str:
    values = " ".join(f"{name}={value}" for name, value in data.items())
    if found is None:
        return f"{record.provider} {record.event_id}: {values}"[:MESSAGE_MAX].rstrip(": ")
    about = [name for name in ("service", "command", "target_user", "user") if name in found.said_by]
    subject = next((said[name] for name in ["device", *about] if said.get(name)), "")
    return f"{found.about}: {subject}"[:MESSAGE_MAX] if subject else found.about


def _is_said(value: str) -> bool:
    return bool(value) and value.strip() not in ("", "-")


def _value(data: Mapping[str, str], name: str) -> str:
    """Return a value, also one that is inside of something (`Request.Major`)."""
    return next((value for key, value in data.items() if key.rpartition(".")[2] == name), "")


def _binary(data: Mapping[str, str]) -> str:
    """Return the text in the binary part of an event of the classic kind."""
    try:
        return bytes.fromhex(data.get("Binary", "")).decode("utf-16-le", "replace").rstrip("\0")
    except ValueError:
        return ""


def _address(text: str | None) -> str | None:
    """Return an address, one of IPv4 in the form of IPv6 as what it is; None for what is none."""
    if text is None:
        return None
    try:
        address = ipaddress.ip_address(text.strip())
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def _time(text: str, now: datetime) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)  # up to nine digits of a second, of which six are kept
    except ValueError:
        return parse_time(text, now=now, zone=UTC)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
